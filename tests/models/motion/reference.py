"""Motion in plain loops over one value at a time, for whole recordings: the oracle of the streaming one.

It shares no code with models/motion except the parameters.
"""

import itertools

import numpy as np

from models.motion.params import MotionParams
from models.tracking.types import TrackedPoses
from models.types import KEYPOINT_NAMES

K = {name: number for number, name in enumerate(KEYPOINT_NAMES)}
TICK_S = 1e-3


def timeline(tracked: TrackedPoses, limit_s: float) -> dict[int, tuple[float, int]]:
    """Time and stretch by frame, including frames without rows."""
    known: list[tuple[int, float]] = []
    for frame, t_s in zip(tracked.poses.frame.tolist(), tracked.poses.t_s.tolist(), strict=True):
        if not known or known[-1][0] != frame:
            known.append((frame, t_s))
    stretch, numbers = 0, [0]
    for (_, before), (_, now) in itertools.pairwise(known):
        stretch += not now >= before
        numbers.append(stretch)
    frames = {frame: (t_s, number) for (frame, t_s), number in zip(known, numbers, strict=True)}
    pairs = list(zip(known, known[1:], numbers, numbers[1:], strict=False))
    for index, ((frame, t_s), (following, later_s), number, other) in enumerate(pairs):
        step = following - frame
        if number != other or later_s - t_s > limit_s or step < 2:
            continue
        near = [
            pair[1][0] - pair[0][0]
            for pair in pairs[max(0, index - 8) : index + 9]
            if pair[2] == pair[3] == number and pair[0][1] >= t_s - limit_s and pair[1][1] <= later_s + limit_s
        ]
        usual = sorted(near)[(len(near) - 1) // 2]
        missing = min((step - 1) // usual, int((later_s - t_s) * 1000))
        for each in range(1, missing + 1):
            ahead = int(np.floor(each * step / (missing + 1) + 0.5))
            frames[frame + ahead] = (t_s + ahead / step * (later_s - t_s), number)
    return dict(sorted(frames.items()))


def pieces_of(tracked: TrackedPoses, track: int, frames: dict, limit_s: float) -> list[list[tuple[int, int | None]]]:
    """Pieces of a track: (frame, row or None) of each of its frames."""
    rows = np.flatnonzero(tracked.track == track).tolist()
    numbers = list(frames)
    pieces: list[list[tuple[int, int | None]]] = []
    for row in rows:
        frame = int(tracked.poses.frame[row])
        if pieces:
            last = pieces[-1][-1][0]
            (t_s, stretch), (before_s, earlier) = frames[frame], frames[last]
            if stretch == earlier and t_s - before_s <= limit_s + TICK_S:
                gap = numbers[numbers.index(last) + 1 : numbers.index(frame)]
                pieces[-1] += [(each, None) for each in gap] + [(frame, row)]
                continue
        pieces.append([(frame, row)])
    return pieces


def smoothed(
    times: np.ndarray, values: np.ndarray, params: MotionParams, limit_s: float, floor: np.ndarray
) -> np.ndarray:
    """(n, 2) course of one keypoint in one piece."""
    values = with_medians_for_outliers(times, values, params, floor)
    values = interpolated(times, values, limit_s)
    result = np.full(values.shape, np.nan)
    known = ~np.isnan(values[:, 0])
    start = 0
    while start < len(times):
        if not known[start]:
            start += 1
            continue
        stop = start
        while stop < len(times) and known[stop]:
            stop += 1
        result[start:stop] = parabolas(times[start:stop], values[start:stop], params.smoothing_window_s)
        start = stop
    return result


def with_medians_for_outliers(times, values, params, floor):
    clean = values.copy()
    for row, t_s in enumerate(times if params.outlier_window_s else ()):
        near = values[np.abs(times - t_s) <= params.outlier_window_s / 2 + TICK_S]
        near = near[~np.isnan(near[:, 0])]
        if np.isnan(values[row, 0]) or len(near) < 3:
            continue
        middle = np.median(near, axis=0)
        spread = 1.4826 * np.median(np.abs(near - middle), axis=0)
        distance = np.abs(values[row] - middle)
        if ((distance > floor[row]) & (distance > params.outlier_deviations * spread)).any():
            clean[row] = middle
    return clean


def interpolated(times, values, limit_s):
    complete = values.copy()
    known = np.flatnonzero(~np.isnan(values[:, 0]))
    for before, after in itertools.pairwise(known):
        if times[after] - times[before] <= limit_s + TICK_S:
            for row in range(before + 1, after):
                span = times[after] - times[before]
                share = (times[row] - times[before]) / span if span else 0.0
                complete[row] = values[before] + share * (values[after] - values[before])
    return complete


def parabolas(times, values, window_s):
    if window_s == 0:
        return values
    count, half_s = len(times), window_s / 2
    if count == 1:
        return values
    earlier, later = 2 * times[0] - times[1], 2 * times[-1] - times[-2]
    begun = [row for row in range(count) if times[row] - earlier > half_s + TICK_S]
    lasting = [row for row in range(count) if later - times[row] > half_s + TICK_S]
    whole = sorted(set(begun) & set(lasting))
    result = np.empty(values.shape)
    for row in range(count):
        if whole:
            centre = min(max(row, whole[0]), whole[-1])
            window = np.flatnonzero(np.abs(times - times[centre]) <= half_s + TICK_S)
        else:
            window = np.arange(count)
        distinct = 1 + int((np.diff(times[window]) > 1e-5).sum())
        u = (times[window] - times[row]) / max(1e-9, np.abs(times[window] - times[row]).max())
        fit = np.polynomial.polynomial.polyfit(u, values[window], min(2, distinct - 1))
        result[row] = fit[0]
    return result


def angle(a, b, c):
    first, second = np.asarray(a) - b, np.asarray(c) - b
    lengths = np.linalg.norm(first) * np.linalg.norm(second)
    if not lengths > 0:
        return np.nan
    return float(np.degrees(np.arccos(np.clip(first @ second / lengths, -1, 1))))


def centre(points):
    """Centre of one pose (17, 2), and the keypoints that it is made of."""
    for pair in (("left_hip", "right_hip"), ("left_shoulder", "right_shoulder")):
        there = [name for name in pair if not np.isnan(points[K[name], 0])]
        if there:
            return np.mean([points[K[name]] for name in there], axis=0), tuple(there)
    return np.array([np.nan, np.nan]), ()


def velocities(times, centres, made_of):
    """numpy.gradient over each stretch of rows whose centre is made of the same keypoints."""
    result = np.full((len(times), 2), np.nan)
    start = 0
    while start < len(times):
        stop = start + 1
        while stop < len(times) and made_of[stop] == made_of[start]:
            stop += 1
        if stop - start > 1 and made_of[start]:
            result[start:stop] = np.gradient(centres[start:stop], times[start:stop], axis=0)
        start = stop
    return result


def body_length(points):
    """Longest estimate of the height of one pose; NaN where no part is known."""

    def apart(a, b):
        return float(np.linalg.norm(np.asarray(a) - b))

    estimates = [
        apart(points[K[f"{side}_{a}"]], points[K[f"{side}_{b}"]]) / share
        for side in ("left", "right")
        for a, b, share in (("hip", "knee", 0.245), ("knee", "ankle", 0.246), ("shoulder", "elbow", 0.186))
    ]
    left, right = points[K["left_shoulder"]], points[K["right_shoulder"]]
    estimates.append(apart(left, right) / 0.259)
    hips = (points[K["left_hip"]] + points[K["right_hip"]]) / 2
    estimates.append(apart((left + right) / 2, hips) / 0.288)
    known = [each for each in estimates if not np.isnan(each)]
    return max(known) if known else np.nan


def measures(points):
    """Measures of one pose alone."""
    y = points[~np.isnan(points[:, 1]), 1]
    row = {"box_height_px": y.max() - y.min() if len(y) > 1 else np.nan}
    up = (points[5] + points[6]) / 2 - (points[11] + points[12]) / 2
    length = np.linalg.norm(up)
    row["trunk_angle_deg"] = np.degrees(np.arccos(np.clip(-up[1] / length, -1, 1))) if length > 0 else np.nan
    limbs = {
        "elbow": ("shoulder", "wrist"),
        "shoulder": ("hip", "elbow"),
        "hip": ("shoulder", "knee"),
        "knee": ("hip", "ankle"),
    }
    for joint, ends in limbs.items():
        for side in ("left", "right"):
            a, b, c = (points[K[f"{side}_{name}"]] for name in (ends[0], joint, ends[1]))
            row[f"{side}_{joint}_angle_deg"] = angle(a, b, c)
    return row


def motion(tracked: TrackedPoses, params: MotionParams, frame_s: float | None = None) -> dict[tuple[int, int], dict]:
    """Columns of models.motion.types.MotionRows by (frame, track). Times must be distinct in each track."""
    limit_s = max(params.fill_gap_s, 1.5 * (frame_s or 0.0))
    frames = timeline(tracked, limit_s)
    rows: dict[tuple[int, int], dict] = {}
    for track in sorted(set(tracked.track.tolist()) - {0}):
        for piece in pieces_of(tracked, track, frames, limit_s):
            rows |= piece_rows(tracked, track, piece, frames, params, limit_s)
    return dict(sorted(rows.items()))


def piece_rows(tracked, track, piece, frames, params, limit_s):
    times = np.array([frames[frame][0] for frame, _ in piece])
    raw = np.full((len(piece), 17, 2), np.nan)
    for place, (_, row) in enumerate(piece):
        if row is not None:
            sure = tracked.poses.keypoint_scores[row] >= params.lowest_keypoint_score
            raw[place, sure] = tracked.poses.keypoints[row, sure]
    sides = [
        np.ptp(each[~np.isnan(each[:, 0])], axis=0).max() if (~np.isnan(each[:, 0])).any() else np.nan for each in raw
    ]
    floor = 0.05 * np.array(sides)
    points = np.stack([smoothed(times, raw[:, each], params, limit_s, floor) for each in range(17)], axis=1)
    centres, made_of = zip(*(centre(each) for each in points), strict=True)
    velocity = velocities(times, np.array(centres), made_of)
    lengths = np.array([body_length(each) for each in points])
    found = {}
    for place, (frame, row) in enumerate(piece):
        near = lengths[np.abs(times - times[place]) <= params.body_window_s / 2 + TICK_S]
        near = near[~np.isnan(near)]
        speed = float(np.hypot(*velocity[place]))
        found[frame, track] = {
            "t_s": times[place],
            "filled": row is None,
            "centre_x_px": centres[place][0],
            "centre_y_px": centres[place][1],
            "speed_px_per_s": speed,
            "speed_body_lengths_per_s": speed / np.median(near) if len(near) and np.median(near) > 0 else np.nan,
            "vertical_velocity_px_per_s": velocity[place][1],
            "keypoints": points[place],
            **measures(points[place]),
        }
    return found
