"""Columns of one track's motion, frame by frame. Read only."""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import psycopg
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, func, select

from storage.sql.database import reading
from storage.sql.tables import motion
from storage.track_rows import MOTION_VALUES, SMOOTHED_COLUMNS

SERIES_COLUMNS = (*MOTION_VALUES, *SMOOTHED_COLUMNS)
FRAMES_AT_ONCE = 200_000
ARRAY_HEADER_BYTES = 20  # dimensions, whether there are NULLs, type; length and lower bound of the only dimension


class Extent(NamedTuple):
    """Rows of a track, and the frames from the first to the last of them."""

    rows: int
    first_frame: int
    last_frame: int


class SeriesRows(NamedTuple):
    """Rows of motion in the order of frames. frame, t_s, filled: (n,); values: (n, columns) float32, NaN = not known"""

    frame: NDArray[np.int32]
    t_s: NDArray[np.float64]
    filled: NDArray[np.bool_]
    values: NDArray[np.float32]


def extent_of(engine: Engine, analysis_id: int, track: int) -> Extent | None:
    """Return the extent of a track in an analysis of a video; None if it has no motion there."""
    frame = motion.c.frame
    mine = (motion.c.analysis_id == analysis_id) & (motion.c.track == track)
    with reading(engine) as connection:
        row = connection.execute(select(func.count(), func.min(frame), func.max(frame)).where(mine)).one()
    return Extent(*row) if row[0] else None


def read_series(
    engine: Engine, analysis_id: int, track: int, columns: Sequence[str], frames: range
) -> Iterator[SeriesRows]:
    """Yield the rows of these frames, FRAMES_AT_ONCE at a time or the frames' own step if this is more.

    columns: of SERIES_COLUMNS; frames: its step divides what is read at once
    """
    unknown = [name for name in columns if name not in SERIES_COLUMNS]
    if unknown:
        raise ValueError(f"{unknown} are not columns of motion.")
    at_once = max(1, FRAMES_AT_ONCE // frames.step) * frames.step
    for start in range(frames.start, frames.stop, at_once):
        with reading(engine) as connection:
            rows = _read(connection, (analysis_id, track, start, min(start + at_once, frames.stop)), columns)
        yield rows


def _read(connection: Connection, of: tuple[int, int, int, int], columns: Sequence[str]) -> SeriesRows:
    """Read one chunk. of: analysis_id, track, start_frame, stop_frame"""
    driver = connection.connection.driver_connection
    if isinstance(driver, psycopg.Connection):
        return _select(driver, of, columns)
    if isinstance(driver, sqlite3.Connection):
        return _fetch(driver, of, columns)
    raise TypeError(f"The driver is {type(driver)}, not sqlite3 or psycopg.")


def _fetch(driver: sqlite3.Connection, of: tuple[int, int, int, int], columns: Sequence[str]) -> SeriesRows:
    rows = driver.execute(
        f"SELECT {', '.join(('frame', 't_s', 'filled', *columns))} FROM motion"  # noqa: S608 # names of SERIES_COLUMNS
        " WHERE analysis_id = ? AND track = ? AND frame >= ? AND frame < ? ORDER BY frame",
        of,
    ).fetchall()
    values = np.array(rows, np.float64).reshape(len(rows), 3 + len(columns))  # None becomes NaN
    return SeriesRows(values[:, 0].astype(np.int32), values[:, 1], values[:, 2] > 0, values[:, 3:].astype(np.float32))


def _select(driver: "psycopg.Connection[Any]", of: tuple[int, int, int, int], columns: Sequence[str]) -> SeriesRows:
    """Read each column as one value, an array in its binary form: a message per row would cost a second per million."""
    known = [f"coalesce({name}, 'NaN') AS {name}" for name in columns]
    names = ("frame", "t_s", "filled", *columns)
    arrays = ", ".join(f"array_send(array_agg(m.{name}))" for name in names)
    statement = (
        f"SELECT {arrays} FROM (SELECT frame, t_s, filled, {', '.join(known)} FROM motion"  # noqa: S608 # names of SERIES_COLUMNS
        " WHERE analysis_id = %s AND track = %s AND frame >= %s AND frame < %s ORDER BY frame) AS m"
    )
    with driver.cursor(binary=True) as cursor:
        sent = cursor.execute(statement.encode(), of).fetchone()
    assert sent is not None
    kinds = (">i4", ">f8", "?", *(">f4" for _ in columns))
    frame, t_s, filled, *values = (_elements(each, kind) for each, kind in zip(sent, kinds, strict=True))
    shape = (len(columns), len(frame))
    return SeriesRows(
        frame.astype(np.int32),
        t_s.astype(np.float64),
        filled.astype(np.bool_),
        np.array(values, np.float32).reshape(shape).T,
    )


def _elements(sent: bytes | None, kind: str) -> NDArray[np.generic]:
    """Return the values of an array that PostgreSQL sent: of each element its length and value. None = it is empty"""
    element = np.dtype([("bytes", ">i4"), ("value", kind)])
    if sent is None:
        return np.empty(0, kind)
    if (len(sent) - ARRAY_HEADER_BYTES) % element.itemsize:
        raise psycopg.DataError("PostgreSQL returned an array with elements of an unexpected size.")
    values: NDArray[np.generic] = np.frombuffer(sent, element, offset=ARRAY_HEADER_BYTES)["value"]
    return values
