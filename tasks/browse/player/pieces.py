"""Rows as bytes for the player: little-endian columns without names, every one a multiple of four bytes long."""

import json
import struct
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from models.types import Classifications, Poses
from storage.sql.browse.player.series import Extent, SeriesRows

PIECE_FRAMES = 512
MOST_SERIES_ROWS = 200_000
_HEADER = struct.Struct("<4sIII")
_SERIES_HEADER = struct.Struct("<4sII")


def piece_frames(number: int, frames: int) -> tuple[int, int]:
    """Return the frames [start, stop) of a piece of a video with this number of frames; empty beyond its end."""
    start = number * PIECE_FRAMES
    return start, max(start, min(start + PIECE_FRAMES, frames))


def encode_poses(start: int, stop: int, poses: Poses, tracks: NDArray[np.int32]) -> bytes:
    """Encode the people of frames [start, stop).

    `NJP1`; uint32 people, start, frames; int32 frame, track (0 = none), person; float32 score; float32 x, y and score
    of 17 keypoints per person, NaN = not found
    """
    columns = [
        _int32(poses.frame),
        _int32(tracks),
        _int32(poses.person),
        _float32(poses.scores),
        _float32(poses.keypoints[:, :, 0]),
        _float32(poses.keypoints[:, :, 1]),
        _float32(poses.keypoint_scores),
    ]
    return _HEADER.pack(b"NJP1", len(poses), start, stop - start) + b"".join(columns)


def encode_labels(start: int, stop: int, rows: Classifications) -> bytes:
    """Encode the labels of frames [start, stop).

    `NJL1`; uint32 rows, start, frames; int32 frame, number of the label; float32 score; uint32 length of a JSON list of
    the labels in UTF-8, and this list
    """
    names, numbers = np.unique(rows.label, return_inverse=True)
    listed = json.dumps(names.tolist(), ensure_ascii=False).encode()
    columns = [_int32(rows.frame), _int32(numbers), _float32(rows.scores), struct.pack("<I", len(listed)), listed]
    return _HEADER.pack(b"NJL1", len(rows.frame), start, stop - start) + b"".join(columns)


def series_frames(extent: Extent) -> range:
    """Return the frames of a track. Step: frames that one pair of points stands for, 1 = each row is a point."""
    frames = extent.last_frame + 1 - extent.first_frame
    step = 1 if extent.rows <= MOST_SERIES_ROWS else -(-2 * frames // MOST_SERIES_ROWS)
    return range(extent.first_frame, extent.last_frame + 1, step)


def encode_series(chunks: Iterable[SeriesRows], frames: range, columns: int) -> bytes:
    """Encode rows of motion; of many rows the least and the greatest value of every column per step of `frames`.

    `NJS1`; uint32 rows, columns; int32 frame; float32 t_s; uint8 filled, padded; float32 of each column
    """
    parts = [thinned(chunk, frames) if frames.step > 1 else chunk for chunk in chunks]
    frame, t_s, filled, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    padding = bytes(-len(frame) % 4)
    body = [_int32(frame), _float32(t_s), filled.astype(np.uint8).tobytes(), padding]
    return _SERIES_HEADER.pack(b"NJS1", len(frame), columns) + b"".join([*body, _float32(values.T)])


def thinned(rows: SeriesRows, frames: range) -> SeriesRows:
    """Return two rows per step: at its first frame with the least, and at its last one with the greatest values.

    A step is filled if all of its rows are. NaN only where no value of the step is known.
    """
    if not len(rows.frame):
        return rows
    step = (rows.frame - frames.start) // frames.step
    first = np.flatnonzero(np.diff(step, prepend=step[0] - 1))
    last = np.append(first[1:], len(step)) - 1
    pairs = np.stack([first, last], 1).reshape(-1)
    values = np.stack([np.fmin.reduceat(rows.values, first), np.fmax.reduceat(rows.values, first)], 1)
    filled = np.repeat(np.logical_and.reduceat(rows.filled, first), 2)
    return SeriesRows(rows.frame[pairs], rows.t_s[pairs], filled, values.reshape(len(pairs), -1))


def _int32(values: NDArray[np.generic]) -> bytes:
    return np.ascontiguousarray(values).astype("<i4").tobytes()


def _float32(values: NDArray[np.generic]) -> bytes:
    return np.ascontiguousarray(values).astype("<f4").tobytes()
