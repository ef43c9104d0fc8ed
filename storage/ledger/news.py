"""Events and batches that are not in the outbox yet. No text for people, no sending.

A video's events enter it once, when they are first known: the video is marked in the transaction that queues them.
Events of history that a changed rule brings to light belong to marked videos, and stay out.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Engine, Select, and_, exists, func, select, update

from storage.ledger.recovery import DAY_S
from storage.sql.clock import database_now
from storage.sql.database import reading, writing
from storage.sql.tables import (
    analyses,
    batches,
    cameras,
    event_rows,
    event_runs,
    messages,
    recording_videos,
    recordings,
    rules,
    segments,
    shown_analysis,
    shown_models,
    videos,
    zones,
)

NEWS_S = 3 * DAY_S  # older videos and batches are history
IDS_AT_ONCE = 500  # in one IN (…)
NOTIFIED = {"notified_at": database_now()}


class NewEvent(NamedTuple):
    """An event of the shown version.

    from_s, to_s: seconds on the recording's clock; video_from_s, video_to_s: on that of the peak's video
    started_at: of the event, UTC; None without a clock, as time_zone is
    video_id: of the video in which it ends
    """

    event_key: str
    rule: str
    severity: str
    camera: str | None
    track: int | None
    zone: str | None
    from_s: float
    to_s: float
    score: float
    peak_s: float
    peak_frame: int
    peak_video_id: int
    peak_sha256: str
    peak_start_s: float
    peak_start_at: datetime | None
    time_zone: str | None
    video_id: int


class EndedBatch(NamedTuple):
    """A batch that is over. told: its outcome was passed to the outbox"""

    batch_id: int
    batch_key: str
    archive: str
    status: str
    error: str | None
    flow_run_id: str | None
    started_at: datetime
    finished_at: datetime


def _evaluated() -> Select[Any]:
    """Return the videos whose events by the version that the views show are complete."""
    same = cameras.c.camera == func.coalesce(recordings.c.camera, "")
    return (
        select(analyses.c.video_id)
        .join(event_runs, event_runs.c.analysis_id == analyses.c.analysis_id)
        .join(recordings, recordings.c.recording_id == analyses.c.recording_id)
        .join(cameras, same & (cameras.c.event_version_id == event_runs.c.event_version_id))
        .join(shown_analysis, shown_analysis.c.analysis_version_id == analyses.c.analysis_version_id)
        .join(shown_models, shown_models.c.model_version_id == analyses.c.model_version_id)
        .where(analyses.c.status == "done", shown_models.c.task == "pose")
    )


def has_news(engine: Engine) -> bool:
    """Return True if a video's events are not told yet."""
    new = _evaluated().join(videos, videos.c.video_id == analyses.c.video_id).where(videos.c.notified_at.is_(None))
    with reading(engine) as connection:
        return connection.execute(new.limit(1)).first() is not None


def unnotified_videos(engine: Engine) -> list[int]:
    """Return the videos with complete events that are not told yet."""
    found = _evaluated().join(videos, videos.c.video_id == analyses.c.video_id).where(videos.c.notified_at.is_(None))
    with reading(engine) as connection:
        return sorted(set(connection.execute(found).scalars()))


def events_of_videos(engine: Engine, video_ids: Sequence[int], severities: Iterable[str]) -> list[NewEvent]:
    """Return the events that end in these videos, if these were processed within NEWS_S, in the order of time."""
    recent = exists().where(segments.c.video_id == videos.c.video_id, segments.c.finished_at >= database_now(-NEWS_S))
    found: list[NewEvent] = []
    with reading(engine) as connection:
        for start in range(0, len(video_ids), IDS_AT_ONCE):
            some = videos.c.video_id.in_(video_ids[start : start + IDS_AT_ONCE])
            mine = _events().where(some, recent, rules.c.severity.in_(list(severities)))
            found += [NewEvent(*row) for row in connection.execute(mine)]
    return sorted(found, key=lambda event: (event.peak_start_at is None, event.peak_start_at, event.from_s))


def events_of_batch(engine: Engine, batch_id: int) -> list[NewEvent]:
    """Return the events that end in videos of which this batch completed a segment."""
    done = exists().where(
        segments.c.video_id == videos.c.video_id, segments.c.batch_id == batch_id, segments.c.status == "done"
    )
    with reading(engine) as connection:
        return [NewEvent(*row) for row in connection.execute(_events().where(done))]


