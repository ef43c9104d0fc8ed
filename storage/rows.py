"""What a segment leaves, checked before it goes to SQL or Parquet: rows of either kind, the report. No SQL, no files.

Poses have a module of their own: poses.py.
"""

from itertools import pairwise

import numpy as np

from models.types import Classifications, Rows, Segment, SegmentReport
from storage.poses import check_poses

LABEL_COLUMNS = ("frame", "label", "t_s", "score")
MOST_LABEL_CHARS = 200


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
    if not np.isfinite(rows.t_s).all() or not ((rows.scores >= 0) & (rows.scores <= 1)).all():
        raise ValueError("labels with a time that is not a number or a score outside 0 to 1")
    lengths = np.char.str_len(rows.label)
    if lengths.min() < 1 or lengths.max() > MOST_LABEL_CHARS:
        raise ValueError(f"labels of {lengths.min()} to {lengths.max()} characters, expected 1 to {MOST_LABEL_CHARS}")


def check_report(report: SegmentReport, segment: Segment) -> None:
    """Raises ValueError unless the report's frames are frames of the segment, each counted once at most."""
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
