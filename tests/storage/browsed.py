"""Random rows of a recording of three files, for tests of what pages show. No tracker, no files."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine, insert, text, update

from models.types import KEYPOINTS, Classifications, ModelVersion, Poses
from storage.ledger.batches import expect_segments, start_batch
from storage.ledger.commit import commit_segment
from storage.ledger.leases import quarantine_segment
from storage.sql.analyses import track_records
from storage.sql.analyses.versions import register_analysis, show_first_analysis
from storage.sql.catalogue import register_model, show_model
from storage.sql.database import writing
from storage.sql.tables import analyses, cameras, event_rows, event_runs, event_versions, recording_videos, recordings
from storage.sql.tables import rules as rules_table
from storage.track_rows import MOTION_HEAD, MOTION_VALUES, POSE_TRACKS, SMOOTHED_COLUMNS, TRACKS, MotionRecords
from tests.storage.samples import (
    cut,
    make_labels,
    make_model,
    make_report,
    make_video,
    must_claim,
    plan_video,
    record_file,
    register_video,
)

NOW = datetime(2026, 11, 28, tzinfo=UTC)
FRAMES, LENGTH, FPS, FILES = 1300, 100, 25.0, 3
GAP_S = 1.0  # between two files


@dataclass
class Recording:
    """A recording of files whose rows are random, by a pose model and a classifier, with events.

    ids: of its videos; analysis_ids: likewise
    """

    engine: Engine
    seed: int
    files: int = FILES
    ids: list[int] = field(default_factory=list)
    analysis_ids: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.hashes = [f"{self.seed:08x}{number:08x}".ljust(64, "5") for number in range(self.files)]
        self.model = self._process(make_model(f"{self.seed:064x}"))
        self.classifier = self._process(make_model(f"{self.seed + 1:064x}", "car-classifier", "classification"))
        self.analysis = register_analysis(self.engine, f"{self.seed:x}".ljust(64, "e"), "{}")
        show_first_analysis(self.engine, self.analysis)
        with writing(self.engine) as connection:
            self.recording_id = _record(connection, self.ids)
            self.analyse(connection, self.analysis)
            self._add_events(connection)

    def _process(self, model: ModelVersion) -> int:
        """Plan and process all files by a model. Some segments are in quarantine, and some are not done."""
        model_id = register_model(self.engine, model)
        show_model(self.engine, model.task, model_id)
        batch_id = start_batch(self.engine, "archive/", model_id, "local", "owner")
        self.ids = []
        for number, sha256 in enumerate(self.hashes):
            video = make_video(sha256, FRAMES)
            self.ids.append(register_video(self.engine, video))
            key = f"door/<img src=x>{self.seed}-{number}.mp4"
            record_file(self.engine, "/nowhere", key, 1234, "etag", video_id=self.ids[-1])
            plan_video(self.engine, self.ids[-1], model_id, cut(video, LENGTH))
        expect_segments(self.engine, batch_id, self.ids, files_listed=self.files, files_quarantined=0)
        for _ in range(self.files * FRAMES // LENGTH):
            self._process_one(batch_id, model.task)
        return model_id

    def _process_one(self, batch_id: int, task: str) -> None:
        claim, fate = must_claim(self.engine, batch_id), self.rng.random()
        start, stop = claim.segment.start_frame, claim.segment.stop_frame
        if fate < 0.1:
            assert quarantine_segment(self.engine, claim, "damaged <b>")
        elif fate > 0.15:
            lost = tuple(range(start + 40, start + 47)) if fate < 0.3 else ()
            rows = make_labels(start, stop) if task == "classification" else random_poses(self.rng, start, stop, lost)
            if isinstance(rows, Classifications) and lost:
                rows = _without(rows, lost)
            report = make_report(LENGTH - len(lost), lost)
            assert commit_segment(self.engine, claim, rows, report, f"key{claim.segment_id}", "a" * 64)

    def analyse(self, connection: Connection, version: int) -> None:
        """Add an analysis of all files with random tracks, and show nothing."""
        self.analysis_ids = []
        for position, video_id in enumerate(self.ids):
            of = {"recording_id": self.recording_id, "video_id": video_id, "model_version_id": self.model}
            made = {"made_from": f"{version}-{position}", "status": "done", "started_at": NOW, "finished_at": NOW}
            made |= {"continued_by": f"{version}-{position + 1}" if position + 1 < self.files else None}
            new = insert(analyses).values(**of, analysis_version_id=version, **made).returning(analyses.c.analysis_id)
            self.analysis_ids.append(connection.execute(new).scalar_one())
            self._add_tracks(connection, self.analysis_ids[-1], video_id, position)

    def _add_tracks(self, connection: Connection, analysis_id: int, video_id: int, position: int) -> None:
        """Persons 0 and 1 are tracks 1 and 2 in all files; person 2 is another track in each."""
        found = connection.execute(
            text("SELECT frame, person FROM poses WHERE video_id = :v AND model_version_id = :m AND person < 3"),
            {"v": video_id, "m": self.model},
        ).all()
        rows = np.array([(row.frame, row.person, row.person + 1) for row in found], POSE_TRACKS)
        rows["track"][rows["person"] == 2] = 10 + position
        rows = rows[self.rng.random(len(rows)) < 0.9]
        track_records.add_pose_tracks(connection, analysis_id, rows)
        tracks = np.zeros(len(np.unique(rows["track"])), TRACKS)
        for one, track in zip(tracks, np.unique(rows["track"]), strict=True):
            frames = np.sort(rows["frame"][rows["track"] == track])
            one["track"], one["frames"], one["mean_score"] = track, len(frames), self.rng.random()
            one["first_frame"], one["last_frame"] = frames[0], frames[-1]
            one["first_s"], one["last_s"] = frames[0] / FPS, frames[-1] / FPS
            one["box_left"] = self.rng.random()
        track_records.add_tracks(connection, analysis_id, self.recording_id, tracks)
        track_records.add_motion(connection, analysis_id, random_motion(self.rng, rows))

    def _add_events(self, connection: Connection) -> None:
        """Events in every file, one of which goes on from the first into the second."""
        made = insert(event_versions).values(version_sha256=f"v{self.seed}", registered_at=NOW)
        version = connection.execute(made.returning(event_versions.c.event_version_id)).scalar_one()
        camera = {"camera": "door", "event_version_id": version, "since": NOW}
        connection.execute(text("DELETE FROM cameras"))
        connection.execute(insert(cameras).values(camera))
        rule = {"rule": "fall <script>", "rule_version": "r", "definition": "{}", "severity": "warning"}
        new = insert(rules_table).values(event_version_id=version, **rule).returning(rules_table.c.rule_id)
        rule_id = connection.execute(new).scalar_one()
        for position, analysis_id in enumerate(self.analysis_ids):
            of = {"analysis_id": analysis_id, "event_version_id": version, "finished_at": NOW}
            run = connection.execute(insert(event_runs).values(of).returning(event_runs.c.event_run_id)).scalar_one()
            for number, values in enumerate(self._events(position)):
                key = f"{self.seed}-{position}-{number}"
                connection.execute(
                    insert(event_rows).values(event_run_id=run, rule_id=rule_id, event_key=key, score=0.5, **values)
                )

    def _events(self, position: int) -> Iterator[dict[str, Any]]:
        start_s = starts()[position]
        for from_s, length_s in zip(self.rng.uniform(0, 50, 4), self.rng.uniform(0, 2, 4), strict=True):
            peak = int(from_s * FPS)
            place = {"video_id": self.ids[position], "peak_video_id": self.ids[position], "peak_frame": peak}
            times = {"from_s": start_s + from_s, "to_s": start_s + from_s + length_s, "peak_s": start_s + from_s}
            yield {"track": 1, **place, **times}
        if position == 1:
            yield {
                "track": None,
                "video_id": self.ids[0],
                "peak_video_id": self.ids[1],
                "peak_frame": 10,
                "from_s": 40.0,
                "to_s": starts()[1] + 5,
                "peak_s": starts()[1] + 0.4,
            }


def starts() -> list[float]:
    """Begin of each file on the recording's clock."""
    return [number * (FRAMES / FPS + GAP_S) for number in range(FILES)]


