"""Commit a segment: its rows and its ledger entry in one transaction. No leases, no files."""

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, select, update

from models.types import Classifications, Rows, Segment, SegmentReport, Video
from storage.ledger.leases import NO_LEASE, Claim, held
from storage.ledger.plan import insert_segments, lock_video, planned_ranges
from storage.rows import check_report, check_rows
from storage.sql.catalogue import geometry_of_rows, video_id_of
from storage.sql.clock import database_now
from storage.sql.database import DatabaseError, reading, writing
from storage.sql.result_rows import replace_rows
from storage.sql.tables import model_versions, segments
from storage.video.geometry import geometry_of, moved

if TYPE_CHECKING:
    from storage.parquet import Result


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
            replace_rows(connection, claim.video_id, claim.model_version_id, claim.segment, ours)
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
        replace_rows(connection, video_id, model_version_id, result.segment, ours)
        return True


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
        "awaits_analysis": not isinstance(rows, Classifications),
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
