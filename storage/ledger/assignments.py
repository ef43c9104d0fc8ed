"""Assignments of a fleet's runs: a waiting run receives segments that are leased in its name. No store, no Prefect.

An assignment is `waiting` (its run was requested), `working` (it holds segments), and then `done`, `lost` (silent
past its lease, crashed, its device gone) or `dismissed` (no work was left for it). Each function is one
transaction.
"""

import secrets
from dataclasses import dataclass

from sqlalchemy import Engine, Row, exists, insert, literal, select, update

from storage.ledger import leases as ledger
from storage.ledger.leases import Claim
from storage.sql.clock import database_now
from storage.sql.database import reading, storable, writing
from storage.sql.tables import assignments, batches, segments

OPEN = assignments.c.status.in_(("waiting", "working"))


@dataclass(frozen=True)
class Assignment:
    """One row of the table. flow_run_id: None until Prefect has created a run for it"""

    assignment_id: str
    batch_id: int
    flow_run_id: str | None
    status: str
    worker: str | None
    device: str | None
    frames: int

    @property
    def owner(self) -> str:
        return owner_of(self.assignment_id)


def owner_of(assignment_id: str) -> str:
    """Owner of its leases: the assignment itself, so that they outlive the dispatching process."""
    return f"assignment:{assignment_id}"


# The same in SQL, for a row of assignments.
OWNER = literal(owner_of("")) + assignments.c.assignment_id


def create(engine: Engine, batch_id: int) -> Assignment:
    """Create a waiting assignment. Its id begins with its batch, so that the messages of a batch sort together."""
    assignment_id = f"{batch_id:08x}-{secrets.token_hex(8)}"
    values = {"assignment_id": assignment_id, "batch_id": batch_id, "status": "waiting", "segments": 0, "frames": 0}
    with writing(engine) as connection:
        connection.execute(insert(assignments).values(**values, created_at=database_now()))
    return Assignment(assignment_id, batch_id, None, "waiting", None, None, 0)


def set_flow_run(engine: Engine, assignment_id: str, flow_run_id: str) -> None:
    """Record the Prefect run that works on the assignment."""
    mine = assignments.c.assignment_id == assignment_id
    with writing(engine) as connection:
        connection.execute(update(assignments).where(mine).values(flow_run_id=flow_run_id))


def open_assignments(engine: Engine, batch_id: int) -> list[Assignment]:
    """List the assignments of the batch that have not ended, in the order of their creation."""
    rows = select(assignments).where(assignments.c.batch_id == batch_id, OPEN).order_by(assignments.c.created_at)
    with reading(engine) as connection:
        return [_assignment(row) for row in connection.execute(rows)]


def _assignment(row: Row[tuple[object, ...]]) -> Assignment:
    return Assignment(*(row._mapping[name] for name in Assignment.__dataclass_fields__))


def grant(engine: Engine, assignment: Assignment, worker: str, device: str, frames: int, lease_s: float) -> list[Claim]:
    """Lease segments of about this many frames to a waiting assignment; where none is free, it keeps waiting.

    A repeated call, after a lost answer, returns the same segments. None for an assignment that has ended.
    """
    mine = assignments.c.assignment_id == assignment.assignment_id
    with writing(engine) as connection:
        status = connection.execute(select(assignments.c.status).where(mine).with_for_update()).scalar()
        if status != "waiting":
            return ledger.claims_of(connection, assignment.owner) if status == "working" else []
        claims = ledger.claim_many(connection, assignment.batch_id, assignment.owner, lease_s, frames)
        if claims:
            given = {"segments": len(claims), "frames": sum(claim.segment.frames for claim in claims)}
            values = {"status": "working", "worker": worker, "device": device, **given}
            connection.execute(update(assignments).where(mine).values(**values, granted_at=database_now()))
        return claims


def claims(engine: Engine, assignment_id: str) -> list[Claim]:
    """Return the segments that the assignment holds now."""
    with reading(engine) as connection:
        return ledger.claims_of(connection, owner_of(assignment_id))


def renew(engine: Engine, assignment_id: str, lease_s: float) -> int:
    """Renew the leases of all segments that the assignment holds. Returns their number."""
    with writing(engine) as connection:
        return ledger.renew_all(connection, owner_of(assignment_id), lease_s)


def lapsed(engine: Engine, batch_id: int) -> list[Assignment]:
    """List the assignments that hold a segment with an expired lease, by the database's clock."""
    silent = exists().where(
        segments.c.owner == OWNER, segments.c.status == "leased", segments.c.lease_until < database_now()
    )
    rows = select(assignments).where(assignments.c.batch_id == batch_id, OPEN, silent)
    with reading(engine) as connection:
        return [_assignment(row) for row in connection.execute(rows)]


def end(
    engine: Engine, assignment_id: str, status: str, reason: str | None = None, in_progress: Claim | None = None
) -> int:
    """Free the segments of an assignment that ended. Returns their number; a second call changes nothing.

    in_progress: the segment that was being processed, which counts as tried; the others do not
    """
    mine = (assignments.c.assignment_id == assignment_id) & OPEN
    values = {"status": status, "reason": reason and storable(reason)}
    with writing(engine) as connection:
        left = ledger.claims_of(connection, owner_of(assignment_id))
        for claim in left:
            tried = in_progress is not None and claim.segment_id == in_progress.segment_id
            ledger.give_back(connection, claim, (reason or status) if tried else None)
        connection.execute(update(assignments).where(mine).values(**values, ended_at=database_now()))
        return len(left)


def adopt(engine: Engine, batch_id: int) -> int:
    """Adopt the work of ended batches' runs over the same archive and model for this batch.

    Their segments count for this batch, which has to expect them. Returns the number of assignments.
    """
    me = select(batches).where(batches.c.batch_id == batch_id)
    with writing(engine) as connection:
        batch = connection.execute(me).one()
        alike = (batches.c.archive == batch.archive) & (batches.c.model_version_id == batch.model_version_id)
        ended = select(batches.c.batch_id).where(alike, batches.c.status != "running")
        orphans = assignments.c.batch_id.in_(ended) & OPEN
        owners = select(OWNER).where(orphans)
        connection.execute(update(segments).where(segments.c.owner.in_(owners)).values(batch_id=batch_id))
        return connection.execute(update(assignments).where(orphans).values(batch_id=batch_id)).rowcount
