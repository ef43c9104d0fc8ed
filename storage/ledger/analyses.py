"""Analyses of stored poses: those that are due, and claims, like leases of segments. No tracking.

An analysis is of one video in its recording by one model version, and made by one version of the analysis. Its rows
become visible in the transaction that completes it, in which it replaces its former version, and the last rows of the
videos before it. Until then they belong to an analysis with the status `running`, which no view shows.

The order in which a recording's videos are analysed does not matter for the rows: an analysis continues that of the
nearest earlier video that has one, and if this changes later, it is dropped and made again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from storage.ledger.chain import (
    DROPPED,
    AnalysisRows,
    EarlierPart,
    PlaceInRecording,
    Predecessor,
    Tail,
    add_rows,
    contains,
    drop_later,
    drop_uncontinuable,
    earlier_parts,
    fingerprint,
    has_later,
    is_made_before,
    lock_recording,
    made_from,
    of_recording,
    predecessor,
    prune_checkpoints,
    replace_tails,
)
from storage.ledger.recordings import lock_arrangement
from storage.sql.analyses import track_records
from storage.sql.analyses.pose_chunks import FramesWithPoses
from storage.sql.analyses.versions import show_analysis, shown_analysis_id
from storage.sql.clock import database_now
from storage.sql.database import reading, writing
from storage.sql.tables import (
    analyses,
    crossings,
    event_rows,
    event_runs,
    model_versions,
    recording_videos,
    recordings,
    segments,
    videos,
    visits,
)

# Worded as in ix_segments_awaiting: SQLite uses a partial index only for a condition with the index's own wording.
AWAITING = text("segments.awaits_analysis")
ROWS_AT_ONCE = 10_000
IDS_AT_ONCE = 500  # in one IN (…)
OPEN = ("planned", "leased")


class AnalysisLost(Exception):
    """The claim's lease expired and another process has taken the analysis over, or its recording has changed."""


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


class AnalysisClaim(NamedTuple):
    """The right to make an analysis until the lease ends, or after that until another process claims it.

    width, height: pixels of the video as shown; frames: their number
    fps: of the recording's first video, None for a single frame
    frames_per_second: sampling of the model version, None = every frame
    parts: frames of the done segments, ascending
    segments: segment_id -> attempt of these segments
    place: of the video in its recording
    former: the analysis that this one continues, None = it begins a recording
    earlier: analyses that end with rows that `former` had not decided, ascending
    """

    analysis_id: int
    video_id: int
    model_version_id: int
    analysis_version_id: int
    width: int
    height: int
    frames: int
    fps: float | None
    frames_per_second: float | None
    parts: tuple[FramesWithPoses, ...]
    segments: dict[int, int]
    place: PlaceInRecording
    made_from: str
    former: Predecessor | None
    earlier: tuple[EarlierPart, ...]

    @property
    def rows(self) -> int:
        return sum(part.people for part in self.parts)

    @property
    def chain(self) -> ColumnElement[bool]:
        """Match the analyses of the recording, in a join with recording_videos."""
        return of_recording(self.place.recording_id, self.model_version_id, self.analysis_version_id)


class AnalysisEnd(NamedTuple):
    """State of a complete analysis, for the next one.

    people, tracks: numbers of analysed poses, and of tracks
    checkpoint: bytes from which the next one continues; decided_frame: the first frame of the video whose rows it may
        replace, 0 or less if these reach back into earlier videos
    tails: the last rows of earlier videos, from this analysis
    """

    people: int
    tracks: int
    checkpoint: bytes | None = None
    decided_frame: int | None = None
    tails: Sequence[Tail] = ()


# Due analyses


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
        select(*_facts(), segments.c.status, segments.c.finished_at, *renamed)
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


def _facts() -> tuple[ColumnElement[Any], ...]:
    """Columns of a segment that a fingerprint depends on, and its keys."""
    names = ("segment_id", "video_id", "model_version_id", "start_frame", "stop_frame", "attempt", "people")
    return (*(segments.c[name] for name in names), segments.c.result_sha256)


# Claims


