"""A segment's rows in SQL: replace them and read them, each in one transaction. No leases given, no result files."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Engine, Row, Table, delete, insert, select, update

from models.types import Classifications, Poses, Rows, Segment, SegmentReport
from storage import tables
from storage.catalogue import video_id_of
from storage.database import DatabaseError, reading, writing
from storage.ledger import NO_LEASE, Claim, held, insert_segments, lock_video, planned_ranges
from storage.poses import POSE_COLUMNS, keypoint_matrix, poses_from_columns
from storage.rows import LABEL_COLUMNS, check_report, check_rows
from storage.tables import database_now, model_versions, segments

if TYPE_CHECKING:
    from storage.parquet import Result

COLUMNS = ("video_id", "model_version_id", *POSE_COLUMNS)
# Rows that go to PostgreSQL at once: about 4 MB of COPY.
COPY_ROWS = 8192
# PostgreSQL's binary COPY format: signature, flags, no header extension; at the end a field count of -1.
COPY_HEADER, COPY_TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"


def commit_segment(
    engine: Engine,
    claim: Claim,
    rows: Rows,
    report: SegmentReport,
    result_key: str | None = None,
    result_sha256: str | None = None,
) -> bool:
    """Rows and ledger entry of a claimed segment, in one transaction. result_*: the Parquet file that holds them too.

    False, and nothing changed, where the claim is fenced or the segment done. Raises ValueError where the rows or the
    report are not the segment's, and DatabaseError.
    """
    check_rows(rows, claim.segment)
    check_report(report, claim.segment)
    values = _done(rows, report, result_key, result_sha256)
    try:
        with writing(engine) as connection:
            if connection.execute(update(segments).where(held(claim)).values(values)).rowcount != 1:
                return False
            _replace_rows(connection, claim.video_id, claim.model_version_id, claim.segment, rows)
            return True
    except DatabaseError:
        # Perhaps only the answer to COMMIT was lost: the ledger knows.
        if _is_done_by(engine, claim):
            return True
        raise


def load_result(
    engine: Engine, result: "Result", result_key: str | None = None, result_sha256: str | None = None
) -> bool:
    """Rows and ledger entry from a result file, whoever holds the lease: a rebuild of SQL, or a result nobody loaded.

    False, and nothing changed, where the ledger has the segment done. Raises ValueError where the ledger's segments are
    cut elsewhere, and DatabaseError, also where the model version is not registered.
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
        _replace_rows(connection, video_id, model_version_id, result.segment, result.rows)
        return True


def read_poses(engine: Engine, video_id: int, model_version_id: int, start_frame: int, stop_frame: int) -> Poses:
    """The rows of frames [start_frame, stop_frame), as they were committed."""
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
    """A classifier's rows of frames [start_frame, stop_frame), as they were committed."""
    found = _read(engine, tables.classifications, LABEL_COLUMNS, (video_id, model_version_id, start_frame, stop_frame))
    frame, label, t_s, scores = zip(*found, strict=True) if found else ((), (), (), ())
    return Classifications(
        np.array(frame, np.int64), np.array(label, np.str_), np.array(t_s, np.float64), np.array(scores, np.float32)
    )


def _read(engine: Engine, table: Table, columns: tuple[str, ...], of: tuple[int, int, int, int]) -> Sequence[Row[Any]]:
    """of: video_id, model_version_id, start_frame, stop_frame. In the order of the first two columns."""
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
        "finished_at": database_now(),
        **NO_LEASE,
    }


def _is_done_by(engine: Engine, claim: Claim) -> bool:
    with reading(engine) as connection:
        mine = (segments.c.segment_id == claim.segment_id) & (segments.c.attempt == claim.attempt)
        return connection.execute(select(segments.c.status).where(mine)).scalar() == "done"


def _model_id(connection: Connection, version_sha256: str) -> int:
    mine = model_versions.c.version_sha256 == version_sha256
    found = connection.execute(select(model_versions.c.model_version_id).where(mine)).scalar()
    if found is None:
        raise DatabaseError(
            f"a result of model version {version_sha256[:12]}…",
            "a registered one",
            "register the model that made it ('nightjar convert' does), then load again",
        )
    return int(found)


def _plan_one(connection: Connection, video_id: int, model_version_id: int, segment: Segment) -> None:
    frames = lock_video(connection, video_id)
    wanted = (segment.start_frame, segment.stop_frame)
    known = planned_ranges(connection, video_id, model_version_id)
    if wanted in known:
        return
    overlapping = [(start, stop) for start, stop in known if start < segment.stop_frame and segment.start_frame < stop]
    if overlapping or segment.stop_frame > frames:
        raise ValueError(
            f"a result of frames {wanted}, expected one of the ledger's segments, such as {overlapping[:2]}, "
            f"within the video's {frames} frames: it belongs to another plan, leave it out"
        )
    insert_segments(connection, video_id, model_version_id, [wanted])


