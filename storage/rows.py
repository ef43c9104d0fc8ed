"""Checks of a segment's rows, report and video before they go to SQL or Parquet. No SQL, no files.

Results come from workers, and a worker may be anybody: the checks hold every value to physical bounds.
Poses have a module of their own: poses.py.
"""

import dataclasses
import math
from itertools import pairwise
from typing import Any

import numpy as np

from models.types import Classifications, Rows, Segment, SegmentReport, Video
from storage.poses import MOST_SECONDS, check_poses, check_times

LABEL_COLUMNS = ("frame", "label", "t_s", "score")
MOST_LABEL_CHARS = 200
MOST_TEXT_CHARS = 200
MOST_NUMBER = 2**31 - 1  # of an INTEGER column
MOST_BYTES = 2**53  # of a BIGINT column, and exact as a JSON number
MOST_SIDE = 1 << 16  # pixels
MOST_FPS = 1e6
MOST_REPAIRS = 2000  # stretches of repaired time stamps, and changes of the clock


def check_rows(rows: Rows, segment: Segment) -> None:
    """Raises ValueError unless these are rows of that segment: shapes, frame range, order, finite numbers."""
    if isinstance(rows, Classifications):
        _check_labels(rows, segment)
    else:
        check_poses(rows, segment)


def _check_labels(rows: Classifications, segment: Segment) -> None:
    n = len(rows)
    types = {"frame": np.int64, "t_s": np.float64, "scores": np.float32}
    found = {name: getattr(rows, name) for name in types}
    if rows.label.shape != (n,) or rows.label.dtype.kind != "U":
        raise ValueError(f"labels are {rows.label.dtype}{rows.label.shape}, expected ({n},) texts")
    for name, kind in types.items():
        if found[name].shape != (n,) or found[name].dtype != kind:
            raise ValueError(f"{name} is {found[name].dtype}{found[name].shape}, expected {np.dtype(kind)}({n},)")
    if n == 0:
        return
    if rows.frame[0] < segment.start_frame or rows.frame[-1] >= segment.stop_frame or (np.diff(rows.frame) <= 0).any():
        raise ValueError(
            f"labels of frames {rows.frame[0]} to {rows.frame[-1]}, expected ascending ones of "
            f"[{segment.start_frame}, {segment.stop_frame}): give each segment its own"
        )
    check_times(rows.frame, rows.t_s)
    if not ((rows.scores >= 0) & (rows.scores <= 1)).all():
        raise ValueError("labels with another score than expected: 0 to 1")
    lengths = np.char.str_len(rows.label)
    if lengths.min() < 1 or lengths.max() > MOST_LABEL_CHARS:
        raise ValueError(f"labels of {lengths.min()} to {lengths.max()} characters, expected 1 to {MOST_LABEL_CHARS}")


def check_report(report: SegmentReport, segment: Segment) -> None:
    """Raise ValueError unless the report is of the segment: no frame twice, plain texts, a duration."""
    for name in ("device", "precision", "worker"):
        _check_text(name, getattr(report, name))
    if not 0 <= report.wall_s <= MOST_SECONDS:
        raise ValueError(f"wall_s is {report.wall_s}, expected seconds")
    undecodable = report.undecodable
    ascending = all(earlier < later for earlier, later in pairwise(undecodable))
    inside = not undecodable or (segment.start_frame <= undecodable[0] and undecodable[-1] < segment.stop_frame)
    if not (ascending and inside):
        raise ValueError(
            f"undecodable frames {undecodable[:5]}…, expected ascending ones of "
            f"[{segment.start_frame}, {segment.stop_frame})"
        )
    if report.frames_done < 0 or report.frames_done + len(undecodable) > segment.frames:
        raise ValueError(
            f"{report.frames_done} frames done and {len(undecodable)} undecodable, expected {segment.frames} at most: "
            "a frame was counted twice"
        )


def check_video(video: Video) -> None:
    """Raise ValueError unless the video's values can be those of a file, and fit into their columns."""
    for field in dataclasses.fields(video):
        _check_value(field.name, getattr(video, field.name))
    if not (0 < video.width <= MOST_SIDE and 0 < video.height <= MOST_SIDE and video.frames > 0):
        raise ValueError(f"a video of {video.width}x{video.height} pixels and {video.frames} frames")
    if not (0 < (1.0 if video.fps is None else video.fps) <= MOST_FPS and 0 < video.duration_s <= MOST_SECONDS):
        raise ValueError(f"a video of {video.fps} frames per second and {video.duration_s} s")
    if not 0 <= video.unused_bytes <= video.size_bytes:
        raise ValueError(f"{video.unused_bytes} of {video.size_bytes} bytes unused")
    _check_repairs(video)


def _check_repairs(video: Video) -> None:
    if len(video.time_repairs) > MOST_REPAIRS:
        raise ValueError(f"{len(video.time_repairs)} repairs of its times, expected at most {MOST_REPAIRS}")
    for repair in video.time_repairs:
        inside = 0 <= repair.start_frame < repair.stop_frame <= video.frames
        if not inside or not 0 <= repair.frames <= repair.stop_frame - repair.start_frame:
            raise ValueError(f"{repair}, expected frames of [0, {video.frames})")
        if not math.isfinite(repair.clock_s or 0.0):
            raise ValueError(f"{repair}, expected a finite clock_s")
    starts = [repair.start_frame for repair in video.time_repairs]
    if any(later <= earlier for earlier, later in pairwise(starts)):
        raise ValueError("repairs of a video's times that are not ascending")


def _check_value(name: str, value: Any) -> None:
    if isinstance(value, str):
        _check_text(name, value)
    elif isinstance(value, int):
        most = MOST_BYTES if name.endswith("_bytes") else MOST_NUMBER
        if not -most <= value <= most:
            raise ValueError(f"{name} is {value:.3g}, expected at most {most}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} is {value}")


def _check_text(name: str, text: str) -> None:
    if not (0 < len(text) <= MOST_TEXT_CHARS and text.isprintable()):
        raise ValueError(f"{name} is {text[:20]!r}, expected 1 to {MOST_TEXT_CHARS} printable characters")
