"""The rows of an analysis in SQL: tracks, the track of each pose, and motion. Added within the caller's transaction."""

import sqlite3
from typing import TYPE_CHECKING

import numpy as np
import psycopg
from numpy.typing import NDArray
from sqlalchemy import Connection, Table, delete, func, select

from storage.sql import tables
from storage.sql.result_rows import copy_rows, insert_rows
from storage.track_rows import MOTION_VALUES, SMOOTHED_COLUMNS, MotionRecords

if TYPE_CHECKING:
    import pyarrow as pa

KEY = "analysis_id"
# Table and the column by which its rows are divided, so that no transaction deletes all of them.
DIVIDED_BY = ((tables.motion, "track"), (tables.pose_tracks, "frame"), (tables.tracks, "track"))
DELETED_AT_ONCE = 5000  # values of that column
Columns = dict[str, NDArray[np.generic]]


def add_pose_tracks(connection: Connection, analysis_id: int, rows: NDArray[np.void]) -> None:
    """Add rows of POSE_TRACKS."""
    _add(connection, tables.pose_tracks, analysis_id, _columns(rows))


def add_tracks(connection: Connection, analysis_id: int, recording_id: int, rows: NDArray[np.void]) -> None:
    """Add rows of TRACKS."""
    columns = {"recording_id": np.full(len(rows), recording_id, np.int32), **_columns(rows)}
    _add(connection, tables.tracks, analysis_id, columns)


def add_motion(connection: Connection, analysis_id: int, records: MotionRecords) -> None:
    """Add rows of motion, ordered as their key is: rows next to each other are fast."""
    order = np.lexsort((records.head["frame"], records.head["track"]))
    columns = _columns(records.head[order])
    columns |= dict(zip(MOTION_VALUES, records.values[order].T, strict=True))
    if records.keypoints is not None:
        columns |= dict(zip(SMOOTHED_COLUMNS, records.keypoints[order].T, strict=True))
    _add(connection, tables.motion, analysis_id, columns)


def _columns(rows: NDArray[np.void]) -> Columns:
    return {name: rows[name] for name in rows.dtype.names or ()}


def _add(connection: Connection, table: Table, analysis_id: int, columns: Columns) -> None:
    count = len(next(iter(columns.values())))
    if not count:
        return
    columns = {KEY: np.full(count, analysis_id, np.int32), **columns}
    driver = connection.connection.driver_connection
    if isinstance(driver, psycopg.Connection):
        copy_rows(driver, table.name, _arrow(columns))
    elif isinstance(driver, sqlite3.Connection):
        insert_rows(driver, table.name, tuple(columns), [np.column_stack(list(columns.values())).astype(np.float64)])
    else:
        raise TypeError(f"The driver is {type(driver)}, not sqlite3 or psycopg.")


def _arrow(columns: Columns) -> "pa.RecordBatch":
    """Arrow's columns, NULL for NaN. SQLite needs no pyarrow."""
    import pyarrow as pa

    made = {name: pa.array(np.ascontiguousarray(values), from_pandas=True) for name, values in columns.items()}
    return pa.RecordBatch.from_pydict(made)


def delete_some(connection: Connection, analysis_id: int) -> bool:
    """Delete rows of an analysis, at most a few seconds' worth. Returns False where none is left."""
    for table, name in DIVIDED_BY:
        mine, column = table.c[KEY] == analysis_id, table.c[name]
        first = connection.execute(select(func.min(column)).where(mine)).scalar()
        if first is not None:
            connection.execute(delete(table).where(mine, column < first + DELETED_AT_ONCE))
            return True
    return False
