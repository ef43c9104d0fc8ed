"""The ledger: which segments a model version must do, who does them, what is done. No rows of results, no files.

Each function is one transaction. Leases go by the database's clock. `attempt` grows with every claim and never falls:
a claim whose attempt is no longer the row's is fenced, whatever its owner believes. `tries` are the attempts that
count towards the quarantine; a replay resets them to zero.
"""

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
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

from models.types import Segment
from storage.sql.database import reading, storable, writing
from storage.sql.tables import archive_files, batch_segments, batches, database_now, segments, videos

MAX_TRIES = 5
VIDEOS_AT_ONCE = 500
MOST_AT_ONCE = 512  # segments in one grant
NO_LEASE: dict[str, Any] = {"owner": None, "lease_until": None}
OPEN = segments.c.status.in_(("planned", "leased"))
# The same in the words of ix_segments_free: SQLite uses a partial index for its own words only.
FREE = text("segments.status IN ('planned', 'leased')")


@dataclass(frozen=True)
class Claim:
    """The right to do one segment until the lease ends, or until somebody else claims it after that."""

    segment_id: int
    attempt: int
    video_id: int
    model_version_id: int
    segment: Segment


class SegmentCounts(NamedTuple):
    """A batch's account: planned + leased + done + quarantined = expected.

    frames_done: seen by the model; frames_undecodable: given up by the decoder; frames_quarantined, frames_missing:
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


def plan_video(engine: Engine, video_id: int, model_version_id: int, plan: Sequence[Segment]) -> int:
    """The video's segments into the ledger, as far as they are not there; the number of new ones.

    What is planned stays as it was planned: a plan with other lengths fills holes (after a rebuild from results), and
    adds nothing to a video without holes. Raises ValueError unless the segments then tile the video exactly.
    """
    with writing(engine) as connection:
        frames = lock_video(connection, video_id)
        known = planned_ranges(connection, video_id, model_version_id)
        holes = _holes(known, frames)
        new = sorted(
            (max(start, segment.start_frame), min(stop, segment.stop_frame))
            for segment in plan
            for start, stop in holes
            if segment.start_frame < stop and start < segment.stop_frame
        )
        _check_tiles(sorted(known + new), frames)
        insert_segments(connection, video_id, model_version_id, new)
        return len(new)


def lock_video(connection: Connection, video_id: int) -> int:
    """The video's number of frames; its segments are ours alone to change until the transaction ends."""
    row = select(videos.c.frames).where(videos.c.video_id == video_id).with_for_update(key_share=True)
    return int(connection.execute(row).scalar_one())


def planned_ranges(connection: Connection, video_id: int, model_version_id: int) -> list[tuple[int, int]]:
    """[start_frame, stop_frame) of the video's segments in the ledger, ascending."""
    mine = (segments.c.video_id == video_id) & (segments.c.model_version_id == model_version_id)
    rows = select(segments.c.start_frame, segments.c.stop_frame).where(mine).order_by(segments.c.start_frame)
    return [(start, stop) for start, stop in connection.execute(rows)]


def insert_segments(
    connection: Connection, video_id: int, model_version_id: int, ranges: Iterable[tuple[int, int]]
) -> None:
    planned = {
        "video_id": video_id,
        "model_version_id": model_version_id,
        "status": "planned",
        "attempt": 0,
        "tries": 0,
    }
    statement = insert(segments).values(planned_at=database_now())
    rows = [{**planned, "start_frame": start, "stop_frame": stop} for start, stop in ranges]
    if rows:
        connection.execute(statement, rows)


def _holes(known: list[tuple[int, int]], frames: int) -> list[tuple[int, int]]:
    stops, starts = [0, *(stop for _, stop in known)], [*(start for start, _ in known), frames]
    return [(stop, start) for stop, start in zip(stops, starts, strict=True) if stop < start]


def _check_tiles(ranges: list[tuple[int, int]], frames: int) -> None:
    covered = 0
    for start, stop in ranges:
        if start != covered:
            raise ValueError(f"segments that meet at frame {covered} and {start}, expected that each frame is in one")
        covered = stop
    if covered != frames:
        raise ValueError(f"segments that end at frame {covered}, expected {frames}, the video's number of frames")


def start_batch(
    engine: Engine, archive: str, model_version_id: int, dispatch: str, owner: str, flow_run_id: str | None = None
) -> int:
    """Start a batch, or return the one that this run of the flow has started already: the answer may have been lost.

    owner: who runs it, so that `release_dead` can tell when that one is gone
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
    """Write down what this batch is to do: all segments of these videos that are neither done nor quarantined.

    Segments that an earlier batch gave up for a reason that may have passed are tried anew. More videos may follow in
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
        if connection.dialect.name == "postgresql":  # its own statistics come a minute later: claims would sort all
            connection.execute(text("ANALYZE segments, batch_segments"))
        return _count(connection, batch_id)


