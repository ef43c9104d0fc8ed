"""PoseNet's decoder in plain loops, function by function as published: slow, and easy to compare with the original.

Source: tfjs-models, posenet 2.2.2, src/multi_pose/{build_part_with_score_queue,decode_pose,decode_multiple_poses}.ts
and src/single_pose/decode_single_pose.ts. Scores are sigmoids, numbers are float64 as in JavaScript. Two things are
Nightjar's own: equal scores leave the queue in scan order (the published heap leaves that open), and `finish`: the
thresholds, which the published demos apply when they draw, and the order of the people.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decoders.posenet import DecodeParams
from models.decoders.skeleton import PART_CHAIN
from models.types import FramePoses

LOCAL_MAXIMUM_RADIUS = 1
OFFSET_REFINE_STEPS = 2
PARTS = 17


class Point(NamedTuple):
    y: float
    x: float


class Keypoint(NamedTuple):
    position: Point
    score: float


class Part(NamedTuple):
    score: float
    y: int
    x: int
    keypoint: int


class Pose(NamedTuple):
    score: float
    keypoints: list[Keypoint]


class Buffers:
    """One frame's outputs, value by value, as float64."""

    def __init__(self, outputs: Mapping[str, NDArray[Any]]) -> None:
        squeezed = {name: np.reshape(array, np.shape(array)[-3:]) for name, array in outputs.items()}
        self.height, self.width, _ = squeezed["heatmap"].shape
        self._logits = squeezed["heatmap"].tolist()
        self._offsets = squeezed["offset_2"].tolist()
        self.forward = squeezed["displacement_fwd_2"].tolist()
        self.backward = squeezed["displacement_bwd_2"].tolist()

    def score(self, y: int, x: int, keypoint: int) -> float:
        logit, offset = self._logits[y][x][keypoint], self._offsets[y][x]
        there = all(math.isfinite(value) for value in (logit, offset[keypoint], offset[keypoint + PARTS]))
        return 1 / (1 + math.exp(-logit)) if there else 0.0

    def offset(self, y: int, x: int, keypoint: int) -> Point:
        values = self._offsets[y][x]
        return Point(finite(values[keypoint]), finite(values[keypoint + PARTS]))


def finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def score_is_maximum_in_local_window(part: Part, buffers: Buffers) -> bool:
    for y in range(max(part.y - LOCAL_MAXIMUM_RADIUS, 0), min(part.y + LOCAL_MAXIMUM_RADIUS + 1, buffers.height)):
        for x in range(max(part.x - LOCAL_MAXIMUM_RADIUS, 0), min(part.x + LOCAL_MAXIMUM_RADIUS + 1, buffers.width)):
            if buffers.score(y, x, part.keypoint) > part.score:
                return False
    return True


def build_part_with_score_queue(threshold: float, buffers: Buffers) -> list[Part]:
    queue = []
    for y in range(buffers.height):
        for x in range(buffers.width):
            for keypoint in range(PARTS):
                part = Part(buffers.score(y, x, keypoint), y, x, keypoint)
                if part.score >= threshold and score_is_maximum_in_local_window(part, buffers):
                    queue.append(part)
    return sorted(queue, key=lambda part: -part.score)


def image_coords(y: int, x: int, keypoint: int, stride: int, buffers: Buffers) -> Point:
    offset = buffers.offset(y, x, keypoint)
    return Point(y * stride + offset.y, x * stride + offset.x)


def strided_index_near_point(point: Point, stride: int, buffers: Buffers) -> tuple[int, int]:
    y = math.floor(point.y / stride + 0.5)
    x = math.floor(point.x / stride + 0.5)
    return min(max(y, 0), buffers.height - 1), min(max(x, 0), buffers.width - 1)


def displacement(field: list[list[list[float]]], edge: int, y: int, x: int) -> Point:
    return Point(finite(field[y][x][edge]), finite(field[y][x][edge + len(PART_CHAIN)]))