def random_poses(rng: np.random.Generator, start: int, stop: int, lost: tuple[int, ...] = ()) -> Poses:
    """Up to four people in each frame but the lost ones; a fifth of the keypoints is not found."""
    frames = np.setdiff1d(np.arange(start, stop), lost)
    counts = rng.integers(0, 5, len(frames)) * (rng.random() < 0.8)
    frame = np.repeat(frames, counts)
    person = np.concatenate([np.arange(count, dtype=np.int16) for count in counts])
    noise = rng.random((len(frame), KEYPOINTS, 3), np.float32)
    noise[noise[:, :, 2] < 0.2] = np.nan
    scores = rng.random(len(frame), np.float32)
    return Poses(frame, person, frame / FPS, scores, noise[:, :, :2] * np.float32(470), noise[:, :, 2].copy())


def random_motion(rng: np.random.Generator, rows: np.ndarray) -> MotionRecords:
    head = np.zeros(len(rows), MOTION_HEAD)
    head["track"], head["frame"], head["t_s"] = rows["track"], rows["frame"], rows["frame"] / FPS
    head["filled"] = rng.random(len(rows)) < 0.1
    values = rng.normal(0, 100, (len(rows), len(MOTION_VALUES))).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    keypoints = rng.normal(0, 100, (len(rows), len(SMOOTHED_COLUMNS))).astype(np.float32)
    return MotionRecords(head, values, keypoints)


def _without(rows: Classifications, lost: tuple[int, ...]) -> Classifications:
    kept = ~np.isin(rows.frame, lost)
    return Classifications(rows.frame[kept], rows.label[kept], rows.t_s[kept], rows.scores[kept])


def _record(connection: Connection, ids: list[int]) -> int:
    about = {"camera": "door", "start_at": NOW, "time_zone": "Europe/Berlin", "created_at": NOW}
    made = insert(recordings).values(about).returning(recordings.c.recording_id)
    recording_id = int(connection.execute(made).scalar_one())
    for position, (video_id, start_s) in enumerate(zip(ids, starts(), strict=False)):
        place = {"position": position, "start_s": start_s, "start_frame": position * FRAMES, "utc_offset_s": 3600}
        of = {"recording_id": recording_id, "video_id": video_id, "start_at": NOW + timedelta(seconds=start_s)}
        connection.execute(insert(recording_videos).values(**of, **place))
    return recording_id


def supersede_rows(engine: Engine, video_id: int) -> None:
    """Process the first segment of a video that is done anew, as a later attempt does."""
    with writing(engine) as connection:
        connection.execute(
            text(
                "UPDATE segments SET attempt = attempt + 1 WHERE segment_id = (SELECT min(segment_id) FROM segments"
                " WHERE video_id = :v AND status = 'done')"
            ),
            {"v": video_id},
        )


def replace_analysis(engine: Engine, analysis_id: int) -> None:
    """Record that a later analysis has replaced the last rows of this one."""
    with writing(engine) as connection:
        connection.execute(update(analyses).where(analyses.c.analysis_id == analysis_id).values(continued_by="later"))