def _unfinished_videos(connection: Connection, model_version_id: int) -> set[int]:
    """The videos of which a batch has anything to do: not one of 200,000 on most nights."""
    again = (segments.c.status == "quarantined") & segments.c.retry
    mine = segments.c.model_version_id == model_version_id
    rows = select(segments.c.video_id).where(mine, OPEN).union(select(segments.c.video_id).where(mine, again))
    return set(connection.execute(rows).scalars())


def _requeue(connection: Connection, which: ColumnElement[bool]) -> int:
    """Quarantined segments are planned again, with all their tries; how many that are."""
    values = {"status": "planned", "tries": 0, "reason": None, "retry": False, "finished_at": None}
    quarantined = (segments.c.status == "quarantined") & which
    return connection.execute(update(segments).where(quarantined).values(values)).rowcount


def _insert_new(connection: Connection) -> Any:
    """Into batch_segments, what is not there."""
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return make(batch_segments).on_conflict_do_nothing(index_elements=("batch_id", "segment_id"))


def count_segments(engine: Engine, batch_id: int) -> SegmentCounts:
    """Frames that the batch expected, has, and misses, now."""
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
    """Count the batch's segments whose attempts all failed, though nothing is known against the video."""
    with reading(engine) as connection:
        return _given_up(connection, batch_id)


def _given_up(connection: Connection, batch_id: int) -> int:
    mine = (batch_segments.c.batch_id == batch_id) & (segments.c.status == "quarantined") & segments.c.retry
    return int(
        connection.execute(select(func.count()).select_from(segments.join(batch_segments)).where(mine)).scalar_one()
    )


def finish_batch(engine: Engine, batch_id: int, error: str | None = None, *, unread: int = 0) -> str:
    """Close the account and return the batch's status: `completed`, `incomplete` or, with an error, `crashed`.

    unread: files of the archive that could not be read for a reason that says nothing of them. With any of these, with
    missing segments or with segments that were given up the batch is incomplete.
    """
    with writing(engine) as connection:
        if error:
            _call_off(connection, batch_id)
        lacking = _count(connection, batch_id).missing or unread or _given_up(connection, batch_id)
        status = "crashed" if error else "incomplete" if lacking else "completed"
        return _finish(connection, batch_id, status, error)


def cancel_batch(engine: Engine, batch_id: int, reason: str) -> str:
    """Close the account of a batch that somebody ended before its time, while nothing failed."""
    with writing(engine) as connection:
        _call_off(connection, batch_id)
        return _finish(connection, batch_id, "cancelled", reason)


def _call_off(connection: Connection, batch_id: int) -> None:
    """Free what the batch's own process holds, which counts as no try.

    A signal may come between a claim's commit and the claim: nobody else knows of it then.
    """
    owner = select(batches.c.owner).where(batches.c.batch_id == batch_id).scalar_subquery()
    held_here = (segments.c.batch_id == batch_id) & (segments.c.status == "leased") & (segments.c.owner == owner)
    values = {"status": "planned", "tries": segments.c.tries - 1, "reason": None, **NO_LEASE}
    connection.execute(update(segments).where(held_here).values(values))