def traverse_to_target_keypoint(
    edge: int, source: Keypoint, target: int, field: list[list[list[float]]], stride: int, buffers: Buffers
) -> Keypoint:
    vector = displacement(field, edge, *strided_index_near_point(source.position, stride, buffers))
    point = Point(source.position.y + vector.y, source.position.x + vector.x)
    for _ in range(OFFSET_REFINE_STEPS):
        y, x = strided_index_near_point(point, stride, buffers)
        point = image_coords(y, x, target, stride, buffers)
    y, x = strided_index_near_point(point, stride, buffers)
    return Keypoint(point, buffers.score(y, x, target))


def decode_pose(root: Part, stride: int, buffers: Buffers) -> list[Keypoint]:
    position = image_coords(root.y, root.x, root.keypoint, stride, buffers)
    found = {root.keypoint: Keypoint(position, root.score)}
    for edge in reversed(range(len(PART_CHAIN))):
        target, source = PART_CHAIN[edge]
        if source in found and target not in found:
            found[target] = traverse_to_target_keypoint(edge, found[source], target, buffers.backward, stride, buffers)
    for edge in range(len(PART_CHAIN)):
        source, target = PART_CHAIN[edge]
        if source in found and target not in found:
            found[target] = traverse_to_target_keypoint(edge, found[source], target, buffers.forward, stride, buffers)
    return [found[keypoint] for keypoint in range(PARTS)]


def within_nms_radius(poses: list[Pose], radius: float, point: Point, keypoint: int) -> bool:
    for pose in poses:
        other = pose.keypoints[keypoint].position
        if (point.y - other.y) ** 2 + (point.x - other.x) ** 2 <= radius**2:
            return True
    return False


def instance_score(poses: list[Pose], radius: float, keypoints: list[Keypoint]) -> float:
    total = 0.0
    for keypoint, (position, score) in enumerate(keypoints):
        if not within_nms_radius(poses, radius, position, keypoint):
            total += score
    return total / len(keypoints)


def decode_multiple_poses(buffers: Buffers, params: DecodeParams) -> list[Pose]:
    poses: list[Pose] = []
    for root in build_part_with_score_queue(params.root_score_threshold, buffers):
        if len(poses) == params.max_people:
            break
        position = image_coords(root.y, root.x, root.keypoint, params.output_stride_px, buffers)
        if within_nms_radius(poses, params.nms_radius_px, position, root.keypoint):
            continue
        keypoints = decode_pose(root, params.output_stride_px, buffers)
        poses.append(Pose(instance_score(poses, params.nms_radius_px, keypoints), keypoints))
    return poses


def decode_single_pose(buffers: Buffers, params: DecodeParams) -> list[Pose]:
    keypoints = []
    for keypoint in range(PARTS):
        cells = [(y, x) for y in range(buffers.height) for x in range(buffers.width)]
        y, x = max(cells, key=lambda cell: buffers.score(cell[0], cell[1], keypoint))
        position = image_coords(y, x, keypoint, params.output_stride_px, buffers)
        keypoints.append(Keypoint(position, buffers.score(y, x, keypoint)))
    return [Pose(sum(score for _, score in keypoints) / PARTS, keypoints)]


def finish(poses: list[Pose], params: DecodeParams) -> FramePoses:
    """People by falling score, without uncertain ones; NaN for keypoints that are not found; x before y."""
    sure = [pose for pose in poses if np.float32(pose.score) >= params.pose_score_threshold]
    sure.sort(key=lambda pose: -np.float32(pose.score))
    keypoints = np.full((len(sure), PARTS, 2), np.nan, np.float32)
    keypoint_scores = np.full((len(sure), PARTS), np.nan, np.float32)
    origin = params.origin_px
    down, across = origin if isinstance(origin, tuple) else (origin, origin)
    for person, pose in enumerate(sure):
        for keypoint, (position, score) in enumerate(pose.keypoints):
            if score >= params.keypoint_score_threshold and score > 0:
                keypoints[person, keypoint] = position.x + across, position.y + down
                keypoint_scores[person, keypoint] = score
    return FramePoses(np.array([pose.score for pose in sure], np.float32), keypoints, keypoint_scores)


def decode_poses_plainly(outputs: Mapping[str, NDArray[Any]], params: DecodeParams) -> FramePoses:
    """The same as models.decoders.posenet.decode_poses."""
    buffers = Buffers(outputs)
    decode = decode_multiple_poses if params.mode == "multi" else decode_single_pose
    return finish(decode(buffers, params), params)