def claim_analysis(
    engine: Engine, due: Due, analysis_version_id: int, owner: str, lease_s: float
) -> AnalysisClaim | None:
    """Claim an analysis for this owner. None where it is current, or where another process makes it or one before it.

    Also None for a video that its recording has lost meanwhile.
    """
    with writing(engine) as connection:
        place = _place(connection, due)
        if place is None:
            return None
        lock_recording(connection, place.recording_id)
        done = connection.execute(_done_segments(due)).all()
        rows, mine = fingerprint(done), {row.segment_id: row.attempt for row in done}
        key = _Key(place.recording_id, due.video_id, due.model_version_id, analysis_version_id)
        chain = of_recording(key.recording_id, key.model_version_id, analysis_version_id)
        former = predecessor(connection, chain, place.position)
        made = made_from(rows, place.start_frame, place.start_s, former.made_from if former else "")
        if not done or _is_current(connection, key, chain, place, made):
            _clear_marks(connection, key, rows, mine)
            return None
        if is_made_before(connection, chain, place.position, database_now()):
            return None
        analysis_id = _start(connection, key, made, owner, lease_s)
        if analysis_id is None:
            return None
        earlier = () if former is None else earlier_parts(connection, chain, place.position, former.decided_frame)
        parts = tuple(FramesWithPoses(row.start_frame, row.stop_frame, row.people) for row in done)
        width, height, frames, fps, frames_per_second = connection.execute(_formats(due, place.recording_id)).one()
        return AnalysisClaim(
            analysis_id=analysis_id,
            video_id=due.video_id,
            model_version_id=due.model_version_id,
            analysis_version_id=analysis_version_id,
            width=width,
            height=height,
            frames=frames,
            fps=fps,
            frames_per_second=frames_per_second,
            parts=parts,
            segments=mine,
            place=place,
            made_from=made,
            former=former,
            earlier=tuple(earlier),
        )


def _place(connection: Connection, due: Due) -> PlaceInRecording | None:
    """Return the place of the video, None where the recording has it no longer."""
    recording_id = _recording_of(connection, due.video_id) if due.recording_id is None else due.recording_id
    mine = (recording_videos.c.recording_id == recording_id) & (recording_videos.c.video_id == due.video_id)
    row = connection.execute(
        select(*(recording_videos.c[name] for name in PlaceInRecording._fields)).where(mine)
    ).first()
    return None if row is None else PlaceInRecording(*row)


def _is_current(
    connection: Connection, key: "_Key", chain: ColumnElement[bool], place: PlaceInRecording, made: str
) -> bool:
    """Return whether the analysis that is done needs no other: its last rows know what follows, if anything does."""
    found = connection.execute(select(analyses.c.made_from, analyses.c.continued_by).where(key.done)).first()
    if found is None or found.made_from != made:
        return False
    return found.continued_by is None or has_later(connection, chain, place.position)


def _start(connection: Connection, key: "_Key", made: str, owner: str, lease_s: float) -> int | None:
    """Insert the row of an analysis. Returns its id, None where another process makes it."""
    connection.execute(update(analyses).where(key.running, _expired()).values(DROPPED))
    values = key._asdict() | {
        "status": "running",
        "made_from": made,
        "owner": owner,
        "lease_until": database_now(lease_s),
        "started_at": database_now(),
    }
    new = _insert(connection, analyses).values(values).on_conflict_do_nothing()
    return connection.execute(new.returning(analyses.c.analysis_id)).scalar()


class _Key(NamedTuple):
    """The key of an analysis."""

    recording_id: int
    video_id: int
    model_version_id: int
    analysis_version_id: int

    @property
    def running(self) -> ColumnElement[bool]:
        return self._of & (analyses.c.status == "running")

    @property
    def done(self) -> ColumnElement[bool]:
        return self._of & (analyses.c.status == "done")

    @property
    def _of(self) -> ColumnElement[bool]:
        return and_(*(analyses.c[name] == value for name, value in self._asdict().items()))


def _done_segments(due: Due) -> Select[Any]:
    mine = (segments.c.video_id == due.video_id) & (segments.c.model_version_id == due.model_version_id)
    return select(*_facts()).where(mine, segments.c.status == "done").order_by(segments.c.start_frame)


def _formats(due: Due, recording_id: int) -> Select[Any]:
    first = videos.alias("first")
    of_first = (recording_videos.c.recording_id == recording_id) & (recording_videos.c.position == 0)
    fps = select(first.c.fps).join(recording_videos, recording_videos.c.video_id == first.c.video_id).where(of_first)
    columns = (videos.c.width, videos.c.height, videos.c.frames, fps.scalar_subquery())
    both = videos.join(model_versions, model_versions.c.model_version_id == due.model_version_id)
    of_all = select(*columns, model_versions.c.frames_per_second).select_from(both)
    return of_all.where(videos.c.video_id == due.video_id)


def _recording_of(connection: Connection, video_id: int) -> int:
    """Return the recording of a video; a video without one becomes a recording of its own."""
    mine = select(func.min(recording_videos.c.recording_id)).where(recording_videos.c.video_id == video_id)
    found = connection.execute(mine).scalar()
    if found is None:
        lock_arrangement(connection)
        found = connection.execute(mine).scalar()
    if found is None:
        new = insert(recordings).values(created_at=database_now()).returning(recordings.c.recording_id)
        found = connection.execute(new).scalar_one()
        connection.execute(insert(recording_videos).values(recording_id=found, video_id=video_id, position=0))
    return int(found)


