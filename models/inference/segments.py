"""Division of a video's frames into segments, and choice of the frames that are inferred. No files, no ledger.

Segments are half-open frame ranges that begin on keyframes and tile the video.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

from models.types import Segment


def plan_segments(
    video_sha256: str,
    keyframes: NDArray[np.int64],
    timestamps_s: NDArray[np.float64],
    frames: int,
    segment_s: float,
) -> list[Segment]:
    """Return the segments in order, with each of the frames [0, frames) in exactly one of them.

    keyframes: (k,) ascending frame numbers, 0 among them; timestamps_s: (frames,) ascending seconds
    A segment ends at the keyframe nearest to segment_s after its start, so it has about that length where keyframes
    are close, and the shortest possible one where they are far apart. A tail shorter than half of segment_s joins the
    previous segment. The same video and segment_s always give the same plan.
    Raises ValueError where the numbers are not those of a video.
    """
    if frames != len(timestamps_s) or not len(keyframes) or keyframes[0] != 0 or keyframes[-1] >= frames:
        found = f"{frames} frames, {len(timestamps_s)} times, keyframes {keyframes[:1]} to {keyframes[-1:]}"
        raise ValueError(f"This is not a video's index: {found}. Give one time per frame and a keyframe at 0.")
    if not segment_s > 0:
        raise ValueError(f"segment_s is {segment_s}. Give seconds above 0.")
    key_times = timestamps_s[keyframes]
    starts = [0]
    while (following := _next_start(key_times, starts[-1], segment_s)) is not None:
        starts.append(following)
    if len(starts) > 1 and timestamps_s[-1] - key_times[starts[-1]] < segment_s / 2:
        starts.pop()
    cuts = [int(keyframes[start]) for start in starts] + [frames]
    return [Segment(video_sha256, start, stop) for start, stop in itertools.pairwise(cuts)]


def _next_start(key_times: NDArray[np.float64], start: int, segment_s: float) -> int | None:
    """Position among the keyframes of the one nearest to segment_s after `start`; None where none follows."""
    target = key_times[start] + segment_s
    after = int(np.searchsorted(key_times, target))
    if after >= len(key_times):
        return None
    before_is_nearer = target - key_times[after - 1] < key_times[after] - target
    return after - 1 if before_is_nearer and after - 1 > start else max(after, start + 1)


def sampled_frames(timestamps_s: NDArray[np.float64], frames_per_second: float) -> NDArray[np.int64]:
    """(k,) ascending frame numbers: the first frame of each step of 1 / frames_per_second on the video's clock.

    timestamps_s: (frames,) ascending seconds. The choice depends on the times only, not on the segments. All frames of
    a video with a lower frame rate are chosen. A frame counts from half a frame before its time, because a container's
    ticks round it to either side.
    Raises ValueError where frames_per_second is not positive.
    """
    if not frames_per_second > 0:
        raise ValueError(f"frames_per_second is {frames_per_second}. Give more than 0.")
    half_s = np.median(np.diff(timestamps_s)) / 2 if len(timestamps_s) > 1 else 0.0
    steps = np.floor((timestamps_s - timestamps_s[:1] + half_s) * frames_per_second)
    return np.flatnonzero(np.diff(steps, prepend=-np.inf) > 0).astype(np.int64)
