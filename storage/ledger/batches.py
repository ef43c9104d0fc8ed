"""Batches of segments: their start, their counts, their end."""

import secrets
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    case,
    delete,
    func,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from storage.ledger.leases import NO_LEASE, OPEN
from storage.sql.clock import database_now
from storage.sql.database import reading, storable, writing
from storage.sql.tables import archive_files, batch_segments, batches, segments

VIDEOS_AT_ONCE = 500


class SegmentCounts(NamedTuple):
    """A batch's account: planned + leased + done + quarantined = expected.

    frames_done: inferred; frames_undecodable: given up by the decoder; frames_quarantined, frames_missing:
    of whole segments that are quarantined, or neither done nor quarantined. people: rows, one per person per frame
    """

    planned: int
    leased: int
    done: int
    quarantined: int
    frames_expected: int
    frames_done: int
    frames_undecodable: int
    frames_quarantined: int
    frames_missing: int
    people: int

    @property
    def expected(self) -> int:
        return self.missing + self.done + self.quarantined

    @property
    def missing(self) -> int:
        return self.planned + self.leased


def start_batch(
    engine: Engine, archive: str, model_version_id: int, dispatch: str, owner: str, flow_run_id: str | None = None
) -> int:
    """Start a batch, or return the one that this flow run has already started, as the answer may have been lost.

    owner: of the process that runs it, so that `release_dead` can tell when that process is gone
    """
    values = {
        "batch_key": secrets.token_hex(16),
        "archive": archive,
        "model_version_id": model_version_id,
        "dispatch": dispatch,
        "owner": owner,
        "flow_run_id": flow_run_id,
        "started_at": database_now(),
        "status": "running",
    }
    same = select(batches.c.batch_id).where(
        batches.c.flow_run_id == flow_run_id, batches.c.owner == owner, batches.c.status == "running"
    )
    with writing(engine) as connection:
        if flow_run_id and (started := connection.execute(same).scalar()):
            return int(started)
        return int(connection.execute(insert(batches).values(values).returning(batches.c.batch_id)).scalar_one())


def expect_segments(
    engine: Engine, batch_id: int, video_ids: Iterable[int], files_listed: int, files_quarantined: int
) -> SegmentCounts:
    """Record the work of this batch: all segments of these videos that are neither done nor quarantined.

    Segments that an earlier batch gave up for a temporary reason are tried again. More videos may follow in
    further calls; the counts of files are then those of the last call.
    """
    batch = update(batches).where(batches.c.batch_id == batch_id)
    listed = {"files_listed": files_listed, "files_quarantined": files_quarantined}
    with writing(engine) as connection:
        version = connection.execute(batch.values(listed).returning(batches.c.model_version_id)).scalar_one()
        wanted = sorted(_unfinished_videos(connection, version).intersection(video_ids))
        for first in range(0, len(wanted), VIDEOS_AT_ONCE):
            theirs = segments.c.video_id.in_(wanted[first : first + VIDEOS_AT_ONCE])
            _requeue(connection, theirs & (segments.c.model_version_id == version) & segments.c.retry)
            mine = theirs & OPEN
            rows = select(literal(batch_id), segments.c.segment_id).where(segments.c.model_version_id == version, mine)
            connection.execute(_insert_new(connection).from_select(["batch_id", "segment_id"], rows))
        if connection.dialect.name == "postgresql":  # automatic statistics come too late
            connection.execute(text("ANALYZE segments, batch_segments"))
        return _count(connection, batch_id)


def unfinished_videos(engine: Engine, model_version_id: int) -> set[int]:
    """Return the videos with segments that a batch would process: neither done nor quarantined for good."""
    with reading(engine) as connection:
        return _unfinished_videos(connection, model_version_id)


def _unfinished_videos(connection: Connection, model_version_id: int) -> set[int]:
    """Return the videos with unfinished segments: on most nights none of 200,000."""
    again = (segments.c.status == "quarantined") & segments.c.retry
    mine = segments.c.model_version_id == model_version_id
    rows = select(segments.c.video_id).where(mine, OPEN).union(select(segments.c.video_id).where(mine, again))
    return set(connection.execute(rows).scalars())


def _requeue(connection: Connection, which: ColumnElement[bool]) -> int:
    """Plan quarantined segments again, with all their tries. Returns their number."""
    values = {"status": "planned", "tries": 0, "reason": None, "retry": False, "finished_at": None}
    quarantined = (segments.c.status == "quarantined") & which
    return connection.execute(update(segments).where(quarantined).values(values)).rowcount


def _insert_new(connection: Connection) -> Any:
    """Statement that inserts into batch_segments and skips existing rows."""
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return make(batch_segments).on_conflict_do_nothing(index_elements=("batch_id", "segment_id"))


def count_segments(engine: Engine, batch_id: int) -> SegmentCounts:
    """Numbers of segments and frames that the batch expects, has and misses now."""
    with reading(engine) as connection:
        return _count(connection, batch_id)


def _count(connection: Connection, batch_id: int) -> SegmentCounts:
    def count(status: str) -> ColumnElement[int]:
        return func.count(case((segments.c.status == status, 1)))

    def total(column: ColumnElement[Any], where: ColumnElement[bool] | None = None) -> ColumnElement[int]:
        return func.coalesce(func.sum(column if where is None else case((where, column), else_=0)), 0)

    frames = segments.c.stop_frame - segments.c.start_frame
    columns = (
        *(count(status) for status in ("planned", "leased", "done", "quarantined")),
        total(frames),
        total(segments.c.frames_done),
        total(segments.c.undecodable_frames),
        total(frames, segments.c.status == "quarantined"),
        total(frames, OPEN),
        total(segments.c.people),
    )
    row = connection.execute(select(*columns).join(batch_segments).where(batch_segments.c.batch_id == batch_id)).one()
    return SegmentCounts(*(int(value) for value in row))


