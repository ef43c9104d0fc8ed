"""OpenPose's decoder in plain loops: slow, and easy to compare with the published one.

Source: open_model_zoo, demos, model_api/models/open_pose.py, `OpenPoseDecoder`. Different on purpose: a peak's place is
the top of the bell curve through its neighbours instead of a quarter cell to the higher one, a limb never replaces a
keypoint that a person has, a person's score is the sum of the 17 keypoints' by 17.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decoders.openpose import FIELDS, HEATMAPS, LIMBS, PARTS, OpenPoseParams
from models.types import KEYPOINT_NAMES, FramePoses

LEAST = 1e-3


class Peak(NamedTuple):
    score: float
    x: float
    y: float


class Connection(NamedTuple):
    strength: float
    a: Peak
    b: Peak


Map = list[list[float]]
Person = dict[str, Peak]


def plain(array: NDArray[Any]) -> list[Map]:
    values = np.reshape(array, np.shape(array)[-3:]).astype(np.float32).tolist()
    return [[[value if math.isfinite(value) else 0.0 for value in row] for row in channel] for channel in values]


def is_peak(heatmap: Map, y: int, x: int) -> bool:
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            row, column = y + down, x + across
            if (down, across) == (0, 0) or not (0 <= row < len(heatmap) and 0 <= column < len(heatmap[0])):
                continue
            earlier = (down, across) < (0, 0)
            if heatmap[row][column] > heatmap[y][x] or (earlier and heatmap[row][column] == heatmap[y][x]):
                return False
    return True


def shift(before: float, at: float, after: float) -> float:
    low, middle, high = (math.log(max(value, LEAST)) for value in (before, at, after))
    bend = 2 * middle - low - high
    return 0.5 * (high - low) / bend if bend > 0 else 0.0


def find_peaks(heatmap: Map, params: OpenPoseParams) -> list[Peak]:
    height, width = len(heatmap), len(heatmap[0])
    peaks = []
    for y in range(height):
        for x in range(width):
            value = heatmap[y][x]
            if value < max(params.keypoint_score_threshold, LEAST) or not is_peak(heatmap, y, x):
                continue
            dx = shift(heatmap[y][x - 1], value, heatmap[y][x + 1]) if 0 < x < width - 1 else 0.0
            dy = shift(heatmap[y - 1][x], value, heatmap[y + 1][x]) if 0 < y < height - 1 else 0.0
            peaks.append(Peak(value, x + dx, y + dy))
    return sorted(peaks, key=lambda peak: -peak.score)[: params.max_peaks]


def connection(a: Peak, b: Peak, field_x: Map, field_y: Map, params: OpenPoseParams) -> Connection | None:
    dx, dy = b.x - a.x, b.y - a.y
    length = math.sqrt(dx * dx + dy * dy)
    if length == 0:
        return None
    inside = []
    for point in range(params.limb_points):
        step = point / (params.limb_points - 1)
        column, row = math.floor(a.x + dx * step + 0.5), math.floor(a.y + dy * step + 0.5)
        along = field_x[row][column] * (dx / length) + field_y[row][column] * (dy / length)
        if along > params.field_threshold:
            inside.append(along)
    if len(inside) <= params.limb_share * params.limb_points:
        return None
    return Connection(float(np.float32(sum(inside) / max(len(inside), 1))), a, b)


def find_connections(
    peaks: dict[str, list[Peak]], limb: tuple[int, int, int], fields: list[Map], params: OpenPoseParams
) -> list[Connection]:
    start, end, channel = limb
    candidates = []
    for a in peaks[PARTS[start]]:
        for b in peaks[PARTS[end]]:
            found = connection(a, b, fields[channel], fields[channel + 1], params)
            if found:
                candidates.append(found)
    chosen: list[Connection] = []
    for candidate in sorted(candidates, key=lambda candidate: -candidate.strength):
        if all(candidate.a is not other.a and candidate.b is not other.b for other in chosen):
            chosen.append(candidate)
    return chosen


def add(people: list[Person], start: str, end: str, found: Connection) -> None:
    with_a = next((person for person in people if person.get(start) is found.a), None)
    with_b = next((person for person in people if person.get(end) is found.b), None)
    if with_a is None and with_b is None:
        people.append({start: found.a, end: found.b})
    elif with_b is None and with_a is not None:
        with_a.setdefault(end, found.b)
    elif with_a is None and with_b is not None:
        with_b.setdefault(start, found.a)
    elif with_a is not with_b and not with_a.keys() & with_b.keys():
        earlier, later = sorted((with_a, with_b), key=lambda person: [person is other for other in people].index(True))
        earlier.update(later)
        people[:] = [person for person in people if person is not later]


def decode_openpose_plainly(outputs: Mapping[str, NDArray[Any]], params: OpenPoseParams) -> FramePoses:
    """The same as models.decoders.openpose.decode_openpose."""
    heatmaps, fields = plain(outputs[HEATMAPS]), plain(outputs[FIELDS])
    peaks = {part: find_peaks(heatmaps[number], params) for number, part in enumerate(PARTS)}
    people: list[Person] = []
    for limb in LIMBS:
        for found in find_connections(peaks, limb, fields, params):
            add(people, PARTS[limb[0]], PARTS[limb[1]], found)
    return finish(people, params)


def finish(people: list[Person], params: OpenPoseParams) -> FramePoses:
    scored = []
    for person in people:
        found = [min(person[name].score, 1) for name in KEYPOINT_NAMES if name in person]
        scored.append((np.float32(sum(found) / len(KEYPOINT_NAMES)), person))
    sure = [(score, person) for score, person in scored if score >= params.pose_score_threshold]
    sure.sort(key=lambda scored: -scored[0])
    keypoints = np.full((len(sure), len(KEYPOINT_NAMES), 2), np.nan, np.float32)
    keypoint_scores = np.full((len(sure), len(KEYPOINT_NAMES)), np.nan, np.float32)
    for number, (_, person) in enumerate(sure):
        for keypoint, name in enumerate(KEYPOINT_NAMES):
            if name in person:
                score, x, y = person[name]
                keypoints[number, keypoint] = (
                    x * params.cell_px + params.origin_px,
                    y * params.cell_px + params.origin_px,
                )
                keypoint_scores[number, keypoint] = min(score, 1)
    return FramePoses(np.array([score for score, _ in sure], np.float32), keypoints, keypoint_scores)
