"""A recording of three files with analyses and event runs, without a tracker: for tests of stored and shown events."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, insert, update

from models.types import CameraZone, ZoneRows
from storage.sql.analyses.versions import register_analysis, show_first_analysis
from storage.sql.catalogue import register_model, show_model
from storage.sql.database import writing
from storage.sql.events.zone_rows import register_zones, store_zone_rows
from storage.sql.tables import analyses, cameras, event_runs, event_versions, recording_videos, recordings, tracks
from tests.storage.samples import make_model, make_video, register_video

NOW = datetime(2026, 11, 28, tzinfo=UTC)
FILE_S = 600.0


@dataclass
class Site:
    """A camera's recording of files of FILE_S each, in Berlin in 2026. start_at: None = without a clock"""

    engine: Engine
    camera: str | None = "door"
    start_at: datetime | None = datetime(2026, 7, 1, 21, 55, tzinfo=UTC)
    files: int = 3
    video_ids: list[int] = field(default_factory=list)
    analysis_ids: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model = register_model(self.engine, make_model())
        show_model(self.engine, "pose", self.model)
        self.version = register_analysis(self.engine, "e" * 64, "{}")
        show_first_analysis(self.engine, self.version)
        name = (self.camera or "none").encode().hex()
        self.video_ids = [
            register_video(self.engine, make_video(f"{name}{n:x}".ljust(64, "0"), 15_000)) for n in range(self.files)
        ]
        with writing(self.engine) as connection:
            self._record(connection)

    def _record(self, connection: Connection) -> None:
        about = {"camera": self.camera, "start_at": self.start_at, "created_at": NOW}
        made = insert(recordings).values(about).returning(recordings.c.recording_id)
        self.recording_id = connection.execute(made).scalar_one()
        for position, video_id in enumerate(self.video_ids):
            begin_s = position * FILE_S
            start_at = None if self.start_at is None else self.start_at + timedelta(seconds=begin_s)
            place = {"position": position, "start_s": begin_s, "start_frame": position * 15_000, "start_at": start_at}
            if start_at is not None:
                place |= self._offsets(start_at)
            whose = {"recording_id": self.recording_id, "video_id": video_id}
            connection.execute(insert(recording_videos).values(**whose, **place))
            versions = {"model_version_id": self.model, "analysis_version_id": self.version}
            times = {"made_from": "", "status": "done", "started_at": NOW, "finished_at": NOW}
            analysis = insert(analyses).values(**whose, **versions, **times).returning(analyses.c.analysis_id)
            self.analysis_ids.append(connection.execute(analysis).scalar_one())

    def _offsets(self, start_at: datetime) -> dict[str, float]:
        """Return the columns of local time of a video that begins then."""
        summer, winter = 7200, 3600
        change_s = (datetime(2026, 10, 25, 1, tzinfo=UTC) - start_at).total_seconds()
        if change_s <= 0:
            return {"utc_offset_s": winter}
        changes = {"offset_changes_s": change_s, "later_utc_offset_s": winter} if change_s < 86_400 else {}
        return {"utc_offset_s": summer, **changes}

    def see(self, position: int, track: int, first_s: float, last_s: float) -> None:
        """Store a track of a video, seconds of the video."""
        frames: dict[str, Any] = {
            "first_frame": 0,
            "last_frame": 0,
            "frames": 1,
            "mean_score": 0.9,
            "recording_id": self.recording_id,
        }
        times = {"first_s": first_s, "last_s": last_s}
        with writing(self.engine) as connection:
            keys = {"analysis_id": self.analysis_ids[position], "track": track}
            connection.execute(insert(tracks).values(**keys, **times, **frames))


def new_version(engine: Engine, name: str, zones: list[CameraZone]) -> tuple[int, list[int]]:
    """Register a version of a camera's zones. Return its number and those of the zones."""
    with writing(engine) as connection:
        values = {"version_sha256": name, "registered_at": NOW}
        made = insert(event_versions).values(values).returning(event_versions.c.event_version_id)
        version = connection.execute(made).scalar_one()
        return version, register_zones(connection, version, zones)


def show(engine: Engine, camera: str | None, version: int) -> None:
    with writing(engine) as connection:
        known = connection.execute(
            update(cameras).where(cameras.c.camera == (camera or "")).values(event_version_id=version)
        )
        if not known.rowcount:
            values = {"camera": camera or "", "event_version_id": version, "since": NOW}
            connection.execute(insert(cameras).values(values))


def add_run(
    engine: Engine, analysis_id: int, version: tuple[int, list[int]], decided: ZoneRows, tail: ZoneRows | None = None
) -> None:
    """Store the run of an analysis by a version with its zone rows."""
    with writing(engine) as connection:
        values = {"analysis_id": analysis_id, "event_version_id": version[0], "finished_at": NOW}
        made = insert(event_runs).values(values).returning(event_runs.c.event_run_id)
        run = connection.execute(made).scalar_one()
        store_zone_rows(connection, run, version[1], decided, tail or ZoneRows([], []))