def _insert(connection: Connection, table: Any) -> Any:
    return (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(table)


def _expired() -> ColumnElement[bool]:
    return analyses.c.lease_until < database_now()


def _held(claim: AnalysisClaim) -> ColumnElement[bool]:
    return (analyses.c.analysis_id == claim.analysis_id) & (analyses.c.status == "running")


def keep_analysis(engine: Engine, claim: AnalysisClaim, lease_s: float) -> None:
    """Renew the lease. Raises AnalysisLost."""
    with writing(engine) as connection:
        _keep(connection, claim, lease_s)


def _keep(connection: Connection, claim: AnalysisClaim, lease_s: float) -> None:
    renewed = update(analyses).where(_held(claim)).values(lease_until=database_now(lease_s))
    if connection.execute(renewed).rowcount != 1:
        raise AnalysisLost


def add_analysis_rows(engine: Engine, claim: AnalysisClaim, lease_s: float, rows: AnalysisRows) -> None:
    """Add rows to a running analysis, and renew the lease, in one transaction. Raises AnalysisLost."""
    with writing(engine) as connection:
        _keep(connection, claim, lease_s)
        add_rows(connection, claim.analysis_id, claim.place.recording_id, rows)


def complete_analysis(engine: Engine, claim: AnalysisClaim, end: AnalysisEnd) -> None:
    """Show the analysis in place of its former version, with the last rows of the videos before it.

    The analyses of later videos are dropped, as they continued another one. Raises AnalysisLost.
    """
    key = _Key(claim.place.recording_id, claim.video_id, claim.model_version_id, claim.analysis_version_id)
    result = {
        "people": end.people,
        "tracks": end.tracks,
        "checkpoint": end.checkpoint,
        "decided_frame": end.decided_frame,
        "finished_at": database_now(),
    }
    with writing(engine) as connection:
        lock_recording(connection, claim.place.recording_id)
        _keep(connection, claim, 0.0)
        _refuse_other_former(connection, claim)
        replace_tails(connection, claim.place.recording_id, end.tails)
        connection.execute(update(analyses).where(key.done).values(status=None))
        done = {"status": "done", "owner": None, "lease_until": None, **result}
        connection.execute(update(analyses).where(_held(claim)).values(done))
        _mark(connection, key, drop_later(connection, claim.chain, claim.place.position))
        prune_checkpoints(connection, claim.chain, claim.place.position)
        _clear_marks(connection, key, claim.made_from, claim.segments)


def _refuse_other_former(connection: Connection, claim: AnalysisClaim) -> None:
    """Record that the former analysis is continued by this one. Raises AnalysisLost where it is another one now."""
    former = predecessor(connection, claim.chain, claim.place.position)
    if (former and former.analysis_id) != (claim.former and claim.former.analysis_id):
        raise AnalysisLost
    if former is not None:
        mine = analyses.c.analysis_id == former.analysis_id
        connection.execute(update(analyses).where(mine).values(continued_by=claim.made_from))


def drop_former(engine: Engine, claim: AnalysisClaim) -> None:
    """Drop the analysis that the claimed one would continue, as its checkpoint is removed or damaged.

    It is made again, with those before it back to the nearest checkpoint.
    """
    if claim.former is None:
        return
    key = _Key(claim.place.recording_id, claim.video_id, claim.model_version_id, claim.analysis_version_id)
    with writing(engine) as connection:
        lock_recording(connection, claim.place.recording_id)
        dropped = drop_uncontinuable(connection, claim.chain, claim.place.position, claim.former.analysis_id)
        _mark(connection, key, dropped)


def _mark(connection: Connection, key: _Key, video_ids: Sequence[int]) -> None:
    """Record that no analysis of the shown version contains the poses of these videos."""
    if shown_analysis_id(connection) not in (None, key.analysis_version_id):
        return
    for first in range(0, len(video_ids), IDS_AT_ONCE):
        theirs = segments.c.video_id.in_(video_ids[first : first + IDS_AT_ONCE]) & (segments.c.status == "done")
        mine = theirs & (segments.c.model_version_id == key.model_version_id)
        connection.execute(update(segments).where(mine).values(awaits_analysis=True))


def _clear_marks(connection: Connection, key: _Key, rows: str, attempts: dict[int, int]) -> None:
    """Record that analyses of the shown version contain these segments, if those of all the video's recordings do.

    rows: their fingerprint, or made_from of an analysis of them; attempts: segment_id -> attempt
    """
    if shown_analysis_id(connection) not in (None, key.analysis_version_id) or not attempts:
        return
    if _lacks_another(connection, key, rows):
        return
    same = (segments.c.segment_id == bindparam("of_segment")) & (segments.c.attempt == bindparam("of_attempt"))
    change = update(segments).where(same, segments.c.awaits_analysis).values(awaits_analysis=False)
    of = [{"of_segment": segment_id, "of_attempt": attempt} for segment_id, attempt in attempts.items()]
    connection.execute(change, of)


def _lacks_another(connection: Connection, key: _Key, rows: str) -> bool:
    """Return whether the video lies in another recording too, which has no analysis of these rows."""
    others = (recording_videos.c.video_id == key.video_id) & (recording_videos.c.recording_id != key.recording_id)
    theirs = of_recording(recording_videos.c.recording_id, key.model_version_id, key.analysis_version_id)
    analysed = exists().where(theirs, analyses.c.status == "done", contains(rows)).correlate(recording_videos)
    found = select(recording_videos.c.recording_id).where(others, ~analysed).limit(1)
    return connection.execute(found).first() is not None


def abandon_analysis(engine: Engine, claim: AnalysisClaim) -> None:
    """Give up a claim, so that the next process need not wait for its lease. Its rows are deleted later."""
    with writing(engine) as connection:
        connection.execute(update(analyses).where(_held(claim)).values(DROPPED))


def owners_of_analyses(engine: Engine) -> list[str]:
    """Return the owner of each analysis that is being made."""
    running = select(analyses.c.owner).where(analyses.c.status == "running")
    with reading(engine) as connection:
        return [owner for owner in connection.execute(running).scalars() if owner is not None]


def release_dead_analyses(engine: Engine, owner_is_dead: Callable[[str], bool]) -> int:
    """Give up the analyses of processes that have ended. Returns their number."""
    dead = [owner for owner in owners_of_analyses(engine) if owner_is_dead(owner)]
    if not dead:
        return 0
    with writing(engine) as connection:
        theirs = update(analyses).where(analyses.c.status == "running", analyses.c.owner.in_(dead))
        return connection.execute(theirs.values(DROPPED)).rowcount


def analysing(engine: Engine, analysis_version_id: int) -> list[str]:
    """Return the owners of analyses of this version that are being made."""
    running = (analyses.c.status == "running") & (analyses.c.analysis_version_id == analysis_version_id)
    with reading(engine) as connection:
        rows = connection.execute(select(analyses.c.owner).where(running, ~_expired()).distinct())
        return sorted(owner for owner in rows.scalars() if owner is not None)


def count_replaced(engine: Engine) -> int:
    """Count the analyses that `delete_replaced` would delete."""
    with reading(engine) as connection:
        rows = select(func.count()).select_from(analyses).where(analyses.c.status.is_(None))
        return int(connection.execute(rows).scalar_one())


def delete_replaced(engine: Engine) -> int:
    """Delete the rows of analyses that were replaced or given up. Returns the number of these analyses."""
    replaced = analyses.c.status.is_(None)
    with reading(engine) as connection:
        found = connection.execute(select(analyses.c.analysis_id).where(replaced)).scalars().all()
    for analysis_id in found:
        while _delete_some(engine, analysis_id):
            pass
        with writing(engine) as connection:
            _delete_events(connection, analysis_id)
            connection.execute(delete(analyses).where(replaced, analyses.c.analysis_id == analysis_id))
    return len(found)


def _delete_events(connection: Connection, analysis_id: int) -> None:
    """Delete what was found in the rows of an analysis."""
    mine = select(event_runs.c.event_run_id).where(event_runs.c.analysis_id == analysis_id)
    for table in (visits, crossings, event_rows):
        connection.execute(delete(table).where(table.c.event_run_id.in_(mine)))
    connection.execute(delete(event_runs).where(event_runs.c.analysis_id == analysis_id))


def _delete_some(engine: Engine, analysis_id: int) -> bool:
    with writing(engine) as connection:
        return track_records.delete_some(connection, analysis_id)


# The version that the views show


def show_when_current(engine: Engine, analysis_version_id: int) -> bool:
    """Show this version if it has analysed all poses. Returns whether it is shown now."""
    with writing(engine) as connection:
        if shown_analysis_id(connection) == analysis_version_id:
            return True
        if next(_outdated(connection, analysis_version_id), None) is not None:
            return False
        show_analysis(connection, analysis_version_id)
        return True


def refresh_statistics(engine: Engine) -> None:
    """Let PostgreSQL plan queries for the rows that were added: its automatic statistics come too late.

    Of motion only the columns that joins and ranges use: statistics of all 54 take ten times as long.
    """
    if engine.dialect.name == "postgresql":
        with writing(engine) as connection:
            connection.execute(text("ANALYZE analyses, pose_tracks, tracks, motion (analysis_id, track, frame, t_s)"))
