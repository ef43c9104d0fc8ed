"""The rows of a segment's result in SQL: replaced in the caller's transaction, and read. No ledger, no files."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Engine, Row, Table, delete, insert, select

from models.types import Classifications, Poses, Rows, Segment
from storage.rows import (
    KEYPOINT_COLUMNS,
    LABEL_COLUMNS,
    POSE_COLUMNS,
    POSE_SECONDS,
    REGION_COLUMNS,
    keypoint_matrix,
    pose_heads,
    pose_seconds,
    poses_from_columns,
)
from storage.sql import tables
from storage.sql.database import reading

if TYPE_CHECKING:
    import pyarrow as pa

KEY = ("video_id", "model_version_id")
COLUMNS, SECOND_COLUMNS = (*KEY, *POSE_COLUMNS), (*KEY, *(POSE_SECONDS.names or ()))


# Rows per call of SQLite's driver: few, so that the numbers are still in the processor's cache.
ROWS_AT_ONCE = 256
# Rows in one INSERT of SQLite: an eighth faster than one, and other threads interrupt less often for the GIL.
ROWS_A_STATEMENT = 64
ROWS_A_COPY = 2048  # in one message to PostgreSQL, which stores them while the next ones are encoded


def read_poses(engine: Engine, video_id: int, model_version_id: int, start_frame: int, stop_frame: int) -> Poses:
    """Return the rows of frames [start_frame, stop_frame), as they were committed."""
    found = _read(engine, tables.poses, POSE_COLUMNS, (video_id, model_version_id, start_frame, stop_frame))
    # None becomes NaN; float64 holds every frame number and every float32 exactly.
    values = np.array([tuple(row) for row in found], np.float64).reshape(len(found), len(POSE_COLUMNS))
    frame, person, t_s, scores = values[:, 0], values[:, 1], values[:, 2], values[:, 3]
    return poses_from_columns(
        frame.astype(np.int64),
        person.astype(np.int16),
        t_s.copy(),
        scores.astype(np.float32),
        values[:, 4:].astype(np.float32),
    )


def read_labels(
    engine: Engine, video_id: int, model_version_id: int, start_frame: int, stop_frame: int
) -> Classifications:
    """Return a classifier's rows of frames [start_frame, stop_frame), as they were committed."""
    columns = (*LABEL_COLUMNS, *REGION_COLUMNS)
    found = _read(engine, tables.classifications, columns, (video_id, model_version_id, start_frame, stop_frame))
    frame, label, t_s, scores, *regions = zip(*found, strict=True) if found else ((),) * len(columns)
    has_regions = bool(found) and regions[0][0] is not None
    return Classifications(
        np.array(frame, np.int64),
        np.array(label, np.str_),
        np.array(t_s, np.float64),
        np.array(scores, np.float32),
        np.array(regions, np.int32).T if has_regions else None,
    )


def _read(engine: Engine, table: Table, columns: tuple[str, ...], of: tuple[int, int, int, int]) -> Sequence[Row[Any]]:
    """Rows in the order of the first two columns. of: video_id, model_version_id, start_frame, stop_frame"""
    wanted = select(*(table.c[name] for name in columns)).where(*_of(table, *of))
    with reading(engine) as connection:
        return connection.execute(wanted.order_by(table.c[columns[0]], table.c[columns[1]])).all()


def replace_rows(connection: Connection, video_id: int, model_version_id: int, segment: Segment, rows: Rows) -> None:
    """Put these rows in place of all rows of the segment's frames, within the transaction of the connection."""
    mine = (video_id, model_version_id)
    of_poses = not isinstance(rows, Classifications)
    for table in (tables.poses, tables.pose_seconds) if of_poses else (tables.classifications,):
        connection.execute(delete(table).where(*_of(table, *mine, segment.start_frame, segment.stop_frame)))
    driver = connection.connection.driver_connection
    if isinstance(rows, Classifications):
        _insert_labels(connection, *mine, rows)
    elif isinstance(driver, sqlite3.Connection):
        insert_rows(driver, "poses", COLUMNS, _plain_rows(*mine, rows))
        insert_rows(driver, "pose_seconds", SECOND_COLUMNS, [_plain(*mine, pose_seconds(rows))])
    elif isinstance(driver, psycopg.Connection):
        copy_rows(driver, "poses", _arrow_rows(*mine, pose_heads(rows), keypoint_matrix(rows)))
        copy_rows(driver, "pose_seconds", _arrow_rows(*mine, pose_seconds(rows)))
    else:
        raise TypeError(f"The driver is {type(driver)}, not sqlite3 or psycopg.")


