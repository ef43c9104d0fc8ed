"""Rows of a recording that belong to one of its videos, in the video's own frames and seconds."""

from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from models.motion.types import MotionRows
from models.tracking.summary import TrackSummaries, TrackSummary
from models.tracking.types import TrackedPoses
from models.types import KEYPOINTS, Poses
from storage.ledger.chain import AnalysisRows, EarlierPart, Tail
from storage.track_rows import MOTION_HEAD, MOTION_VALUES, POSE_TRACKS, TRACKS, MotionRecords
from tasks.analysis.params import AnalysisParams


class VideoOutput:
    """Collects the rows of one video, and sums up its tracks."""

    def __init__(self, part: EarlierPart, params: AnalysisParams, summaries: bytes | None = None) -> None:
        """summaries: checkpoint of the tracks' summaries, None = nothing is summed up before the rows that come"""
        self.part, self._keypoints = part, params.smoothed_keypoints
        self.summaries = TrackSummaries(params.track.max_gap_s, summaries)
        self._open_tracks = self.summaries.open_tracks
        self._pose_tracks: list[NDArray[np.void]] = []
        self._motion: list[MotionRecords] = []
        self._ended: list[TrackSummary] = []
        self.waiting = 0

    def add_tracked(self, rows: TrackedPoses) -> None:
        """Add those of the rows that are in this video."""
        mine = self._mine(rows.poses.frame)
        if mine.start == mine.stop:
            return
        columns = {field.name: getattr(rows.poses, field.name)[mine] for field in fields(Poses)}
        columns["frame"] = columns["frame"] - self.part.start_frame
        columns["t_s"] = columns["t_s"] - self.part.start_s
        own = TrackedPoses(Poses(**columns), rows.track[mine])
        self._ended += self.summaries.add(own)
        self._pose_tracks.append(_pose_tracks(own))
        self.waiting += len(own.track)

    def add_motion(self, rows: MotionRows) -> None:
        """Add those of the rows that are in this video."""
        mine = self._mine(rows.frame)
        if mine.start == mine.stop:
            return
        records = _records(rows, mine, self._keypoints)
        records.head["frame"] = rows.frame[mine] - self.part.start_frame  # a recording may have more than 2^31 frames
        records.head["t_s"] = rows.t_s[mine] - self.part.start_s
        self._motion.append(records)
        self.waiting += len(records.head)

    def sum_up(self) -> None:
        """Sum up the tracks that may have gone on, as no rows of this video follow."""
        self._ended += self.summaries.finish()

    def take_rows(self) -> AnalysisRows:
        """Return the rows that have come since the last call."""
        rows = AnalysisRows(
            np.concatenate([np.empty(0, POSE_TRACKS), *self._pose_tracks]),
            np.array([(summary[:-1] + summary.box) for summary in self._ended], TRACKS),
            _joined(self._motion, self._keypoints),
        )
        self._pose_tracks, self._motion, self._ended, self.waiting = [], [], [], 0
        return rows

    def tail(self, pose_frame: int, motion_frame: int) -> Tail:
        """Return the last rows, which replace those from these frames of the recording on."""
        self.sum_up()
        first = self.part.start_frame
        return Tail(self.part, pose_frame - first, motion_frame - first, self._open_tracks, self.take_rows())

    def _mine(self, frame: NDArray[np.int64]) -> slice:
        first, stop = np.searchsorted(frame, [self.part.start_frame, self.part.stop_frame])
        return slice(int(first), int(stop))


def _pose_tracks(rows: TrackedPoses) -> NDArray[np.void]:
    """Return POSE_TRACKS of the rows that belong to a track."""
    mine = np.flatnonzero(rows.track)
    made = np.empty(len(mine), POSE_TRACKS)
    made["frame"], made["person"], made["track"] = rows.poses.frame[mine], rows.poses.person[mine], rows.track[mine]
    return made


def _records(rows: MotionRows, mine: slice, keypoints: bool) -> MotionRecords:
    head = np.empty(mine.stop - mine.start, MOTION_HEAD)
    head["track"], head["filled"] = rows.track[mine], rows.filled[mine]
    values = np.column_stack([getattr(rows, name)[mine] for name in MOTION_VALUES]).astype(np.float32)
    return MotionRecords(head, values, _flat(rows.keypoints[mine]) if keypoints else None)


def _flat(keypoints: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(keypoints.reshape(len(keypoints), 2 * KEYPOINTS), np.float32)


def _joined(parts: list[MotionRecords], keypoints: bool) -> MotionRecords:
    none = MotionRecords(
        np.empty(0, MOTION_HEAD),
        np.empty((0, len(MOTION_VALUES)), np.float32),
        np.empty((0, 2 * KEYPOINTS), np.float32) if keypoints else None,
    )
    heads, values, smoothed = zip(none, *parts, strict=True)
    return MotionRecords(np.concatenate(heads), np.concatenate(values), np.concatenate(smoothed) if keypoints else None)
