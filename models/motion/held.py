"""Rows of a stream of poses, held until everything has come that the motion in their frames depends on. numpy only."""

from collections.abc import Iterator
from dataclasses import fields
from itertools import pairwise

import numpy as np

from models.checkpoints import Arrays, Layout
from models.motion.timeline import StretchCounter, Timeline
from models.tracking.types import TrackedPoses
from models.types import KEYPOINTS, Poses

LAYOUT: Layout = {
    "frame": ("<i8", ()),
    "t_s": ("<f8", ()),
    "keypoints": ("<f4", (KEYPOINTS, 2)),
    "keypoint_scores": ("<f4", (KEYPOINTS,)),
    "track": ("<i4", ()),
    "seen_t_s": ("<f8", ()),
    "seen_stretch": ("<i8", ()),
    "recent_s": ("<f8", ()),
    "counts": ("<i8", ()),
}
_NOTHING = int(np.iinfo(np.int64).min)
_CHUNK_ROWS = 1024  # size of the chunks after cutting them again
_BLOCK_ROWS = 8192  # fewest rows that are computed together, except for the last ones
_LEAST_SHARE = 1.0  # final rows of a block, for each of the others in it


class HeldRows:
    """Rows that are not final yet, and the earlier ones on which these depend.

    rows, seen: those rows and their frames; support_s: seconds before and after a frame that its motion depends on
    """

    def __init__(self, support_s: float) -> None:
        self.rows = _concatenate([])
        self.seen = Timeline(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64))
        self._support_s = support_s
        self._stretches = StretchCounter()
        self._done = _NOTHING  # frames up to this one were released

    def to_arrays(self) -> Arrays:
        """Return all that later rows depend on."""
        poses, mine = self.rows.poses, self.rows.track[:, None, None] > 0
        return {
            "frame": poses.frame,
            "t_s": poses.t_s,
            "keypoints": np.where(mine, poses.keypoints, np.float32(np.nan)),
            "keypoint_scores": poses.keypoint_scores,
            "track": self.rows.track,
            "seen_t_s": self.seen.t_s,
            "seen_stretch": self.seen.stretch,
            "recent_s": self._stretches.recent_s,
            "counts": np.array([self._done, self._stretches.stretch], np.int64),
        }

    def resume(self, arrays: Arrays) -> None:
        """Continue from the arrays of to_arrays. Raises ValueError where they do not fit each other."""
        rows = len(arrays["frame"])
        frame = np.unique(arrays["frame"])
        if {rows} != {len(arrays[each]) for each in ("t_s", "keypoints", "keypoint_scores", "track")}:
            raise ValueError("The checkpoint has rows that are not complete.")
        if {len(frame)} != {len(arrays[each]) for each in ("seen_t_s", "seen_stretch")} or len(arrays["counts"]) != 2:
            raise ValueError("The checkpoint has frames that are not complete.")
        if (np.diff(arrays["frame"]) < 0).any() or (np.diff(arrays["seen_stretch"]) < 0).any():
            raise ValueError("The checkpoint has frames that are not in their order.")
        if rows and arrays["counts"][0] > frame[-1]:
            raise ValueError("The checkpoint has released frames that it does not have.")
        poses = Poses(
            *(arrays["frame"], np.zeros(rows, np.int16), arrays["t_s"], np.zeros(rows, np.float32)),
            *(arrays["keypoints"], arrays["keypoint_scores"]),
        )
        self.rows = TrackedPoses(poses, arrays["track"])
        self.seen = Timeline(frame, arrays["seen_t_s"], arrays["seen_stretch"])
        self._done, stretch = arrays["counts"].tolist()
        self._stretches = StretchCounter(arrays["recent_s"], stretch)

    def append(self, chunk: TrackedPoses) -> None:
        """Take the rows of later frames. Raises ValueError where frames do not ascend."""
        frame, first = np.unique(chunk.poses.frame, return_index=True)
        if (np.diff(chunk.poses.frame) < 0).any() or (len(self.seen.frame) and frame[0] <= self.seen.frame[-1]):
            raise ValueError(f"Frame {frame[0]} comes after a later one. Give whole frames in ascending order.")
        t_s = chunk.poses.t_s[first]
        added = Timeline(frame, t_s, self._stretches.number(t_s))
        self.seen = Timeline(*(np.concatenate(pair) for pair in zip(self.seen, added, strict=True)))
        self.rows = _concatenate([self.rows, chunk])

    def undecided_from(self) -> int | None:
        """Return the first frame that is not released, which may have no row; None = there was none yet."""
        if self._done != _NOTHING:
            return self._done + 1
        return int(self.seen.frame[0]) if len(self.seen.frame) else None

    def worthy_frames(self) -> range:
        """Frames to compute now: the final ones, or none while a block would consist of its surroundings mostly."""
        final = self.final_frames()
        rows = np.searchsorted(self.rows.poses.frame, (final.start, final.stop))
        count = int(rows[1] - rows[0])
        worth = count >= max(_BLOCK_ROWS, _LEAST_SHARE * (len(self.rows.track) - count))
        return final if worth else range(0)

    def final_frames(self) -> range:
        """Frames of which no later row can change the motion."""
        frame, t_s, stretch = self.seen
        if not len(frame):
            return range(0)
        final = (stretch < stretch[-1]) | (t_s <= t_s[-1] - self._support_s)
        last = int(frame[np.count_nonzero(final) - 1]) if final.any() else self._done
        return range(self._done + 1, last + 1)

    def remaining_frames(self) -> range:
        """Frames to compute after the last row has come."""
        return range(self._done + 1, int(self.seen.frame[-1]) + 1) if len(self.seen.frame) else range(0)

    def release(self, frames: range) -> None:
        """Drop the rows on which no frame after these depends."""
        self._done = frames[-1]
        frame, t_s, stretch = self.seen
        now = int(np.searchsorted(frame, self._done, side="right")) - 1
        needed = (stretch > stretch[now]) | ((stretch == stretch[now]) & (t_s >= t_s[now] - self._support_s))
        needed[-1] = True  # tells which frame may follow
        start = int(np.argmax(needed))
        self.seen = Timeline(frame[start:], t_s[start:], stretch[start:])
        first = int(np.searchsorted(self.rows.poses.frame, frame[start]))
        self.rows = _rows(self.rows, first, len(self.rows.track))