def _of(
    table: Table, video_id: int, model_version_id: int, start_frame: int, stop_frame: int
) -> tuple[ColumnElement[bool], ...]:
    """Conditions for the rows of frames [start_frame, stop_frame)."""
    column = table.c
    mine = (column.video_id == video_id) & (column.model_version_id == model_version_id)
    return mine, (column.frame >= start_frame) & (column.frame < stop_frame)


def _insert_labels(connection: Connection, video_id: int, model_version_id: int, rows: Classifications) -> None:
    """Insert labels, at most one row per frame: too few to need a COPY."""
    columns = [rows.frame.tolist(), rows.label.tolist(), rows.t_s.tolist(), rows.scores.tolist()]
    names: tuple[str, ...] = LABEL_COLUMNS
    if rows.regions is not None:
        names, columns = (*names, *REGION_COLUMNS), columns + rows.regions.T.tolist()
    values = [
        {"video_id": video_id, "model_version_id": model_version_id, **dict(zip(names, row, strict=True))}
        for row in zip(*columns, strict=True)
    ]
    if values:
        connection.execute(insert(tables.classifications), values)


def insert_rows(
    driver: sqlite3.Connection, table: str, columns: tuple[str, ...], pieces: Iterable[NDArray[np.float64]]
) -> None:
    """Insert rows of numbers into a table of SQLite, which makes integers of them in its integer columns, NULL of NaN.

    pieces: (n, columns) each
    """
    row = f"({', '.join('?' * len(columns))})"
    one = f"INSERT INTO {table} ({', '.join(columns)}) VALUES {row}"  # noqa: S608 # our names
    many = f"{one}, {', '.join([row] * (ROWS_A_STATEMENT - 1))}"
    for rows in pieces:
        whole = len(rows) // ROWS_A_STATEMENT * ROWS_A_STATEMENT
        driver.executemany(many, rows[:whole].reshape(-1, ROWS_A_STATEMENT * len(columns)).tolist())
        driver.executemany(one, rows[whole:].tolist())


def _plain_rows(video_id: int, model_version_id: int, poses: Poses) -> Iterator[NDArray[np.float64]]:
    heads, matrix = pose_heads(poses), keypoint_matrix(poses)
    for start in range(0, len(poses), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        yield np.hstack([_plain(video_id, model_version_id, heads[part]), matrix[part]])


def _plain(video_id: int, model_version_id: int, own: NDArray[np.void]) -> NDArray[np.float64]:
    """Array (n, columns) of the key and the rows' own columns, all as floats: three times as fast as typed values.

    SQLite makes integers of them in its integer columns, where they are exact, and its driver makes NULL of NaN.
    """
    names = own.dtype.names or ()
    rows = np.empty((len(own), len(KEY) + len(names)))
    rows[:, : len(KEY)] = video_id, model_version_id
    for column, name in enumerate(names, len(KEY)):
        rows[:, column] = own[name]
    return rows


def copy_rows(driver: psycopg.Connection[Any], table: str, rows: "pa.RecordBatch") -> None:
    """Copy rows into a table of PostgreSQL. Arrow's types decide the values' types, which must be the columns'."""
    from pgpq import ArrowToPostgresBinaryEncoder  # SQLite needs neither it nor pyarrow

    encoder = ArrowToPostgresBinaryEncoder(rows.schema)
    names = ", ".join(rows.schema.names)
    with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(encoder.write_header())
        for start in range(0, rows.num_rows, ROWS_A_COPY):
            copy.write(encoder.write_batch(rows.slice(start, ROWS_A_COPY)))
        copy.write(encoder.finish())


def _arrow_rows(
    video_id: int, model_version_id: int, own: NDArray[np.void], matrix: NDArray[np.float32] | None = None
) -> "pa.RecordBatch":
    """Return the key, the rows' own columns and the keypoints' columns. Arrow's types decide PostgreSQL's.

    matrix: (n, 51) float32, as `keypoint_matrix` returns it; NaN becomes NULL
    """
    import pyarrow as pa

    key = [np.full(len(own), value, np.int32) for value in (video_id, model_version_id)]
    columns = dict(zip(KEY, map(pa.array, key), strict=True))
    columns |= {name: pa.array(np.ascontiguousarray(own[name])) for name in own.dtype.names or ()}
    if matrix is not None:
        keypoints = (pa.array(values, from_pandas=True) for values in np.ascontiguousarray(matrix.T))
        columns |= dict(zip(KEYPOINT_COLUMNS, keypoints, strict=True))
    return pa.RecordBatch.from_pydict(columns)
