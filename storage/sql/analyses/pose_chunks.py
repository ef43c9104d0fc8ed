"""Stored poses of a video in the order of its frames, in chunks of bounded size. No ledger."""

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import psycopg
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine

from models.types import Poses
from storage.rows import KEYPOINT_COLUMNS, POSE_COLUMNS, poses_from_columns
from storage.sql.database import reading

ROWS_AT_ONCE = 20_000  # in a chunk, about: 9 MB on its way from PostgreSQL

# A row of PostgreSQL's binary COPY: the number of its fields, then each field's length and value, most significant
# byte first. Rows have a constant size because NULL is replaced by NaN in the query.
_FIELDS = {"frame": ">i4", "person": ">i2", "t_s": ">f8"} | dict.fromkeys(("score", *KEYPOINT_COLUMNS), ">f4")
_COPIED = np.dtype(
    [("fields", ">i2"), *((name, [("bytes", ">i4"), ("value", kind)]) for name, kind in _FIELDS.items())]
)
# The values of `score` and all keypoints, as one array of (length, value).
_COPIED_MATRIX = np.dtype(
    [
        ("fields", ">i2"),
        *((name, [("bytes", ">i4"), ("value", _FIELDS[name])]) for name in ("frame", "person", "t_s")),
        ("matrix", [("bytes", ">i4"), ("value", ">f4")], 1 + len(KEYPOINT_COLUMNS)),
    ]
)
_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_HEADER_BYTES = len(_SIGNATURE) + 8  # flags, length of an extension
_TRAILER = b"\xff\xff"


class FramesWithPoses(NamedTuple):
    """Frames [start_frame, stop_frame) of a video, of which all rows are stored. people: number of rows"""

    start_frame: int
    stop_frame: int
    people: int


def chunks_of(parts: Iterable[FramesWithPoses], rows_at_once: int = ROWS_AT_ONCE) -> Iterator[tuple[int, int]]:
    """Divide and join ascending parts into frames [start, stop) with about `rows_at_once` rows each.

    Parts are joined only where they touch, so that frames in between are never read.
    """
    start, stop, rows = 0, 0, 0.0
    for part in parts:
        pieces = max(1, -(-part.people // rows_at_once))
        edges = np.linspace(part.start_frame, part.stop_frame, pieces + 1).astype(int).tolist()
        for first, last in pairwise(edges):
            people = part.people / pieces
            if first != stop or rows + people > rows_at_once:
                if start < stop:
                    yield start, stop
                start, rows = first, 0.0
            stop, rows = last, rows + people
    if start < stop:
        yield start, stop


def read_chunks(
    engine: Engine, video_id: int, model_version_id: int, parts: Iterable[FramesWithPoses]
) -> Iterator[Poses]:
    """Yield the rows of these frames, each chunk read in a short transaction of its own."""
    for start, stop in chunks_of(parts):
        with reading(engine) as connection:
            poses = _read(connection, (video_id, model_version_id, start, stop))
        yield poses


def read_frames(engine: Engine, video_id: int, model_version_id: int, start_frame: int, stop_frame: int) -> Poses:
    """Return the rows of frames [start_frame, stop_frame)."""
    with reading(engine) as connection:
        return _read(connection, (video_id, model_version_id, start_frame, stop_frame))


def _read(connection: Connection, of: tuple[int, int, int, int]) -> Poses:
    """Read the rows of one chunk. of: video_id, model_version_id, start_frame, stop_frame"""
    driver = connection.connection.driver_connection
    if isinstance(driver, psycopg.Connection):
        return _copy_out(driver, of)
    if isinstance(driver, sqlite3.Connection):
        return _fetch(driver, of)
    raise TypeError(f"The driver is {type(driver)}, not sqlite3 or psycopg.")


def _fetch(driver: sqlite3.Connection, of: tuple[int, int, int, int]) -> Poses:
    rows = driver.execute(
        f"SELECT {', '.join(POSE_COLUMNS)} FROM poses WHERE video_id = ? AND model_version_id = ?"  # noqa: S608 # our names
        " AND frame >= ? AND frame < ? ORDER BY frame, person",
        of,
    ).fetchall()
    values = np.array(rows, np.float64).reshape(len(rows), len(POSE_COLUMNS))  # None becomes NaN
    return _poses(values[:, 0], values[:, 1], values[:, 2], values[:, 3:].astype(np.float32))


def _copy_out(driver: "psycopg.Connection[object]", of: tuple[int, int, int, int]) -> Poses:
    """Read by binary COPY: the rows are parsed at once, not value by value."""
    values = ", ".join(("score", *(f"coalesce({name}, 'NaN')" for name in KEYPOINT_COLUMNS)))
    statement = (
        f"COPY (SELECT frame, person, t_s, {values} FROM poses WHERE video_id = {of[0]:d}"  # noqa: S608 # our numbers
        f" AND model_version_id = {of[1]:d} AND frame >= {of[2]:d} AND frame < {of[3]:d} ORDER BY frame, person)"
        " TO STDOUT (FORMAT BINARY)"
    )
    with driver.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        data = b"".join(copy)
    body = len(data) - _HEADER_BYTES - len(_TRAILER)
    if not data.startswith(_SIGNATURE) or body % _COPIED.itemsize:
        raise psycopg.DataError("COPY returned rows of an unexpected size.")
    rows = np.frombuffer(data, _COPIED_MATRIX, body // _COPIED.itemsize, _HEADER_BYTES)
    return _poses(*(rows[name]["value"] for name in ("frame", "person", "t_s", "matrix")))


def _poses(
    frame: NDArray[np.generic], person: NDArray[np.generic], t_s: NDArray[np.generic], matrix: NDArray[np.generic]
) -> Poses:
    """Build poses from columns of any numeric type. matrix: (n, 52), the score and the keypoints' columns"""
    values = matrix.astype(np.float32)
    return poses_from_columns(
        frame.astype(np.int64),
        person.astype(np.int16),
        t_s.astype(np.float64),
        values[:, 0].copy(),
        values[:, 1:],
    )
