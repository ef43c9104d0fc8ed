"""Runs of events: those that are due, their rows in one transaction, and the removal of those that are replaced.

A run is of one analysis by one version of a camera's rules and zones. It continues from the checkpoint of the run of
the recording's previous video.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Engine, Select, delete, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from models.types import ZoneRows
from storage.sql.analyses.versions import shown_analysis_id
from storage.sql.clock import database_now
from storage.sql.database import reading, writing
from storage.sql.events.versions import NO_CAMERA, RegisteredVersion, show_version, shown_version
from storage.sql.events.zone_rows import store_zone_rows
from storage.sql.tables import (
    analyses,
    cameras,
    crossings,
    event_rows,
    event_runs,
    model_versions,
    recording_videos,
    recordings,
    videos,
    visits,
)

_CAMERA: ColumnElement[str] = func.coalesce(recordings.c.camera, NO_CAMERA)
_OF_RUN = (event_rows, visits, crossings)


class AnalysedVideo(NamedTuple):
    """A video of a recording with its analysis.

    start_frame, start_s: of its first frame, in the recording; start_at, time_zone: of the recording, None = no clock
    decided_frame: rows of this frame of the video and later ones may be replaced; None = of none
    frames_per_second: sampling of the model version, None = every frame
    people: rows of poses
    """

    analysis_id: int
    recording_id: int
    video_id: int
    model_version_id: int
    analysis_version_id: int
    position: int
    start_frame: int
    start_s: float
    start_at: datetime | None
    time_zone: str | None
    decided_frame: int | None
    sha256: str
    width: int
    height: int
    frames: int
    duration_s: float
    fps: float | None
    frames_per_second: float | None
    people: int

    @property
    def stop_frame(self) -> int:
        """First frame after the video, in the recording."""
        return self.start_frame + self.frames

    @property
    def step_s(self) -> float:
        """Mean seconds between two frames of the video."""
        return self.duration_s / self.frames


class EventRecord(NamedTuple):
    """An event as it is stored: see docs/schema.md."""

    event_key: str
    rule_id: int
    track: int | None
    zone_id: int | None
    video_id: int
    from_s: float
    to_s: float
    peak_s: float
    peak_video_id: int
    peak_frame: int
    score: float
    open: bool


def _analysed() -> Select[Any]:
    """Select AnalysedVideo of the completed analyses of videos that are not superseded."""
    of_video = (recording_videos.c.recording_id == analyses.c.recording_id) & (
        recording_videos.c.video_id == analyses.c.video_id
    )
    columns = (
        *(analyses.c[name] for name in AnalysedVideo._fields[:5]),
        *(recording_videos.c[name] for name in ("position", "start_frame", "start_s")),
        *(recordings.c.start_at, recordings.c.time_zone, analyses.c.decided_frame),
        *(videos.c[name] for name in ("sha256", "width", "height", "frames", "duration_s", "fps")),
        model_versions.c.frames_per_second,
        analyses.c.people,
    )
    return (
        select(*columns)
        .select_from(analyses)
        .join(recording_videos, of_video)
        .join(recordings, recordings.c.recording_id == analyses.c.recording_id)
        .join(videos, videos.c.video_id == analyses.c.video_id)
        .join(model_versions, model_versions.c.model_version_id == analyses.c.model_version_id)
        .where(analyses.c.status == "done", videos.c.superseded_by.is_(None))
    )


def known_cameras(engine: Engine) -> dict[str, str | None]:
    """Map the cameras that have recordings to their time zones. NO_CAMERA: of those without one; None = not known"""
    found = select(_CAMERA, func.max(recordings.c.time_zone)).group_by(_CAMERA)
    with reading(engine) as connection:
        return {row[0]: row[1] for row in connection.execute(found.order_by(_CAMERA))}


def due_runs(engine: Engine, camera: str, event_version_id: int) -> list[AnalysedVideo]:
    """Return the shown analyses of a camera that have no run of this version, in the order of their recordings."""
    with reading(engine) as connection:
        return [AnalysedVideo(*row) for row in connection.execute(_due(connection, camera, event_version_id))]


def are_events_missing(engine: Engine) -> bool:
    """Return whether a shown analysis has no run of the version that is shown for its camera."""
    run = (event_runs.c.analysis_id == analyses.c.analysis_id) & (
        event_runs.c.event_version_id == cameras.c.event_version_id
    )
    with reading(engine) as connection:
        missing = (
            _analysed()
            .with_only_columns(analyses.c.analysis_id)
            .join(cameras, cameras.c.camera == _CAMERA, isouter=True)
            .where(
                analyses.c.analysis_version_id == shown_analysis_id(connection),
                ~select(event_runs.c.event_run_id).where(run).exists(),
            )
        )
        return connection.execute(missing.limit(1)).first() is not None


def _due(connection: Connection, camera: str, event_version_id: int) -> Select[Any]:
    run = (event_runs.c.analysis_id == analyses.c.analysis_id) & (event_runs.c.event_version_id == event_version_id)
    return (
        _analysed()
        .where(
            _CAMERA.in_((camera,)),
            analyses.c.analysis_version_id == shown_analysis_id(connection),
            ~select(event_runs.c.event_run_id).where(run).exists(),
        )
        .order_by(analyses.c.recording_id, analyses.c.model_version_id, recording_videos.c.position)
    )


class PreviousRun(NamedTuple):
    """The run of the nearest earlier video. checkpoint: None where it has not been made"""

    analysis_id: int
    checkpoint: bytes | None


def previous_run(engine: Engine, video: AnalysedVideo, event_version_id: int) -> PreviousRun | None:
    """Return the run from which that of a video continues; None for the first video of a recording."""
    earlier = (
        _analysed()
        .with_only_columns(analyses.c.analysis_id, event_runs.c.checkpoint)
        .join(
            event_runs,
            (event_runs.c.analysis_id == analyses.c.analysis_id) & (event_runs.c.event_version_id == event_version_id),
            isouter=True,
        )
        .where(*_same_recording(video), recording_videos.c.position < video.position)
        .order_by(recording_videos.c.position.desc())
        .limit(1)
    )
    with reading(engine) as connection:
        found = connection.execute(earlier).first()
    return None if found is None else PreviousRun(*found)


def earlier_videos(engine: Engine, video: AnalysedVideo, since_s: float) -> list[AnalysedVideo]:
    """Return the analysed videos before this one in its recording that end after since_s, in order."""
    end_s = recording_videos.c.start_s + videos.c.duration_s
    wanted = _analysed().where(*_same_recording(video), recording_videos.c.position < video.position, end_s >= since_s)
    with reading(engine) as connection:
        rows = connection.execute(wanted.order_by(recording_videos.c.position))
        return [AnalysedVideo(*row) for row in rows]


def _same_recording(video: AnalysedVideo) -> tuple[ColumnElement[bool], ...]:
    names = ("recording_id", "model_version_id", "analysis_version_id")
    return tuple(analyses.c[name] == getattr(video, name) for name in names)


class VideoPlace(NamedTuple):
    """A video in its recording."""

    video_id: int
    sha256: str
    start_frame: int


def video_at(engine: Engine, recording_id: int, frame: int) -> VideoPlace:
    """Return the video of a recording's frame."""
    mine = (recording_videos.c.recording_id == recording_id) & (recording_videos.c.start_frame <= frame)
    wanted = (
        select(videos.c.video_id, videos.c.sha256, recording_videos.c.start_frame)
        .join(recording_videos, recording_videos.c.video_id == videos.c.video_id)
        .where(mine)
        .order_by(recording_videos.c.position.desc())
        .limit(1)
    )
    with reading(engine) as connection:
        return VideoPlace(*connection.execute(wanted).one())