def _replace_rows(connection: Connection, video_id: int, model_version_id: int, segment: Segment, rows: Rows) -> None:
    table = tables.classifications if isinstance(rows, Classifications) else tables.poses
    frames = (segment.start_frame, segment.stop_frame)
    connection.execute(delete(table).where(*_of(table, video_id, model_version_id, *frames)))
    driver = connection.connection.driver_connection
    if isinstance(rows, Classifications):
        _insert_labels(connection, video_id, model_version_id, rows)
    elif isinstance(driver, sqlite3.Connection):
        _insert_sqlite(driver, video_id, model_version_id, rows)
    elif isinstance(driver, psycopg.Connection):
        _copy_postgresql(driver, video_id, model_version_id, rows)
    else:
        raise TypeError(f"the driver is {type(driver)}, expected sqlite3 or psycopg")


def _of(
    table: Table, video_id: int, model_version_id: int, start_frame: int, stop_frame: int
) -> tuple[ColumnElement[bool], ...]:
    """The rows of frames [start_frame, stop_frame)."""
    column = table.c
    mine = (column.video_id == video_id) & (column.model_version_id == model_version_id)
    return mine, (column.frame >= start_frame) & (column.frame < stop_frame)


def _insert_labels(connection: Connection, video_id: int, model_version_id: int, rows: Classifications) -> None:
    """One row a frame at most: nothing that a COPY would be needed for."""
    own = zip(rows.frame.tolist(), rows.label.tolist(), rows.t_s.tolist(), rows.scores.tolist(), strict=True)
    values = [
        {"video_id": video_id, "model_version_id": model_version_id, **dict(zip(LABEL_COLUMNS, row, strict=True))}
        for row in own
    ]
    if values:
        connection.execute(insert(tables.classifications), values)


def _insert_sqlite(driver: sqlite3.Connection, video_id: int, model_version_id: int, poses: Poses) -> None:
    """The driver writes NaN as NULL by itself."""
    marks = ", ".join("?" * len(COLUMNS))
    own = (poses.frame.tolist(), poses.person.tolist(), poses.t_s.tolist(), poses.scores.tolist())
    rows = zip(repeat(video_id), repeat(model_version_id), *own, *keypoint_matrix(poses).T.tolist(), strict=False)
    driver.executemany(f"INSERT INTO poses ({', '.join(COLUMNS)}) VALUES ({marks})", rows)  # noqa: S608 # our names


def _copy_postgresql(driver: psycopg.Connection[Any], video_id: int, model_version_id: int, poses: Poses) -> None:
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY poses ({', '.join(COLUMNS)}) FROM STDIN (FORMAT BINARY)") as copy,
    ):
        copy.write(COPY_HEADER)
        for rows in _copy_rows(video_id, model_version_id, poses):
            copy.write(rows)
        copy.write(COPY_TRAILER)


def _copy_rows(video_id: int, model_version_id: int, poses: Poses) -> Iterator[bytes]:
    """Rows in PostgreSQL's binary COPY format, vectorised: each field is its length and then its big-endian bytes."""
    matrix = keypoint_matrix(poses)
    own = {"video_id": ">i4", "model_version_id": ">i4", "frame": ">i4", "person": ">i2", "t_s": ">f8", "score": ">f4"}
    head = [("fields", ">i2")]
    for name, kind in own.items():
        head += [(f"{name}_length", ">i4"), (name, kind)]
    layout = np.dtype([*head, ("keypoints", [("length", ">i4"), ("value", ">f4")], matrix.shape[1])])
    for start in range(0, len(poses), COPY_ROWS):
        part = slice(start, start + COPY_ROWS)
        rows = np.empty(len(poses.frame[part]), layout)
        rows["fields"] = len(COLUMNS)
        own_values = (video_id, model_version_id, poses.frame[part], poses.person[part], poses.t_s[part])
        for (name, kind), values in zip(own.items(), (*own_values, poses.scores[part]), strict=True):
            rows[f"{name}_length"], rows[name] = np.dtype(kind).itemsize, values
        yield _with_nulls(rows, matrix[part])


def _with_nulls(rows: NDArray[Any], matrix: NDArray[np.float32]) -> bytes:
    """The rows' bytes, where a NaN is NULL: length -1 and no value."""
    missing = np.isnan(matrix)
    rows["keypoints"]["length"] = np.where(missing, -1, 4)
    rows["keypoints"]["value"] = matrix
    width, keypoints = rows.dtype.itemsize, matrix.shape[1]
    kept = np.ones((len(rows), width), bool)
    kept[:, width - 8 * keypoints :].reshape(len(rows), keypoints, 8)[:, :, 4:] = ~missing[:, :, None]
    return rows.view(np.uint8).reshape(len(rows), width)[kept].tobytes()
