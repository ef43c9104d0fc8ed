"""Recordings of several videos with made-up people, as an analysis stores them. No tests."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from sqlalchemy import Connection, Engine, insert, update

from models.types import KEYPOINT_NAMES, Poses
from storage.ledger.commit import commit_segment
from storage.sql.analyses import track_records
from storage.sql.analyses.versions import register_analysis, show_first_analysis
from storage.sql.catalogue import show_model
from storage.sql.clock import database_now
from storage.sql.database import writing
from storage.sql.tables import analyses, recording_videos, recordings
from storage.track_rows import MOTION_HEAD, MOTION_VALUES, POSE_TRACKS, MotionRecords
from tests.storage.samples import make_report, make_video, must_claim, planned_batch, record_file
from tests.storage.walkers import BODY

FPS = 25
SIZE = (640, 480)
START_AT = datetime(2026, 3, 1, 21, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Person:
    """Somebody in frames [first, last] of the recording.

    lies, raises_hand: frames [from, to] in which it does; x_px: of the nose
    """

    track: int
    first: int
    last: int
    lies: tuple[int, int] = (-1, -1)
    raises_hand: tuple[int, int] = (-1, -1)
    x_px: float = 200.0


@dataclass
class Recorded:
    """A recording in the database. videos: (video_id, model_version_id) of each file"""

    engine: Engine
    camera: str | None = None
    people: tuple[Person, ...] = ()
    lengths: tuple[int, ...] = (250,)
    start_at: datetime | None = START_AT
    name: str = "a"
    videos: list[tuple[int, int]] = field(default_factory=list)
    recording_id: int = 0

    def add(self, upto: int | None = None) -> "Recorded":
        """Store the files, or those up to a number, with an analysis of each."""
        if not self.recording_id:
            self.recording_id = _recording(self.engine, self.camera, self.start_at)
        for number in range(len(self.videos), len(self.lengths) if upto is None else upto):
            self._add_file(number)
        return self

    def _add_file(self, number: int) -> None:
        start, length = sum(self.lengths[:number]), self.lengths[number]
        digits = f"{self.name}{number:04x}".encode().hex()
        video = replace(make_video(digits.ljust(64, "0"), length), width=SIZE[0], height=SIZE[1])
        poses, tracks = _poses(self.people, start, length)
        video_id, model_version_id, batch_id = planned_batch(self.engine, video, length)
        record_file(self.engine, "archive/", f"{self.name}{number}.mp4", 1, "etag", video_id=video_id)
        show_model(self.engine, "pose", model_version_id)
        assert commit_segment(self.engine, must_claim(self.engine, batch_id), poses, make_report(length))
        self.videos.append((video_id, model_version_id))
        with writing(self.engine) as connection:
            place = {"position": number, "start_frame": start, "start_s": start / FPS, "start_at": self._at(start)}
            connection.execute(
                insert(recording_videos).values(recording_id=self.recording_id, video_id=video_id, **place)
            )
        self.analyse(number, poses, tracks)

    def _at(self, frame: int) -> datetime | None:
        return None if self.start_at is None else self.start_at + timedelta(seconds=frame / FPS)

    def analyse(self, number: int, poses: Poses, tracks: np.ndarray, decided_frame: int | None = None) -> int:
        """Store a finished analysis of a file, in place of its former one."""
        video_id, model_version_id = self.videos[number]
        version = register_analysis(self.engine, "5" * 64, "{}")
        show_first_analysis(self.engine, version)
        mine = (analyses.c.video_id == video_id) & (analyses.c.recording_id == self.recording_id)
        values = {
            "recording_id": self.recording_id,
            "video_id": video_id,
            "model_version_id": model_version_id,
            "analysis_version_id": version,
            "status": "done",
            "made_from": "made up",
            "people": len(poses),
            "tracks": len(set(tracks.tolist())),
            "decided_frame": decided_frame,
            "started_at": database_now(),
            "finished_at": database_now(),
        }
        with writing(self.engine) as connection:
            connection.execute(update(analyses).where(mine).values(status=None))
            new = connection.execute(insert(analyses).values(values).returning(analyses.c.analysis_id))
            analysis_id = int(new.scalar_one())
            _add_rows(connection, analysis_id, poses, tracks)
        return analysis_id

    def again(self, number: int, people: tuple[Person, ...], decided_frame: int | None = None) -> None:
        """Replace the analysis of a file by one with other people."""
        poses, tracks = _poses(people, sum(self.lengths[:number]), self.lengths[number])
        self.analyse(number, poses, tracks, decided_frame)


def _recording(engine: Engine, camera: str | None, start_at: datetime | None) -> int:
    values = {"camera": camera, "start_at": start_at, "time_zone": "Europe/Berlin", "created_at": database_now()}
    with writing(engine) as connection:
        new = insert(recordings).values(values).returning(recordings.c.recording_id)
        return int(connection.execute(new).scalar_one())


def _poses(people: tuple[Person, ...], start: int, length: int) -> tuple[Poses, np.ndarray]:
    """The poses of a file's frames and the track of each."""
    rows = [
        (frame - start, person, _keypoints(person, frame))
        for frame in range(start, start + length)
        for person in people
        if person.first <= frame <= person.last
    ]
    frame = np.array([row[0] for row in rows], np.int64)
    number = np.arange(len(rows)) - np.searchsorted(frame, frame)
    poses = Poses(
        frame=frame,
        person=number.astype(np.int16),
        t_s=frame / FPS,
        scores=np.full(len(rows), 0.9, np.float32),
        keypoints=np.array([row[2] for row in rows], np.float32).reshape(-1, 17, 2),
        keypoint_scores=np.full((len(rows), 17), 0.9, np.float32),
    )
    return poses, np.array([row[1].track for row in rows], np.int64)


def _keypoints(person: Person, frame: int) -> np.ndarray:
    places = BODY * 200
    if person.raises_hand[0] <= frame <= person.raises_hand[1]:
        places = places.copy()
        places[KEYPOINT_NAMES.index("left_wrist"), 1] = -20
    if person.lies[0] <= frame <= person.lies[1]:
        places = places[:, ::-1] + np.array([0, 180])
    return np.asarray(places + np.array([person.x_px, 150]))


def _add_rows(connection: Connection, analysis_id: int, poses: Poses, tracks: np.ndarray) -> None:
    n = len(poses)
    head = np.zeros(n, MOTION_HEAD)
    head["track"], head["frame"], head["t_s"] = tracks, poses.frame, poses.t_s
    values = np.full((n, len(MOTION_VALUES)), np.nan, np.float32)
    hips, shoulders = (
        poses.keypoints[:, [KEYPOINT_NAMES.index(f"{side}_{part}") for side in ("left", "right")]].mean(1)
        for part in ("hip", "shoulder")
    )
    along = shoulders - hips
    columns = dict(zip(MOTION_VALUES, values.T, strict=True))
    columns["trunk_angle_deg"][:] = np.degrees(np.arctan2(np.abs(along[:, 0]), -along[:, 1]))
    columns["centre_x_px"][:], columns["centre_y_px"][:] = hips.T
    columns["box_height_px"][:] = np.ptp(poses.keypoints[:, :, 1], 1) if n else []
    columns["speed_px_per_s"][:], columns["speed_body_lengths_per_s"][:] = 20.0, 0.1
    track_records.add_motion(connection, analysis_id, MotionRecords(head, values, None))
    rows = np.zeros(n, POSE_TRACKS)
    rows["frame"], rows["person"], rows["track"] = poses.frame, poses.person, tracks
    track_records.add_pose_tracks(connection, analysis_id, rows)
