"""Videos whose analysis is due: those without one, or with one of other results. Claims nothing.

The order in which a recording's videos are analysed does not matter for the rows: an analysis continues that of the
nearest earlier video that has one, and if this changes later, it is dropped and made again.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import ColumnElement, Connection, Engine, Row, exists, func, select, text

from storage.ledger.chain import fingerprint, made_from
from storage.sql.analyses.versions import show_analysis, shown_analysis_id
from storage.sql.database import reading, writing
from storage.sql.tables import analyses, model_versions, recording_videos, segments, videos

# Worded as in ix_segments_awaiting: SQLite uses a partial index only for a condition with the index's own wording.
AWAITING = text("segments.awaits_analysis")
ROWS_AT_ONCE = 10_000
OPEN = ("planned", "leased")


class Due(NamedTuple):
    """A video whose poses by a model version have no current analysis.

    rows: number of poses; recording_id: None = the video is in no recording yet
    """

    video_id: int
    model_version_id: int
    rows: int
    recording_id: int | None = None

    @property
    def key(self) -> tuple[int, int, int | None]:
        return self.video_id, self.model_version_id, self.recording_id


def awaiting(engine: Engine, model_version_id: int | None = None, in_order: bool = False) -> list[Due]:
    """Return the videos with poses that no analysis of the shown version contains, and without open segments.

    Only changed segments are read. Ordered as the videos are in their recordings.
    model_version_id: None for all; in_order: leave out those behind a video with open segments
    """
    mine = [] if model_version_id is None else [segments.c.model_version_id == model_version_id]
    key = (segments.c.video_id, segments.c.model_version_id)
    changed = (
        select(*key)
        .join(videos, videos.c.video_id == segments.c.video_id)
        .where(AWAITING, segments.c.status == "done", videos.c.superseded_by.is_(None), *mine)
        .distinct()
        .subquery()
    )
    theirs = segments.alias("theirs")
    of_both = (theirs.c.video_id == changed.c.video_id) & (theirs.c.model_version_id == changed.c.model_version_id)
    rows = select(func.coalesce(func.sum(theirs.c.people), 0)).where(of_both, theirs.c.status == "done")
    unfinished = exists().where(of_both, theirs.c.status.in_(OPEN))
    place = (recording_videos.c.recording_id, recording_videos.c.position)
    found = (
        select(changed.c.video_id, changed.c.model_version_id, rows.scalar_subquery(), *place)
        .join(recording_videos, recording_videos.c.video_id == changed.c.video_id, isouter=True)
        .where(~unfinished)
        .order_by(changed.c.model_version_id, *place, changed.c.video_id)
    )
    with reading(engine) as connection:
        stops = _first_open(connection) if in_order else {}
        return [
            Due(row.video_id, row.model_version_id, int(row[2]), row.recording_id)
            for row in connection.execute(found)
            if row.position is None or row.position < stops.get((row.recording_id, row.model_version_id), np.inf)
        ]


def _first_open(connection: Connection) -> dict[tuple[int, int], int]:
    """Map recording and model version to the position of the first video with open segments."""
    key = (recording_videos.c.recording_id, segments.c.model_version_id)
    found = (
        select(*key, func.min(recording_videos.c.position))
        .join(segments, segments.c.video_id == recording_videos.c.video_id)
        .where(segments.c.status.in_(OPEN))
        .group_by(*key)
    )
    return {(row[0], row[1]): row[2] for row in connection.execute(found)}


def outdated(engine: Engine, analysis_version_id: int, since: datetime | None = None) -> list[Due]:
    """Return the videos without open segments whose analysis by this version is missing, or of other results.

    Compares all of the ledger. since: leave out videos whose newest segment was completed before
    """
    with reading(engine) as connection:
        return list(_outdated(connection, analysis_version_id, since))


def _outdated(connection: Connection, analysis_version_id: int, since: datetime | None = None) -> Iterator[Due]:
    place = (recording_videos.c[name] for name in ("recording_id", "position", "start_frame", "start_s"))
    renamed = [column.label(f"of_{column.name}") for column in place]
    done = (analyses.c.analysis_version_id == analysis_version_id) & (analyses.c.status == "done")
    same = (analyses.c.video_id == segments.c.video_id) & (analyses.c.model_version_id == segments.c.model_version_id)
    rows = (
        select(*fingerprinted_columns(), segments.c.status, segments.c.finished_at, *renamed)
        .add_columns(analyses.c.made_from, analyses.c.continued_by)
        .join(videos, videos.c.video_id == segments.c.video_id)
        .join(model_versions, model_versions.c.model_version_id == segments.c.model_version_id)
        .join(recording_videos, recording_videos.c.video_id == segments.c.video_id, isouter=True)
        .join(analyses, done & same & (analyses.c.recording_id == recording_videos.c.recording_id), isouter=True)
        .where(model_versions.c.task == "pose", videos.c.superseded_by.is_(None))
        .order_by(segments.c.model_version_id, *renamed[:2], segments.c.video_id, segments.c.start_frame)
        .execution_options(yield_per=ROWS_AT_ONCE)
    )
    of_chain = attrgetter("model_version_id", "of_recording_id")
    for (_, recording_id), chain in groupby(connection.execute(rows), of_chain):
        if recording_id is not None:
            yield from _outdated_in(chain, since)
            continue
        for _, of_video in groupby(chain, attrgetter("video_id")):
            yield from _outdated_in(of_video, since)


def _outdated_in(chain: Iterable[Row[Any]], since: datetime | None) -> Iterator[Due]:
    """Yield the due videos of one recording. chain: the segments of its videos in their order"""
    former, continued, last = "", None, None
    for _, group in groupby(chain, attrgetter("video_id")):
        of_video = list(group)
        found = _due(of_video, former)
        if found is not None and (since is None or max(row.finished_at for row in _done(of_video)) >= since):
            last = None
            yield found
        if of_video[0].made_from is not None:
            former, continued = of_video[0].made_from, of_video[0].continued_by
            last = None if found is not None else of_video
    if last is not None and continued is not None:  # what it was continued by is no longer there
        yield _as_due(last)


def _due(of_video: list[Row[Any]], former: str) -> Due | None:
    """Return what is due of one video, from its segments. former: made_from of the analysis before it"""
    done, first = _done(of_video), of_video[0]
    if not done or any(row.status in OPEN for row in of_video):
        return None
    made = made_from(fingerprint(done), first.of_start_frame or 0, first.of_start_s or 0.0, former)
    return None if first.made_from == made else _as_due(of_video)


def _as_due(of_video: list[Row[Any]]) -> Due:
    first, rows = of_video[0], sum(row.people for row in _done(of_video))
    return Due(first.video_id, first.model_version_id, rows, first.of_recording_id)


def _done(of_video: Iterable[Row[Any]]) -> list[Row[Any]]:
    return [row for row in of_video if row.status == "done"]


def fingerprinted_columns() -> tuple[ColumnElement[Any], ...]:
    """Columns of a segment that a fingerprint depends on, and its keys."""
    names = ("segment_id", "video_id", "model_version_id", "start_frame", "stop_frame", "attempt", "people")
    return (*(segments.c[name] for name in names), segments.c.result_sha256)


def show_when_current(engine: Engine, analysis_version_id: int) -> bool:
    """Show this version if it has analysed all poses. Returns whether it is shown now."""
    with writing(engine) as connection:
        if shown_analysis_id(connection) == analysis_version_id:
            return True
        if next(_outdated(connection, analysis_version_id), None) is not None:
            return False
        show_analysis(connection, analysis_version_id)
        return True