class RunRows(NamedTuple):
    """Rows of a run. decided, tail: visits and crossings before and after the checkpoint"""

    events: Sequence[EventRecord]
    decided: ZoneRows
    tail: ZoneRows


def store_run(
    engine: Engine, video: AnalysedVideo, version: RegisteredVersion, checkpoint: bytes, rows: RunRows
) -> bool:
    """Store a run with all of its rows, in one transaction.

    Returns False where another process has stored it, or where the analysis was replaced or the recording has another
    clock meanwhile: nothing is stored then.
    """
    with writing(engine) as connection:
        event_run_id = _begin_run(connection, video, version.event_version_id, checkpoint)
        if event_run_id is None:
            return False
        if rows.events:
            values = [{"event_run_id": event_run_id, **event._asdict()} for event in rows.events]
            connection.execute(insert(event_rows), values)
        store_zone_rows(connection, event_run_id, version.zones, rows.decided, rows.tail)
        return True


def _begin_run(connection: Connection, video: AnalysedVideo, event_version_id: int, checkpoint: bytes) -> int | None:
    clock = select(recordings.c.start_at, recordings.c.time_zone).where(recordings.c.recording_id == video.recording_id)
    found = connection.execute(clock.with_for_update(read=True)).first()
    if found is None or tuple(found) != (video.start_at, video.time_zone):
        return None
    current = select(analyses.c.analysis_id).where(
        analyses.c.analysis_id == video.analysis_id, analyses.c.status == "done"
    )
    if connection.execute(current.with_for_update(read=True, of=analyses)).scalar() is None:
        return None
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    values = {
        "analysis_id": video.analysis_id,
        "event_version_id": event_version_id,
        "checkpoint": checkpoint,
        "finished_at": database_now(),
    }
    new = make(event_runs).values(values).on_conflict_do_nothing().returning(event_runs.c.event_run_id)
    return connection.execute(new).scalar()