def given_up(engine: Engine, batch_id: int) -> int:
    """Count the batch's segments whose attempts all failed without a fault of the video."""
    with reading(engine) as connection:
        return _given_up(connection, batch_id)


def _given_up(connection: Connection, batch_id: int) -> int:
    mine = (batch_segments.c.batch_id == batch_id) & (segments.c.status == "quarantined") & segments.c.retry
    return int(
        connection.execute(select(func.count()).select_from(segments.join(batch_segments)).where(mine)).scalar_one()
    )


def finish_batch(engine: Engine, batch_id: int, error: str | None = None, *, unread: int = 0) -> str:
    """Close the account and return the batch's status: `completed`, `incomplete` or, with an error, `crashed`.

    unread: files of the archive that could not be read for a reason outside of the file. With any of these, with
    missing segments or with segments that were given up the batch is incomplete.
    """
    with writing(engine) as connection:
        if error:
            _call_off(connection, batch_id)
        lacking = _count(connection, batch_id).missing or unread or _given_up(connection, batch_id)
        status = "crashed" if error else "incomplete" if lacking else "completed"
        return _finish(connection, batch_id, status, error)


def cancel_batch(engine: Engine, batch_id: int, reason: str) -> str:
    """Close the account of a batch that was cancelled and did not fail."""
    with writing(engine) as connection:
        _call_off(connection, batch_id)
        return _finish(connection, batch_id, "cancelled", reason)


def _call_off(connection: Connection, batch_id: int) -> None:
    """Free the segments that the batch's own process holds, without counting a try.

    A signal may arrive between a claim's commit and its return, so that only the ledger knows of the claim.
    """
    owner = select(batches.c.owner).where(batches.c.batch_id == batch_id).scalar_subquery()
    held_here = (segments.c.batch_id == batch_id) & (segments.c.status == "leased") & (segments.c.owner == owner)
    values = {"status": "planned", "tries": segments.c.tries - 1, "reason": None, **NO_LEASE}
    connection.execute(update(segments).where(held_here).values(values))


def forget_batch(engine: Engine, batch_id: int) -> str | None:
    """Hide a batch from the lists and from the sweep. Its row and its results stay.

    Returns its status; a running batch is not hidden. None where there is no such batch.
    """
    mine = batches.c.batch_id == batch_id
    with writing(engine) as connection:
        status = connection.execute(select(batches.c.status).where(mine)).scalar_one_or_none()
        if status not in (None, "running"):
            connection.execute(update(batches).where(mine).values(forgotten_at=database_now()))
        return status


def _finish(connection: Connection, batch_id: int, status: str, error: str | None) -> str:
    counts = _count(connection, batch_id)
    values = {
        "status": status,
        "finished_at": database_now(),
        "error": error and storable(error),
        "segments_done": counts.done,
        "segments_quarantined": counts.quarantined,
        "segments_missing": counts.missing,
        "frames_done": counts.frames_done,
        "frames_undecodable": counts.frames_undecodable,
        "frames_quarantined": counts.frames_quarantined,
        "frames_missing": counts.frames_missing,
        "people": counts.people,
    }
    connection.execute(update(batches).where(batches.c.batch_id == batch_id).values(values))
    return status


def release_dead(engine: Engine, owner_is_dead: Callable[[str], bool]) -> int:
    """Free the segments of dead owners at once, and mark their batches crashed. Returns the number of segments.

    The next run then need not wait for the leases of one that was killed on this host.
    """
    with reading(engine) as connection:
        leasing = select(segments.c.owner).where(segments.c.status == "leased")
        running = select(batches.c.owner).where(batches.c.status == "running")
        owners = connection.execute(leasing.union(running)).scalars().all()
    dead = [owner for owner in owners if owner_is_dead(owner)]
    if not dead:
        return 0
    with writing(engine) as connection:
        theirs = (segments.c.status == "leased") & segments.c.owner.in_(dead)
        values = {"status": "planned", "reason": segments.c.owner + " died", **NO_LEASE}
        freed = connection.execute(update(segments).where(theirs).values(values)).rowcount
        orphans = select(batches.c.batch_id, batches.c.owner).where(
            batches.c.status == "running", batches.c.owner.in_(dead)
        )
        for batch_id, owner in connection.execute(orphans).all():
            _finish(connection, batch_id, "crashed", f"{owner} died")
        return freed


def requeue_quarantined(engine: Engine, archive: str) -> tuple[int, int]:
    """Let the next batch read the archive's quarantined files again and try its quarantined segments again.

    Returns the number of files and of segments.
    """
    in_archive = select(archive_files.c.video_id).where(archive_files.c.archive == archive)
    refused = (archive_files.c.archive == archive) & archive_files.c.reason.is_not(None)
    with writing(engine) as connection:
        files = connection.execute(delete(archive_files).where(refused)).rowcount
        return files, _requeue(connection, segments.c.video_id.in_(in_archive))


class DoneSegment(NamedTuple):
    """A segment that a batch completed. people: rows, one per person per frame"""

    video_id: int
    start_frame: int
    stop_frame: int
    people: int


def done_segments(engine: Engine, batch_id: int) -> list[DoneSegment]:
    """Segments that this batch completed, in the order of videos and frames."""
    columns = (segments.c[name] for name in DoneSegment._fields)
    mine = (segments.c.batch_id == batch_id) & (segments.c.status == "done")
    with reading(engine) as connection:
        rows = select(*columns).where(mine).order_by(segments.c.video_id, segments.c.start_frame)
        return [DoneSegment(*row) for row in connection.execute(rows)]
