"""Leases of segments: claim, renew, release, quarantine. No rows of results, no files.

Each function is one transaction. Leases go by the database's clock. `attempt` grows with every claim and never falls:
a claim with another attempt than the row's is fenced, whatever its owner believes. `tries` are the attempts that
count towards the quarantine; a replay resets them to zero.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    func,
    select,
    text,
    update,
)

from models.types import Segment
from storage.sql.clock import database_now
from storage.sql.database import reading, storable, writing
from storage.sql.tables import batch_segments, segments, videos

MAX_TRIES = 5
MOST_AT_ONCE = 512  # segments in one grant
NO_LEASE: dict[str, Any] = {"owner": None, "lease_until": None}
OPEN = segments.c.status.in_(("planned", "leased"))
# Worded as in ix_segments_free: SQLite uses a partial index only for a condition with the index's own wording.
FREE = text("segments.status IN ('planned', 'leased')")


@dataclass(frozen=True)
class Claim:
    """The right to process one segment until the lease ends, or after that until another owner claims it."""

    segment_id: int
    attempt: int
    video_id: int
    model_version_id: int
    segment: Segment


def claim(engine: Engine, batch_id: int, owner: str, lease_s: float) -> Claim | None:
    """Claim the batch's next segment for this owner; None where none is free now.

    A segment with an expired lease is free to any owner. One that was tried MAX_TRIES times is quarantined until
    the next batch.
    """
    with writing(engine) as connection:
        while (row := connection.execute(_free_segments(batch_id, 1)).first()) is not None:
            if row.tries < MAX_TRIES:
                return _lease(connection, row, batch_id, owner, lease_s)
            _quarantine(connection, row.segment_id, _worn_out(row), retry=True)
    return None


def _free_segments(batch_id: int, most: int) -> Select[Any]:
    """Free segments, the least tried first. Locked rows are skipped, so that owners do not queue for the same one."""
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
    """Return the number of the batch's segments that are free to be claimed, and of their frames."""
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
    """List (owner, its batch, number of segments) for the leased segments of this batch, by owner."""
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
    """Claim free segments of the batch in order until they have `frames` frames; at least one where one is free.

    The owner must have made no other claim: `renew_all` and `claims_of` go by its name alone.
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
    """Match the segments that a batch expects by one lookup each: a join or EXISTS makes one database sort them all."""
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
    """Renew the leases of all segments that the owner still holds. Returns their number."""
    mine = (segments.c.owner == owner) & (segments.c.status == "leased")
    return connection.execute(update(segments).where(mine).values(lease_until=database_now(lease_s))).rowcount


def _quarantine(connection: Connection, segment_id: int, reason: str, *, retry: bool = False) -> None:
    """Quarantine a segment. retry: the video is not at fault, so the next batch tries it again"""
    values = {
        "status": "quarantined",
        "reason": storable(reason),
        "retry": retry,
        "finished_at": database_now(),
        **NO_LEASE,
    }
    connection.execute(update(segments).where(segments.c.segment_id == segment_id).values(values))


def held(claim: Claim) -> ColumnElement[bool]:
    """Match the segment's row only while this claim holds it: the fence of every change by a claim."""
    mine = (segments.c.segment_id == claim.segment_id) & (segments.c.attempt == claim.attempt)
    return mine & (segments.c.status == "leased")


def renew(engine: Engine, claim: Claim, lease_s: float) -> bool:
    """Renew the lease from now on. Returns False where the claim is fenced and the work may stop."""
    with writing(engine) as connection:
        changed = update(segments).where(held(claim)).values(lease_until=database_now(lease_s))
        return connection.execute(changed).rowcount == 1


def release(engine: Engine, claim: Claim, reason: str | None) -> bool:
    """Give the segment back after a failure, with its reason, or after a cancellation (None), which counts as no try.

    After MAX_TRIES failures it is quarantined until the next batch. Returns False where the claim is fenced.
    """
    with writing(engine) as connection:
        return give_back(connection, claim, reason)


def give_back(connection: Connection, claim: Claim, reason: str | None) -> bool:
    """Release a claim inside the caller's transaction, like `release`."""
    called_off = 1 if reason is None else 0
    values = {"status": "planned", "tries": segments.c.tries - called_off, "reason": reason and storable(reason)}
    changed = update(segments).where(held(claim)).values({**values, **NO_LEASE}).returning(segments.c.tries)
    tries = connection.execute(changed).scalar_one_or_none()
    if reason is not None and tries is not None and tries >= MAX_TRIES:
        _quarantine(connection, claim.segment_id, f"{tries} attempts failed, the last one: {reason}", retry=True)
    return tries is not None


def quarantine_segment(engine: Engine, claim: Claim, reason: str, *, retry: bool = False) -> bool:
    """Quarantine a segment for a fault of its input. Returns False where the claim is fenced.

    retry: the fault may have passed by the next batch, which tries the segment again
    """
    with writing(engine) as connection:
        mine = connection.execute(select(segments.c.segment_id).where(held(claim)).with_for_update()).first()
        if mine is not None:
            _quarantine(connection, claim.segment_id, reason, retry=retry)
        return mine is not None