def show_when_complete(engine: Engine, camera: str, event_version_id: int) -> bool:
    """Show this version of a camera's events if it has evaluated everything. Returns whether it is shown now."""
    with writing(engine) as connection:
        if shown_version(connection, camera) == event_version_id:
            return True
        if connection.execute(_due(connection, camera, event_version_id).limit(1)).first() is not None:
            return False
        show_version(connection, camera, event_version_id)
        return True


def delete_outdated_runs(engine: Engine, camera: str, event_version_id: int) -> int:
    """Delete the runs of a camera's analyses by versions other than this one. Returns their number."""
    outdated = (
        select(event_runs.c.event_run_id)
        .join(analyses, analyses.c.analysis_id == event_runs.c.analysis_id)
        .join(recordings, recordings.c.recording_id == analyses.c.recording_id)
        .where(_CAMERA.in_((camera,)), event_runs.c.event_version_id != event_version_id)
    )
    with reading(engine) as connection:
        found = connection.execute(outdated).scalars().all()
    for event_run_id in found:
        with writing(engine) as connection:
            delete_run(connection, event_run_id)
    return len(found)


def delete_runs_of_recording(engine: Engine, recording_id: int, event_version_id: int) -> None:
    """Delete the runs of a recording by a version, so that they are made again from its first video on."""
    mine = (
        select(event_runs.c.event_run_id)
        .join(analyses, analyses.c.analysis_id == event_runs.c.analysis_id)
        .where(analyses.c.recording_id == recording_id, event_runs.c.event_version_id == event_version_id)
    )
    with writing(engine) as connection:
        for event_run_id in connection.execute(mine).scalars().all():
            delete_run(connection, event_run_id)


def delete_runs_of_clock(connection: Connection, recording_id: int) -> None:
    """Delete all runs of a recording within the caller's transaction, as hours and periods of zones have changed."""
    of_recording = select(analyses.c.analysis_id).where(analyses.c.recording_id == recording_id)
    mine = select(event_runs.c.event_run_id).where(event_runs.c.analysis_id.in_(of_recording))
    for event_run_id in connection.execute(mine).scalars().all():
        delete_run(connection, event_run_id)


def delete_run(connection: Connection, event_run_id: int) -> None:
    """Delete a run with its rows, within the caller's transaction."""
    for table in (*_OF_RUN, event_runs):
        connection.execute(delete(table).where(table.c.event_run_id == event_run_id))


def delete_runs_of_replaced(engine: Engine) -> int:
    """Delete the runs of analyses that are not current any more. Returns their number."""
    current = select(analyses.c.analysis_id).where(analyses.c.status == "done")
    with reading(engine) as connection:
        gone = select(event_runs.c.event_run_id).where(event_runs.c.analysis_id.not_in(current))
        found = connection.execute(gone).scalars().all()
    for event_run_id in found:
        with writing(engine) as connection:
            delete_run(connection, event_run_id)
    return len(found)
