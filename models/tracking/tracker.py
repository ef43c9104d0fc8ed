"""One number per person through a recording: tracks of the people of its frames.

Three stages. Links between successive frames that leave no doubt are made for many frames at once (links). Where they
end, people who appear are assigned to people who were just lost, by where they are expected (association). Chains of
such links are joined across longer gaps with a view of both sides (rejoin). Sightings wait until all decisions about
them are made, at most some seconds.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from models.checkpoints import Layout, read_arrays, write_arrays
from models.tracking import memory
from models.tracking.engine import Engine, Numbers
from models.tracking.params import TrackParams
from models.tracking.types import TrackedPoses, of_poses
from models.types import KEYPOINTS, Poses

_POSES: Layout = {
    "frame": ("<i8", ()),
    "person": ("<i2", ()),
    "t_s": ("<f8", ()),
    "scores": ("<f4", ()),
    "keypoints": ("<f4", (KEYPOINTS, 2)),
    "keypoint_scores": ("<f4", (KEYPOINTS,)),
}
_LAYOUT: Layout = {**memory.LAYOUT, **_POSES, "known": ("u1", ()), "last_frame": ("<i8", ())}


def track_poses(
    chunks: Iterable[Poses], params: TrackParams, size: tuple[int, int], frame_s: float | None
) -> Iterator[TrackedPoses]:
    """Yield the rows of a recording with the tracks of their people, as soon as these are final.

    chunks: whole frames, ascending; the tracks do not depend on how the rows are divided into chunks
    size, frame_s: see Tracker
    """
    tracker = Tracker(params, size, frame_s)
    for poses in chunks:
        yield from tracker.push(poses)
    yield from tracker.finish()


class Tracker:
    """Poses of a recording in, the same rows with the tracks of their people out, as soon as these are final.

    A person without any keypoint belongs to no track. Memory is bounded by the times of the parameters.
    """

    def __init__(
        self, params: TrackParams, size: tuple[int, int], frame_s: float | None, state: bytes | None = None
    ) -> None:
        """Begin a recording, or resume it from a checkpoint.

        size: width and height of the video, pixels; frame_s: seconds between processed frames, None = not known
        state: bytes of `checkpoint` of a tracker with the same arguments; the rows that follow are those after its last
            one, and the rows that it had not given out are given out by this tracker
        Raises ValueError where the bytes are damaged, or made with other arguments or by another version.
        """
        self._maker = _maker(params, size, frame_s)
        self._waiting, self._last_frame = _Waiting(), int(np.iinfo(np.int64).min)
        resumed = None if state is None else self._resume(state)
        self._engine = Engine(params, size, frame_s, resumed)

    def push(self, poses: Poses) -> list[TrackedPoses]:
        """Take the rows of later frames, and return rows whose tracks are final.

        poses: whole frames. Raises ValueError where frames do not ascend.
        """
        if not len(poses):
            return []
        if poses.frame[0] <= self._last_frame or (np.diff(poses.frame) < 0).any():
            raise ValueError(f"Frame {poses.frame[0]} is given out of order. Give whole frames in ascending order.")
        self._last_frame = int(poses.frame[-1])
        seen, known = of_poses(poses)
        self._waiting.add(poses, known)
        return self._waiting.give(self._engine.push(seen))

    def flush(self) -> list[TrackedPoses]:
        """Return all rows whose tracks are final, which `push` collects for a while. A checkpoint is smaller then."""
        return self._waiting.give(self._engine.flush())

    def checkpoint(self) -> bytes:
        """Return the present state, from which another tracker goes on. This one stays as it is.

        The size is bounded: it grows with the people of some seconds, and with the rows that `flush` would give out.
        """
        poses, known = self._waiting.poses, self._waiting.known
        arrays = {**memory.to_arrays(self._engine.memory), **{each: getattr(poses, each) for each in _POSES}}
        arrays |= {"known": known.astype(np.uint8), "last_frame": np.array([self._last_frame], np.int64)}
        return write_arrays(self._maker, arrays)

    def finish(self) -> list[TrackedPoses]:
        """Return the remaining rows, as at the end of the recording. No rows may follow."""
        given = self._waiting.give(self._engine.finish())
        return given + self._waiting.rest()

    def undecided_from(self) -> int | None:
        """Return the first frame whose rows are not given out yet; None = all rows are."""
        return int(self._waiting.poses.frame[0]) if len(self._waiting.poses) else None

    def _resume(self, state: bytes) -> memory.Memory:
        arrays = read_arrays(state, self._maker, _LAYOUT)
        poses, known = Poses(*(arrays[each] for each in _POSES)), arrays["known"] > 0
        if {len(known)} != {len(arrays[each]) for each in _POSES} or len(arrays["last_frame"]) != 1:
            raise ValueError("The checkpoint has rows that are not complete. Begin again without it.")
        self._last_frame = int(arrays["last_frame"][0])
        if (np.diff(poses.frame) < 0).any() or (poses.frame > self._last_frame).any():
            raise ValueError("The checkpoint has rows that are not in the order of frames. Begin again without it.")
        resumed = memory.from_arrays(arrays, poses.keypoints[known])
        self._waiting.add(poses, known)
        return resumed


def _maker(params: TrackParams, size: tuple[int, int], frame_s: float | None) -> str:
    """Identify what determines the tracks besides the rows."""
    told = json.dumps(["tracker", params.sha256(), size, frame_s])
    return hashlib.sha256(told.encode()).hexdigest()


class _Waiting:
    """Rows whose tracks are not final, with a mask of those that are tracked."""

    def __init__(self) -> None:
        self._chunks: list[tuple[Poses, NDArray[np.bool_]]] = []

    @property
    def poses(self) -> Poses:
        return self._joined()[0]

    @property
    def known(self) -> NDArray[np.bool_]:
        return self._joined()[1]

    def add(self, poses: Poses, known: NDArray[np.bool_]) -> None:
        self._chunks.append((poses, known))

    def give(self, numbers: Numbers) -> list[TrackedPoses]:
        """Return the rows for which there are numbers now, those of the next tracked rows."""
        if not len(numbers):
            return []
        poses, known = self._joined()
        tracked = np.flatnonzero(known)
        stop = len(poses)
        if len(numbers) < len(tracked):
            stop = int(np.searchsorted(poses.frame, poses.frame[tracked[len(numbers)]]))
        self._chunks = [(_rows(poses, slice(stop, None)), known[stop:])]
        track = np.zeros(stop, np.int32)
        track[known[:stop]] = numbers
        return [TrackedPoses(_rows(poses, slice(stop)), track)]

    def rest(self) -> list[TrackedPoses]:
        """Return the rows behind the last tracked one."""
        poses, _ = self._joined()
        self._chunks = []
        return [TrackedPoses(poses, np.zeros(len(poses), np.int32))] if len(poses) else []

    def _joined(self) -> tuple[Poses, NDArray[np.bool_]]:
        """Return all rows, as one chunk from now on."""
        if len(self._chunks) != 1:
            parts = [Poses.gather([]), *(poses for poses, _ in self._chunks)]
            poses = Poses(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(Poses)))
            self._chunks = [(poses, np.concatenate([np.empty(0, bool), *(known for _, known in self._chunks)]))]
        return self._chunks[0]


def _rows(poses: Poses, rows: slice) -> Poses:
    return Poses(*(getattr(poses, each.name)[rows] for each in fields(Poses)))
