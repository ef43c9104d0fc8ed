"""Motion of the tracks of a recording, in memory that does not grow with its length. numpy only.

Every value depends on the rows within some seconds only, and on no sum that is carried on. So rows are computed in
blocks that overlap by these seconds, and each is given out by the block that holds all that it depends on: the rows are
the same, to the bit, however the poses are cut into chunks.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from models.checkpoints import read_arrays, write_arrays
from models.motion.courses import Courses, lay_out
from models.motion.held import LAYOUT, HeldRows, Recut
from models.motion.kinematics import (
    JOINTS,
    body_length_of,
    box_height_of,
    centre_of,
    joint_angle_of,
    trunk_angle_of,
    velocity_of,
)
from models.motion.outliers import replace_outliers
from models.motion.params import MotionParams
from models.motion.smoothing import fill_gaps, smooth
from models.motion.timeline import complete
from models.motion.types import MotionRows
from models.motion.windows import TICK_S
from models.tracking.types import TrackedPoses


def motion_of(
    tracked: Iterable[TrackedPoses], params: MotionParams, frame_s: float | None = None
) -> Iterator[MotionRows]:
    """Yield the motion of all tracks, ordered by (frame, track). A frame's rows come together.

    tracked: chunks of whole frames, ascending in frame; rows of track 0 only tell which frames were looked at
    frame_s: usual seconds between two processed frames; half as many more are no gap, even above params.fill_gap_s

    Frames without a row of anybody are known from the usual step between frames, so the filled rows there have a
    frame and a time that are an estimate.
    Raises ValueError where frames do not ascend, or a track has two rows in one frame.
    """
    motion = Motion(params, frame_s)
    for chunk in tracked:
        yield from motion.push(chunk)
    yield from motion.finish()


class Motion:
    """Tracked poses of a recording in, the motion of its tracks out, as soon as no later row can change it.

    The rows are those of motion_of, in its order.
    """

    def __init__(self, params: MotionParams, frame_s: float | None = None, state: bytes | None = None) -> None:
        """Begin a recording, or resume it from a checkpoint.

        frame_s: see motion_of
        state: bytes of `checkpoint` of an object with the same arguments; the rows that follow are those after its last
            one, and the motion that it had not given out is given out by this one
        Raises ValueError where the bytes are damaged, or made with other arguments or by another version.
        """
        self._params = params
        self._limit_s = max(params.fill_gap_s, 1.5 * (frame_s or 0.0))
        self._maker = _maker(params, frame_s)
        self._recut, self._held = Recut(), HeldRows(_support_s(params, self._limit_s))
        if state is not None:
            self._held.resume(read_arrays(state, self._maker, LAYOUT))

    def push(self, chunk: TrackedPoses) -> list[MotionRows]:
        """Take the rows of later frames, and return motion that is final.

        chunk: whole frames; rows of track 0 only tell which frames were looked at
        Raises ValueError where frames do not ascend, or a track has two rows in one frame.
        """
        found = []
        for part in self._recut.push(chunk):
            self._held.append(part)
            found += self._computed(self._held.worthy_frames())
        return found

    def flush(self) -> list[MotionRows]:
        """Return all motion that is final, which `push` collects for a while. A checkpoint is smaller then."""
        self._take_all()
        return self._computed(self._held.final_frames())

    def checkpoint(self) -> bytes:
        """Return the present state, from which another object goes on. This one gives out the same rows as without.

        The size is bounded: it grows with the people of some seconds, and with the rows that `flush` would give out.
        """
        self._take_all()
        return write_arrays(self._maker, self._held.to_arrays())

    def finish(self) -> list[MotionRows]:
        """Return the remaining motion, as at the end of the recording. No rows may follow."""
        self._take_all()
        return self._computed(self._held.remaining_frames())

    def undecided_from(self) -> int | None:
        """Return the first frame whose motion is not given out yet, if there is any; None = there was no row yet.

        It may be a frame without a row, in which a gap is filled when the next row has come.
        """
        self._take_all()
        return self._held.undecided_from()

    def _take_all(self) -> None:
        for part in self._recut.rest():
            self._held.append(part)

    def _computed(self, frames: range) -> list[MotionRows]:
        if not frames:
            return []
        rows = _compute(self._held, frames, self._params, self._limit_s)
        self._held.release(frames)
        return [rows]


def _maker(params: MotionParams, frame_s: float | None) -> str:
    """Identify what determines the motion besides the rows."""
    told = json.dumps(["motion", params.sha256(), frame_s])
    return hashlib.sha256(told.encode()).hexdigest()


def _support_s(params: MotionParams, limit_s: float) -> float:
    """Seconds before and after a row on which it depends, each stage's on those of the one before.

    Velocity on the next row, body length on half a window; smoothing on the end of a run, and on the windows beside it;
    filling on the next known place; outliers on half a window; rows of gaps on the frames near them.
    """
    smoothing_s = params.smoothing_window_s + 2 * limit_s
    rows_s = 2 * limit_s
    stages = (max(limit_s, params.body_window_s / 2), smoothing_s, limit_s, params.outlier_window_s / 2, rows_s)
    return sum(stages) + 10 * TICK_S


def _compute(held: HeldRows, frames: range, params: MotionParams, limit_s: float) -> MotionRows:
    """Compute the motion in these frames."""
    timeline = complete(held.seen, limit_s)
    courses = lay_out(held.rows, timeline, limit_s, params.lowest_keypoint_score)
    pieces = courses.pieces
    clean = replace_outliers(courses.keypoints, pieces, params.outlier_window_s, params.outlier_deviations)
    keypoints = smooth(fill_gaps(clean, pieces, limit_s), pieces, params.smoothing_window_s)
    return _measure(courses, keypoints, frames, params)


def _measure(courses: Courses, keypoints: NDArray[np.float64], frames: range, params: MotionParams) -> MotionRows:
    centre, made_of = centre_of(keypoints)
    velocity = velocity_of(centre, made_of, courses.pieces)
    body_length = body_length_of(keypoints, courses.pieces, params.body_window_s)
    inside = np.flatnonzero((courses.frame >= frames.start) & (courses.frame < frames.stop))
    rows = inside[np.lexsort((courses.track[inside], courses.frame[inside]))]
    speed = np.hypot(*velocity[:, rows])
    poses = keypoints[:, :, rows]
    return MotionRows(
        track=courses.track[rows],
        frame=courses.frame[rows],
        t_s=courses.pieces.t_s[rows],
        filled=courses.filled[rows],
        centre_x_px=centre[0, rows],
        centre_y_px=centre[1, rows],
        box_height_px=box_height_of(poses),
        speed_px_per_s=speed,
        speed_body_lengths_per_s=np.divide(
            speed, body_length[rows], out=np.full(len(rows), np.nan), where=body_length[rows] > 0
        ),
        vertical_velocity_px_per_s=velocity[1, rows],
        trunk_angle_deg=trunk_angle_of(poses),
        **{name: joint_angle_of(poses, name) for name in JOINTS},
        keypoints=np.ascontiguousarray(poses.transpose(2, 0, 1)),
    )
