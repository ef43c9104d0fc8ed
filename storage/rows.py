"""Rows of poses and labels in the form of both SQL and Parquet, and the checks before storage. No SQL, no files.

Results come from workers that are not trusted, so every value is checked against physical bounds.
"""

import dataclasses
import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.types import KEYPOINT_NAMES, KEYPOINTS, Classifications, Poses, Rows, Segment, SegmentReport, Video

KEYPOINT_COLUMNS = tuple(f"{name}_{part}" for name in KEYPOINT_NAMES for part in ("x", "y", "score"))
MOST_PEOPLE_PER_FRAME = 256
MOST_SCORE = 1.001  # a sum of seventeen rounded scores, divided by seventeen
MOST_COORDINATE = float(1 << 20)  # pixels: models may place a keypoint outside of the frame
MOST_SECONDS = 366 * 86400.0
# The types are SQL's. A row: one person in one frame, before its keypoints.
POSE_HEAD = np.dtype([("frame", "i4"), ("person", "i2"), ("t_s", "f8"), ("score", "f4")])
POSE_COLUMNS = (*(POSE_HEAD.names or ()), *KEYPOINT_COLUMNS)
# A row: one second of a segment with a person in view. frame: the first such frame
POSE_SECONDS = np.dtype(
    [
        ("frame", "i4"),
        ("second", "i4"),
        ("first_s", "f8"),
        ("last_s", "f8"),
        ("frames_seen", "i4"),
        ("most_people", "i2"),
    ]
)


def keypoint_matrix(poses: Poses) -> NDArray[np.float32]:
    """Return an (n, 51) float32 array in the order of KEYPOINT_COLUMNS; NaN = not found."""
    both = np.concatenate([poses.keypoints, poses.keypoint_scores[:, :, None]], axis=2)
    matrix: NDArray[np.float32] = both.reshape(len(poses), len(KEYPOINT_COLUMNS))
    return matrix


def poses_from_columns(
    frame: NDArray[np.int64],
    person: NDArray[np.int16],
    t_s: NDArray[np.float64],
    scores: NDArray[np.float32],
    matrix: NDArray[np.float32],
) -> Poses:
    """Build poses from columns, the inverse of `keypoint_matrix`. matrix: (n, 51) float32."""
    parts = matrix.reshape(len(frame), KEYPOINTS, 3)
    keypoints, keypoint_scores = np.ascontiguousarray(parts[:, :, :2]), np.ascontiguousarray(parts[:, :, 2])
    return Poses(frame, person, t_s, scores, keypoints, keypoint_scores)


def pose_heads(poses: Poses) -> NDArray[np.void]:
    """Array (n,) of POSE_HEAD."""
    heads = np.empty(len(poses), POSE_HEAD)
    heads["frame"], heads["person"], heads["t_s"], heads["score"] = poses.frame, poses.person, poses.t_s, poses.scores
    return heads


def pose_seconds(poses: Poses) -> NDArray[np.void]:
    """Return (seconds,) POSE_SECONDS: frames with people in them, by the second in which they begin."""
    first = np.flatnonzero(np.diff(poses.frame, prepend=-1))  # the first row of each frame
    frame, t_s, people = poses.frame[first], poses.t_s[first], poses.person[np.append(first, len(poses))[1:] - 1] + 1
    second = np.floor(t_s)
    begin = np.flatnonzero(np.diff(second, prepend=-np.inf))
    end = np.append(begin, len(frame))[1:] - 1
    rows = np.empty(len(begin), POSE_SECONDS)
    if len(rows):  # reduceat refuses empty indices
        rows["frame"], rows["second"], rows["frames_seen"] = frame[begin], second[begin], end - begin + 1
        rows["first_s"], rows["last_s"] = t_s[begin], t_s[end]
        rows["most_people"] = np.maximum.reduceat(people, begin)
    return rows


