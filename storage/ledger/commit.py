"""The rows of a segment in SQL: replaced and read, each in one transaction. No leases, no files."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Engine, Row, Table, delete, insert, select, update

from models.types import Classifications, Poses, Rows, Segment, SegmentReport, Video
from storage.ledger.leases import NO_LEASE, Claim, held
from storage.ledger.plan import insert_segments, lock_video, planned_ranges
from storage.rows import (
    KEYPOINT_COLUMNS,
    LABEL_COLUMNS,
    POSE_COLUMNS,
    POSE_SECONDS,
    REGION_COLUMNS,
    check_report,
    check_rows,
    keypoint_matrix,
    pose_heads,
    pose_seconds,
    poses_from_columns,
)
from storage.sql import tables
from storage.sql.catalogue import geometry_of_rows, video_id_of
from storage.sql.clock import database_now
from storage.sql.database import DatabaseError, reading, writing
from storage.sql.tables import model_versions, segments
from storage.video.geometry import geometry_of, moved

if TYPE_CHECKING:
    import pyarrow as pa

    from storage.parquet import Result

KEY = ("video_id", "model_version_id")
COLUMNS, SECOND_COLUMNS = (*KEY, *POSE_COLUMNS), (*KEY, *(POSE_SECONDS.names or ()))
# Rows per call of SQLite's driver: few, so that the numbers are still in the processor's cache.
ROWS_AT_ONCE = 256
# Rows in one INSERT of SQLite: an eighth faster than one, and other threads interrupt less often for the GIL.
ROWS_A_STATEMENT = 64
ROWS_A_COPY = 2048  # in one message to PostgreSQL, which stores them while the next ones are encoded


def commit_segment(
    engine: Engine,
    claim: Claim,
    rows: Rows,
    report: SegmentReport,
    result_key: str | None = None,
    result_sha256: str | None = None,
    video: Video | None = None,
) -> bool:
    """Commit the rows and the ledger entry of a claimed segment together. result_*: the Parquet file of these rows.

    video: gives the geometry of the coordinates, where it may differ from the one in the database

    Returns False and changes nothing where the claim is fenced or the segment done. Raises ValueError where rows or
    report are not the segment's, and DatabaseError.
    """
    check_rows(rows, claim.segment)
    check_report(report, claim.segment)
    values = _done(rows, report, result_key, result_sha256)
    try:
        with writing(engine) as connection:
            if connection.execute(update(segments).where(held(claim)).values(values)).rowcount != 1:
                return False
            ours = rows if video is None else _in_frame_of_rows(connection, claim.video_id, video, rows)
            _replace_rows(connection, claim.video_id, claim.model_version_id, claim.segment, ours)
            return True
    except DatabaseError:
        # The answer to a successful COMMIT may have been lost, so the ledger decides.
        if _is_done_by(engine, claim):
            return True
        raise


def load_result(
    engine: Engine, result: "Result", result_key: str | None = None, result_sha256: str | None = None
) -> bool:
    """Load rows and ledger entry from a result file, whatever the lease: to rebuild SQL, or after a lost commit.

    Returns False and changes nothing where the ledger has the segment done. Raises ValueError where the ledger divides
    the video differently, and DatabaseError, also where the model version is not registered.
    """
    check_rows(result.rows, result.segment)
    check_report(result.report, result.segment)
    with writing(engine) as connection:
        video_id, model_version_id = video_id_of(connection, result.video), _model_id(connection, result.version_sha256)
        _plan_one(connection, video_id, model_version_id, result.segment)
        mine = (segments.c.video_id == video_id) & (segments.c.model_version_id == model_version_id)
        this = mine & (segments.c.start_frame == result.segment.start_frame) & (segments.c.status != "done")
        values = _done(result.rows, result.report, result_key, result_sha256)
        if connection.execute(update(segments).where(this).values(values)).rowcount != 1:
            return False
        ours = _in_frame_of_rows(connection, video_id, result.video, result.rows)
        _replace_rows(connection, video_id, model_version_id, result.segment, ours)
        return True


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


def _done(rows: Rows, report: SegmentReport, result_key: str | None, result_sha256: str | None) -> dict[str, Any]:
    return {
        "status": "done",
        "device": report.device,
        "precision": report.precision,
        "worker": report.worker,
        "frames_done": report.frames_done,
        "undecodable_frames": len(report.undecodable),
        "undecodable": json.dumps(report.undecodable),
        "people": len(rows),
        "result_key": result_key,
        "result_sha256": result_sha256,
        "wall_s": report.wall_s,
        "reason": None,
        "retry": False,
        "finished_at": database_now(),
        **NO_LEASE,
    }


def _in_frame_of_rows(connection: Connection, video_id: int, video: Video, rows: Rows) -> Rows:
    """Convert rows to the database's geometry of the video, from which the worker's reading may differ."""
    return moved(rows, geometry_of(video), geometry_of_rows(connection, video_id))


def _is_done_by(engine: Engine, claim: Claim) -> bool:
    with reading(engine) as connection:
        mine = (segments.c.segment_id == claim.segment_id) & (segments.c.attempt == claim.attempt)
        return connection.execute(select(segments.c.status).where(mine)).scalar() == "done"


def _model_id(connection: Connection, version_sha256: str) -> int:
    mine = model_versions.c.version_sha256 == version_sha256
    found = connection.execute(select(model_versions.c.model_version_id).where(mine)).scalar()
    if found is None:
        raise DatabaseError(
            f"The result is of model version {version_sha256[:12]}…, which is not registered.",
            "Register the model that made it ('nightjar convert' does), then load the result again.",
        )
    return int(found)


def _plan_one(connection: Connection, video_id: int, model_version_id: int, segment: Segment) -> None:
    wanted = (segment.start_frame, segment.stop_frame)
    mine = (segments.c.video_id == video_id) & (segments.c.model_version_id == model_version_id)
    this = mine & (segments.c.start_frame == segment.start_frame) & (segments.c.stop_frame == segment.stop_frame)
    if connection.execute(select(segments.c.segment_id).where(this)).first():
        return  # without the lock, so that others may load their segments of the video meanwhile
    frames = lock_video(connection, video_id)
    known = planned_ranges(connection, video_id, model_version_id)
    if wanted in known:
        return
    overlapping = [(start, stop) for start, stop in known if start < segment.stop_frame and segment.start_frame < stop]
    if overlapping or segment.stop_frame > frames:
        raise ValueError(
            f"The result is of frames {wanted}, which are not a segment of the ledger, such as {overlapping[:2]}, "
            f"within the video's {frames} frames. Leave it out: it belongs to another plan."
        )
    insert_segments(connection, video_id, model_version_id, [wanted])


def _replace_rows(connection: Connection, video_id: int, model_version_id: int, segment: Segment, rows: Rows) -> None:
    mine = (video_id, model_version_id)
    of_poses = not isinstance(rows, Classifications)
    for table in (tables.poses, tables.pose_seconds) if of_poses else (tables.classifications,):
        connection.execute(delete(table).where(*_of(table, *mine, segment.start_frame, segment.stop_frame)))
    driver = connection.connection.driver_connection
    if isinstance(rows, Classifications):
        _insert_labels(connection, *mine, rows)
    elif isinstance(driver, sqlite3.Connection):
        _insert(driver, "poses", COLUMNS, _plain_rows(*mine, rows))
        _insert(driver, "pose_seconds", SECOND_COLUMNS, [_plain(*mine, pose_seconds(rows))])
    elif isinstance(driver, psycopg.Connection):
        _copy(driver, "poses", _arrow_rows(*mine, pose_heads(rows), keypoint_matrix(rows)))
        _copy(driver, "pose_seconds", _arrow_rows(*mine, pose_seconds(rows)))
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


def _insert(
    driver: sqlite3.Connection, table: str, columns: tuple[str, ...], pieces: Iterable[NDArray[np.float64]]
) -> None:
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


def _copy(driver: psycopg.Connection[Any], table: str, rows: "pa.RecordBatch") -> None:
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