def _events() -> Select[Any]:
    """Return the shown events, once per camera. An open one counts until the run of a later video has it whole."""
    peak, place = videos.alias("peak"), recording_videos.alias("place")
    same = cameras.c.camera == func.coalesce(recordings.c.camera, "")
    in_place = and_(place.c.recording_id == recordings.c.recording_id, place.c.video_id == event_rows.c.peak_video_id)
    columns: tuple[ColumnElement[Any], ...] = (
        *(
            event_rows.c.event_key,
            rules.c.rule,
            rules.c.severity,
            recordings.c.camera,
            event_rows.c.track,
            zones.c.zone,
        ),
        *(event_rows.c.from_s, event_rows.c.to_s, event_rows.c.score, event_rows.c.peak_s, event_rows.c.peak_frame),
        *(event_rows.c.peak_video_id, peak.c.sha256, place.c.start_s, place.c.start_at, recordings.c.time_zone),
        videos.c.video_id,
    )
    return (
        select(*columns)
        .select_from(event_rows)
        .join(event_runs, event_runs.c.event_run_id == event_rows.c.event_run_id)
        .join(analyses, (analyses.c.analysis_id == event_runs.c.analysis_id) & (analyses.c.status == "done"))
        .join(shown_analysis, shown_analysis.c.analysis_version_id == analyses.c.analysis_version_id)
        .join(shown_models, shown_models.c.model_version_id == analyses.c.model_version_id)
        .join(recordings, recordings.c.recording_id == analyses.c.recording_id)
        .join(cameras, same & (cameras.c.event_version_id == event_runs.c.event_version_id))
        .join(videos, (videos.c.video_id == analyses.c.video_id) & videos.c.superseded_by.is_(None))
        .join(rules, rules.c.rule_id == event_rows.c.rule_id)
        .join(peak, peak.c.video_id == event_rows.c.peak_video_id)
        .join(place, in_place)
        .join(zones, zones.c.zone_id == event_rows.c.zone_id, isouter=True)
        .where(~event_rows.c.open | ~_later_run(), shown_models.c.task == "pose")
        .order_by(event_rows.c.from_s, event_rows.c.event_key)
    )


def _later_run() -> ColumnElement[bool]:
    """Match a run that a later video of the recording continues, as the view `events` does."""
    own, later = recording_videos.alias("own"), recording_videos.alias("later")
    analysis, run = analyses.alias("later_analysis"), event_runs.alias("later_run")
    return exists().where(
        *(own.c[name] == analyses.c[name] for name in ("recording_id", "video_id")),
        later.c.recording_id == own.c.recording_id,
        later.c.position > own.c.position,
        *(analysis.c[name] == later.c[name] for name in ("recording_id", "video_id")),
        *(analysis.c[name] == analyses.c[name] for name in ("model_version_id", "analysis_version_id")),
        analysis.c.status == "done",
        run.c.analysis_id == analysis.c.analysis_id,
        run.c.event_version_id == event_runs.c.event_version_id,
    )


def notified_since_batch(engine: Engine) -> list[str]:
    """Return the contents of the messages about events since the newest batch began, one per event."""
    begun = select(func.max(batches.c.started_at)).scalar_subquery()
    mine = (messages.c.kind == "event") & (messages.c.created_at >= func.coalesce(begun, database_now(-DAY_S)))
    with reading(engine) as connection:
        rows = connection.execute(select(messages.c.about, func.max(messages.c.content)).where(mine).group_by("about"))
        return [content for _, content in rows]


def mark_videos(connection: Connection, video_ids: Sequence[int]) -> None:
    """Record that the events of these videos are in the outbox, or were not worth a message."""
    for start in range(0, len(video_ids), IDS_AT_ONCE):
        some = videos.c.video_id.in_(video_ids[start : start + IDS_AT_ONCE]) & videos.c.notified_at.is_(None)
        connection.execute(update(videos).where(some).values(NOTIFIED))


def unnotified_batches(engine: Engine) -> list[EndedBatch]:
    """Return the ended batches that are not told yet, without those that ended longer than NEWS_S ago."""
    new = batches.c.notified_at.is_(None) & (batches.c.finished_at >= database_now(-NEWS_S))
    columns = (batches.c[name] for name in EndedBatch._fields)
    with reading(engine) as connection:
        rows = connection.execute(select(*columns).where(new).order_by(batches.c.batch_id))
        return [EndedBatch(*row) for row in rows]


def mark_batch(connection: Connection, batch_id: int) -> None:
    """Record that the outcome of this batch is in the outbox."""
    mine = (batches.c.batch_id == batch_id) & batches.c.notified_at.is_(None)
    connection.execute(update(batches).where(mine).values(NOTIFIED))


def mark_everything(engine: Engine) -> None:
    """Record that nobody is to be told about what is known now, as there is no address."""
    found = unnotified_videos(engine)
    with writing(engine) as connection:
        mark_videos(connection, found)
        ended = batches.c.notified_at.is_(None) & batches.c.finished_at.is_not(None)
        connection.execute(update(batches).where(ended).values(NOTIFIED))


def newest_batch_key(engine: Engine) -> str:
    """Return the key of the newest batch, "" without any."""
    newest = select(batches.c.batch_key).order_by(batches.c.batch_id.desc()).limit(1)
    with reading(engine) as connection:
        return str(connection.execute(newest).scalar() or "")