def check_poses(poses: Poses, segment: Segment) -> None:
    """Raise ValueError unless these are rows of that segment: shapes, frame range, order, finite numbers or NaN."""
    _check_shapes(poses)
    if len(poses) == 0:
        return
    outside = (poses.frame < segment.start_frame) | (poses.frame >= segment.stop_frame)
    if outside.any():
        raise ValueError(
            f"The poses of frame {poses.frame[outside][0]} are outside of "
            f"[{segment.start_frame}, {segment.stop_frame}). Give each segment its own poses."
        )
    step = np.diff(poses.frame)
    unordered = (step < 0) | ((step == 0) & (np.diff(poses.person.astype(np.int64)) <= 0))
    if unordered.any() or poses.person.min() < 0 or poses.person.max() >= MOST_PEOPLE_PER_FRAME:
        row = int(unordered.argmax())
        raise ValueError(
            f"The poses are unsorted, duplicated or of an impossible person near row {row} (frame {poses.frame[row]}). "
            f"Give ascending (frame, person), and persons from 0 to {MOST_PEOPLE_PER_FRAME - 1}."
        )
    check_times(poses.frame, poses.t_s)
    if not _within(poses.scores, 0, MOST_SCORE):
        raise ValueError("A pose has a score outside of 0 to 1.")
    found = ~np.isnan(poses.keypoint_scores)
    if not _within(poses.keypoint_scores[found], 0, MOST_SCORE):
        raise ValueError("A keypoint has a score outside of 0 to 1. Give NaN for a keypoint that is not found.")
    places = poses.keypoints[~np.isnan(poses.keypoints)]
    if not _within(places, -MOST_COORDINATE, MOST_COORDINATE):
        raise ValueError("A keypoint is far outside of any frame. Give NaN for a keypoint that is not found.")


def check_times(frame: NDArray[np.int64], t_s: NDArray[np.float64]) -> None:
    """Raise ValueError unless the times are seconds of a file, one per frame and never decreasing.

    frame: (n,) ascending, with repetitions; t_s: (n,) seconds
    """
    if not _within(t_s, 0, MOST_SECONDS):
        raise ValueError(f"A time is not 0 to {MOST_SECONDS:g} seconds.")
    if (np.diff(t_s) < 0).any() or (np.diff(t_s)[np.diff(frame) == 0] != 0).any():
        raise ValueError("The times go back, or differ within a frame.")


def _within(values: NDArray[Any], least: float, most: float) -> bool:
    """Return whether all values are numbers within the bounds. NaN is not."""
    return bool(((values >= least) & (values <= most)).all())


def _check_shapes(poses: Poses) -> None:
    n = len(poses.frame)
    expected = {
        "frame": ((n,), np.int64),
        "person": ((n,), np.int16),
        "t_s": ((n,), np.float64),
        "scores": ((n,), np.float32),
        "keypoints": ((n, KEYPOINTS, 2), np.float32),
        "keypoint_scores": ((n, KEYPOINTS), np.float32),
    }
    for name, (shape, dtype) in expected.items():
        found = getattr(poses, name)
        if found.shape != shape or found.dtype != dtype:
            raise ValueError(f"poses.{name} is {found.dtype}{found.shape}, not {np.dtype(dtype)}{shape}.")


LABEL_COLUMNS = ("frame", "label", "t_s", "score")
REGION_COLUMNS = ("region_left", "region_top", "region_width", "region_height")
MOST_LABEL_CHARS = 200
MOST_TEXT_CHARS = 200
MOST_NUMBER = 2**31 - 1  # of an INTEGER column
MOST_BYTES = 2**53  # of a BIGINT column, and exact as a JSON number
MOST_SIDE = 1 << 16  # pixels
MOST_FPS = 1e6
MOST_REPAIRS = 2000  # stretches of repaired time stamps, and changes of the clock


def check_rows(rows: Rows, segment: Segment) -> None:
    """Raise ValueError unless these are rows of that segment: shapes, frame range, order, finite numbers."""
    if isinstance(rows, Classifications):
        _check_labels(rows, segment)
    else:
        check_poses(rows, segment)


def _check_labels(rows: Classifications, segment: Segment) -> None:
    n = len(rows)
    types = {"frame": np.int64, "t_s": np.float64, "scores": np.float32}
    found = {name: getattr(rows, name) for name in types}
    if rows.label.shape != (n,) or rows.label.dtype.kind != "U":
        raise ValueError(f"The labels are {rows.label.dtype}{rows.label.shape}, not ({n},) texts.")
    for name, kind in types.items():
        if found[name].shape != (n,) or found[name].dtype != kind:
            raise ValueError(f"{name} is {found[name].dtype}{found[name].shape}, not {np.dtype(kind)}({n},).")
    if n == 0:
        return
    if rows.frame[0] < segment.start_frame or rows.frame[-1] >= segment.stop_frame or (np.diff(rows.frame) <= 0).any():
        raise ValueError(
            f"The labels are of frames {rows.frame[0]} to {rows.frame[-1]}. Give ascending frames of "
            f"[{segment.start_frame}, {segment.stop_frame})."
        )
    check_times(rows.frame, rows.t_s)
    if not ((rows.scores >= 0) & (rows.scores <= 1)).all():
        raise ValueError("A label has a score outside of 0 to 1.")
    if rows.regions is not None:
        _check_regions(rows.regions, n)
    lengths = np.char.str_len(rows.label)
    if lengths.min() < 1 or lengths.max() > MOST_LABEL_CHARS:
        raise ValueError(f"The labels have {lengths.min()} to {lengths.max()} characters, not 1 to {MOST_LABEL_CHARS}.")