def forget_batch(engine: Engine, batch_id: int) -> str | None:
    """Take a batch off the lists and out of the sweep's complaints. Its row and all that it did stay.

    Return its status; a running one is not forgotten. None where there is no such batch.
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


def claim(engine: Engine, batch_id: int, owner: str, lease_s: float) -> Claim | None:
    """The batch's next segment for this owner; None where none is to be had now.

    A segment whose lease has ended is given to whoever asks. One that was tried MAX_TRIES times is quarantined until
    the next batch.
    """
    with writing(engine) as connection:
        while (row := connection.execute(_free_segments(batch_id, 1)).first()) is not None:
            if row.tries < MAX_TRIES:
                return _lease(connection, row, batch_id, owner, lease_s)
            _quarantine(connection, row.segment_id, _worn_out(row), retry=True)
    return None


def _free_segments(batch_id: int, most: int) -> Select[Any]:
    """Those that are free, the least tried first. Skipping locked rows, so that nobody queues for the same one."""
    expired = (segments.c.status == "leased") & (segments.c.lease_until < database_now())
    return (
        select(segments, videos.c.sha256)
        .join(videos, videos.c.video_id == segments.c.video_id)
        .where(FREE, (segments.c.status == "planned") | expired, _expected_by(batch_id))
        .order_by(segments.c.tries, segments.c.segment_id)
        .limit(most)
        .with_for_update(of=segments, skip_locked=True)
    )


def count_free(engine: Engine, batch_id: int) -> tuple[int, int]:
    """Segments of the batch that are free to be claimed, and their frames; whoever held them before."""
    expired = (segments.c.status == "leased") & (segments.c.lease_until < database_now())
    frames = func.coalesce(func.sum(segments.c.stop_frame - segments.c.start_frame), 0)
    free = (
        select(func.count(), frames)
        .select_from(segments.join(batch_segments))
        .where(batch_segments.c.batch_id == batch_id, FREE, (segments.c.status == "planned") | expired)
    )
    with reading(engine) as connection:
        count, total = connection.execute(free).one()
    return int(count), int(total)


def _last_fault(row: Row[Any]) -> str | None:
    return f"{row.owner} was silent past its lease" if row.status == "leased" else row.reason


def holders(engine: Engine, batch_id: int) -> list[tuple[str, int, int]]:
    """(owner, its batch, number) of the segments of this batch that somebody holds a lease on, by owner."""
    leased = (segments.c.status == "leased") & (segments.c.lease_until >= database_now())
    rows = (
        select(segments.c.owner, segments.c.batch_id, func.count())
        .select_from(segments.join(batch_segments))
        .where(batch_segments.c.batch_id == batch_id, FREE, leased)
        .group_by(segments.c.owner, segments.c.batch_id)
        .order_by(segments.c.owner)
    )
    with reading(engine) as connection:
        return [(row[0], int(row[1]), int(row[2])) for row in connection.execute(rows)]


def claim_many(connection: Connection, batch_id: int, owner: str, lease_s: float, frames: int) -> list[Claim]:
    """Free segments of the batch, in order, until they hold `frames` frames; at least one, if there is one.

    For an owner that no other claim was ever made by: `renew_all` and `claims_of` go by its name alone.
    """
    claims: list[Claim] = []
    wanted = frames
    for row in connection.execute(_free_segments(batch_id, MOST_AT_ONCE)).all():
        if wanted <= 0:
            break
        if row.tries < MAX_TRIES:
            claims.append(_lease(connection, row, batch_id, owner, lease_s))
            wanted -= row.stop_frame - row.start_frame
        else:
            _quarantine(connection, row.segment_id, _worn_out(row), retry=True)
    return claims


def _expected_by(batch_id: int) -> ColumnElement[bool]:
    """Looked up for one segment after the other: a join or an EXISTS makes one of the two databases sort them all."""
    here = (batch_segments.c.batch_id == batch_id) & (batch_segments.c.segment_id == segments.c.segment_id)
    return (
        segments.c.segment_id == select(batch_segments.c.segment_id).where(here).correlate(segments).scalar_subquery()
    )


def _worn_out(row: Row[Any]) -> str:
    return f"{row.tries} attempts failed, the last one: {_last_fault(row)}"


def _lease(connection: Connection, row: Row[Any], batch_id: int, owner: str, lease_s: float) -> Claim:
    values = {
        "status": "leased",
        "attempt": row.attempt + 1,
        "tries": row.tries + 1,
        "owner": owner,
        "lease_until": database_now(lease_s),
        "batch_id": batch_id,
        "reason": _last_fault(row),
    }
    connection.execute(update(segments).where(segments.c.segment_id == row.segment_id).values(values))
    return _claim_of(row, row.attempt + 1)


def _claim_of(row: Row[Any], attempt: int) -> Claim:
    segment = Segment(row.sha256, row.start_frame, row.stop_frame)
    return Claim(row.segment_id, attempt, row.video_id, row.model_version_id, segment)


def claims_of(connection: Connection, owner: str) -> list[Claim]:
    """Segments that this owner holds now, in the order of the ledger."""
    rows = (
        select(segments, videos.c.sha256)
        .join(videos, videos.c.video_id == segments.c.video_id)
        .where(segments.c.owner == owner, segments.c.status == "leased")
        .order_by(segments.c.segment_id)
    )
    return [_claim_of(row, row.attempt) for row in connection.execute(rows)]


def renew_all(connection: Connection, owner: str, lease_s: float) -> int:
    """A new lease for all that the owner still holds; how many that are."""
    mine = (segments.c.owner == owner) & (segments.c.status == "leased")
    return connection.execute(update(segments).where(mine).values(lease_until=database_now(lease_s))).rowcount


def _quarantine(connection: Connection, segment_id: int, reason: str, *, retry: bool = False) -> None:
    """retry: attempts failed for reasons that say nothing of the video, so the next batch tries it again"""
    values = {
        "status": "quarantined",
        "reason": storable(reason),
        "retry": retry,
        "finished_at": database_now(),
        **NO_LEASE,
    }
    connection.execute(update(segments).where(segments.c.segment_id == segment_id).values(values))


def held(claim: Claim) -> ColumnElement[bool]:
    """True if the segment's row is still this claim's: the fence that every change by a claim goes through."""
    mine = (segments.c.segment_id == claim.segment_id) & (segments.c.attempt == claim.attempt)
    return mine & (segments.c.status == "leased")


def renew(engine: Engine, claim: Claim, lease_s: float) -> bool:
    """A new lease from now on; False where the claim is fenced and the work may stop."""
    with writing(engine) as connection:
        changed = update(segments).where(held(claim)).values(lease_until=database_now(lease_s))
        return connection.execute(changed).rowcount == 1


def release(engine: Engine, claim: Claim, reason: str | None) -> bool:
    """Give the segment back: the attempt failed for this reason, or (None) was called off, which counts as no try.

    After MAX_TRIES failures it is quarantined until the next batch. False where the claim is fenced.
    """
    with writing(engine) as connection:
        return give_back(connection, claim, reason)


def give_back(connection: Connection, claim: Claim, reason: str | None) -> bool:
    """`release`, inside a transaction of the caller's."""
    called_off = 1 if reason is None else 0
    values = {"status": "planned", "tries": segments.c.tries - called_off, "reason": reason and storable(reason)}
    changed = update(segments).where(held(claim)).values({**values, **NO_LEASE}).returning(segments.c.tries)
    tries = connection.execute(changed).scalar_one_or_none()
    if reason is not None and tries is not None and tries >= MAX_TRIES:
        _quarantine(connection, claim.segment_id, f"{tries} attempts failed, the last one: {reason}", retry=True)
    return tries is not None