class Recut:
    """Small chunks merged, large ones split between frames, and empty ones left out."""

    def __init__(self) -> None:
        self._waiting: list[TrackedPoses] = []
        self._rows = 0

    def push(self, chunk: TrackedPoses) -> list[TrackedPoses]:
        """Take a chunk, and return the next ones."""
        self._waiting.append(chunk)
        self._rows += len(chunk.track)
        return list(_split(self._taken())) if self._rows >= _CHUNK_ROWS else []

    def rest(self) -> list[TrackedPoses]:
        """Return what was taken and not returned yet."""
        return [self._taken()] if self._rows else []

    def _taken(self) -> TrackedPoses:
        taken, self._waiting, self._rows = _concatenate(self._waiting), [], 0
        return taken


def _split(chunk: TrackedPoses) -> Iterator[TrackedPoses]:
    """Split before the frames of some rows."""
    frame = chunk.poses.frame
    starts = np.searchsorted(frame, frame[::_CHUNK_ROWS])
    bounds = [*sorted(set(starts.tolist())), len(frame)]
    return (_rows(chunk, start, stop) for start, stop in pairwise(bounds))


def _concatenate(chunks: list[TrackedPoses]) -> TrackedPoses:
    poses = [Poses.gather([]), *(chunk.poses for chunk in chunks)]
    columns = (np.concatenate([getattr(each, field.name) for each in poses]) for field in fields(Poses))
    return TrackedPoses(Poses(*columns), np.concatenate([np.empty(0, np.int32), *(chunk.track for chunk in chunks)]))


def _rows(tracked: TrackedPoses, start: int, stop: int) -> TrackedPoses:
    poses = Poses(*(getattr(tracked.poses, field.name)[start:stop] for field in fields(Poses)))
    return TrackedPoses(poses, tracked.track[start:stop])