def _check_regions(regions: NDArray[np.int32], rows: int) -> None:
    if regions.shape != (rows, 4) or regions.dtype != np.int32:
        raise ValueError(f"The regions are {regions.dtype}{regions.shape}, not int32({rows}, 4).")
    corners, sides = regions[:, :2], regions[:, 2:]
    if (corners < 0).any() or (sides < 1).any() or (regions > MOST_SIDE).any():
        raise ValueError(f"The regions from {regions.min(0)} to {regions.max(0)} are not parts of a frame.")


def check_inside(rows: Rows, video: Video) -> None:
    """Raise ValueError where a label's region is not inside the frames of its video."""
    if isinstance(rows, Classifications) and rows.regions is not None and len(rows):
        right, bottom = (rows.regions[:, :2].astype(np.int64) + rows.regions[:, 2:]).max(0)
        if right > video.width or bottom > video.height:
            raise ValueError(
                f"A region reaches to {right}, {bottom}, outside of a frame of {video.width}x{video.height} pixels."
            )


def check_report(report: SegmentReport, segment: Segment) -> None:
    """Raise ValueError unless the report fits the segment: no frame counted twice, plain texts, a duration."""
    for name in ("device", "precision", "worker"):
        _check_text(name, getattr(report, name))
    if not 0 <= report.wall_s <= MOST_SECONDS:
        raise ValueError(f"wall_s is {report.wall_s}, which is not a duration.")
    undecodable = report.undecodable
    ascending = all(earlier < later for earlier, later in pairwise(undecodable))
    inside = not undecodable or (segment.start_frame <= undecodable[0] and undecodable[-1] < segment.stop_frame)
    if not (ascending and inside):
        raise ValueError(
            f"The undecodable frames {undecodable[:5]}… are not ascending frames of "
            f"[{segment.start_frame}, {segment.stop_frame})."
        )
    if report.frames_done < 0 or report.frames_done + len(undecodable) > segment.frames:
        raise ValueError(
            f"{report.frames_done} frames are done and {len(undecodable)} undecodable, but the segment has "
            f"{segment.frames}: a frame was counted twice."
        )


def check_video(video: Video) -> None:
    """Raise ValueError unless the video's values are plausible for a file and fit into their columns."""
    for field in dataclasses.fields(video):
        _check_value(field.name, getattr(video, field.name))
    if not (0 < video.width <= MOST_SIDE and 0 < video.height <= MOST_SIDE and video.frames > 0):
        raise ValueError(f"The video has {video.width}x{video.height} pixels and {video.frames} frames.")
    if not (0 < (1.0 if video.fps is None else video.fps) <= MOST_FPS and 0 < video.duration_s <= MOST_SECONDS):
        raise ValueError(f"The video has {video.fps} frames per second and lasts {video.duration_s} s.")
    if not 0 <= video.unused_bytes <= video.size_bytes:
        raise ValueError(f"The video has {video.unused_bytes} unused bytes of {video.size_bytes}.")
    _check_repairs(video)


def _check_repairs(video: Video) -> None:
    if len(video.time_repairs) > MOST_REPAIRS:
        raise ValueError(f"The video has {len(video.time_repairs)} repairs of its times, more than {MOST_REPAIRS}.")
    for repair in video.time_repairs:
        inside = 0 <= repair.start_frame < repair.stop_frame <= video.frames
        if not inside or not 0 <= repair.frames <= repair.stop_frame - repair.start_frame:
            raise ValueError(f"{repair} is not within frames [0, {video.frames}).")
        if not math.isfinite(repair.clock_s or 0.0):
            raise ValueError(f"{repair} has no finite clock_s.")
    starts = [repair.start_frame for repair in video.time_repairs]
    if any(later <= earlier for earlier, later in pairwise(starts)):
        raise ValueError("The repairs of the video's times are not ascending.")


def _check_value(name: str, value: Any) -> None:
    if isinstance(value, str):
        _check_text(name, value)
    elif isinstance(value, int):
        most = MOST_BYTES if name.endswith("_bytes") else MOST_NUMBER
        if not -most <= value <= most:
            raise ValueError(f"{name} is {value:.3g}, more than {most}.")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} is {value}.")


def _check_text(name: str, text: str) -> None:
    if not (0 < len(text) <= MOST_TEXT_CHARS and text.isprintable()):
        raise ValueError(f"{name} is {text[:20]!r}, not 1 to {MOST_TEXT_CHARS} printable characters.")