def quarantine_segment(engine: Engine, claim: Claim, reason: str, *, retry: bool = False) -> bool:
    """For a fault of the input itself, which no other attempt would mend. False where the claim is fenced.

    retry: the fault may have passed by the next batch, which tries the segment again
    """
    with writing(engine) as connection:
        mine = connection.execute(select(segments.c.segment_id).where(held(claim)).with_for_update()).first()
        if mine is not None:
            _quarantine(connection, claim.segment_id, reason, retry=retry)
        return mine is not None


def release_dead(engine: Engine, owner_is_dead: Callable[[str], bool]) -> int:
    """Free the segments of dead owners at once, and mark their batches crashed. Returns the number of segments.

    So a run that was killed on this host does not make the next one wait for its leases.
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
    """Replay: the archive's quarantined files are read anew and its quarantined segments tried anew by the next batch.

    Gives the number of files and of segments.
    """
    in_archive = select(archive_files.c.video_id).where(archive_files.c.archive == archive)
    refused = (archive_files.c.archive == archive) & archive_files.c.reason.is_not(None)
    with writing(engine) as connection:
        files = connection.execute(delete(archive_files).where(refused)).rowcount
        return files, _requeue(connection, segments.c.video_id.in_(in_archive))


def planned_videos(engine: Engine, model_version_id: int) -> set[int]:
    """The videos whose every frame is in a segment of this model version."""
    held_frames = func.sum(segments.c.stop_frame - segments.c.start_frame)
    complete = (
        select(segments.c.video_id)
        .join(videos, videos.c.video_id == segments.c.video_id)
        .where(segments.c.model_version_id == model_version_id)
        .group_by(segments.c.video_id, videos.c.frames)
        .having(held_frames == videos.c.frames)
    )
    with reading(engine) as connection:
        return set(connection.execute(complete).scalars())


class DoneSegment(NamedTuple):
    """A segment that a batch did. people: rows, one per person per frame"""

    video_id: int
    start_frame: int
    stop_frame: int
    people: int


def done_segments(engine: Engine, batch_id: int) -> list[DoneSegment]:
    """Segments that this batch did, in the order of videos and frames."""
    columns = (segments.c[name] for name in DoneSegment._fields)
    mine = (segments.c.batch_id == batch_id) & (segments.c.status == "done")
    with reading(engine) as connection:
        rows = select(*columns).where(mine).order_by(segments.c.video_id, segments.c.start_frame)
        return [DoneSegment(*row) for row in connection.execute(rows)]


def frames_done_in(engine: Engine, video_id: int, model_version_id: int, start: int, stop: int) -> int:
    """Number of frames of [start, stop) that lie in segments which this model version has done."""
    mine = (segments.c.video_id == video_id) & (segments.c.model_version_id == model_version_id)
    inside = (segments.c.start_frame < stop) & (segments.c.stop_frame > start) & (segments.c.status == "done")
    with reading(engine) as connection:
        found = connection.execute(select(segments.c.start_frame, segments.c.stop_frame).where(mine & inside))
        return sum(min(last, stop) - max(first, start) for first, last in found)


def videos_done(engine: Engine, model_version_id: int) -> set[int]:
    """The videos of which this model version has done a segment at least."""
    done = (segments.c.model_version_id == model_version_id) & (segments.c.status == "done")
    with reading(engine) as connection:
        return set(connection.execute(select(segments.c.video_id).where(done).distinct()).scalars())
