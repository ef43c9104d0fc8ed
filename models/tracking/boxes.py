"""The same tracker on boxes alone."""

import numpy as np
from numpy.typing import NDArray

from models.tracking.engine import Engine
from models.tracking.params import TrackParams
from models.tracking.types import Array, of_boxes

# The centre of a detector's box moves with what it shows of a person, so that an older velocity says less.
BOX_PARAMS = TrackParams(velocity_s=1.0, max_speed=3.0)
Frames = NDArray[np.int64]
Numbers = NDArray[np.int32]


def track_boxes(
    frame: Frames, t_s: Array, scores: Array, boxes: Array, params: TrackParams, size: tuple[int, int]
) -> Numbers:
    """Return the tracks (n,) of boxes (n, 4), left, top, right, bottom, ordered by frame; 0 = of no track.

    t_s: (n,) seconds; scores: (n,) 0 to 1; size: width and height of the video, pixels
    """
    engine = Engine(params, size, _step(frame, t_s))
    return np.concatenate([engine.push(of_boxes(frame, t_s, scores, boxes)), engine.finish()])


def _step(frame: Frames, t_s: Array) -> float | None:
    """Return the usual time between two frames."""
    frames = np.diff(frame)
    return float(np.median(np.diff(t_s)[frames > 0] / frames[frames > 0])) if (frames > 0).any() else None


def fill_gaps(frame: Frames, track: Numbers, boxes: Array) -> tuple[Frames, Numbers, Array]:
    """Return the boxes of all tracks, ordered by frame, with boxes on a straight line in the gaps of each track."""
    parts = [_filled(frame[track == number], boxes[track == number]) for number in np.unique(track[track > 0])]
    numbers = np.repeat(np.unique(track[track > 0]), [len(frames) for frames, _ in parts])
    frames = np.concatenate([np.empty(0, np.int64), *(frames for frames, _ in parts)])
    filled = np.concatenate([np.empty((0, 4)), *(places for _, places in parts)])
    order = np.argsort(frames, kind="stable")
    return frames[order], numbers[order].astype(np.int32), filled[order]


def _filled(frame: Frames, boxes: Array) -> tuple[Frames, Array]:
    frames = np.arange(frame[0], frame[-1] + 1)
    return frames, np.stack([np.interp(frames, frame, boxes[:, side]) for side in range(4)], axis=1)
