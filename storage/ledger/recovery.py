"""Queries and repairs of a sweep in the ledger: leases, assignments and batches without a live process.

No store, no Prefect. All ages go by the database's clock.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Engine, and_, exists, func, or_, select, update

from storage.ledger.assignments import OPEN as ASSIGNMENT_OPEN
from storage.ledger.assignments import OWNER
from storage.ledger.leases import NO_LEASE
from storage.sql.clock import database_now
from storage.sql.database import reading, writing
from storage.sql.tables import assignments, batch_segments, batches, model_versions, segments, videos

DAY_S = 86400.0
IDS_AT_ONCE = 500  # in one IN (…)
ROWS_AT_ONCE = 10_000


def owners(engine: Engine) -> set[str]:
    """Owners of leases and batches, by name."""
    leasing = select(segments.c.owner).where(segments.c.status == "leased")
    running = select(batches.c.owner).where(batches.c.status == "running")
    with reading(engine) as connection:
        return set(connection.execute(leasing.union(running)).scalars())


def _expired() -> ColumnElement[bool]:
    """Expired leases, without those of an assignment that may still be adopted: `abandoned` finds these."""
    adoptable = select(OWNER).where(ASSIGNMENT_OPEN)
    return and_(
        segments.c.status == "leased", segments.c.lease_until < database_now(), segments.c.owner.not_in(adoptable)
    )


def expired_leases(engine: Engine) -> int:
    """Count the segments that `free_expired` would free."""
    with reading(engine) as connection:
        return int(connection.execute(select(func.count()).where(_expired())).scalar_one())


def free_expired(engine: Engine) -> int:
    """Plan segments with an expired lease again. The interrupted try counts, as in `leases.claim`."""
    values = {"status": "planned", "reason": segments.c.owner + " was silent past its lease", **NO_LEASE}
    with writing(engine) as connection:
        return connection.execute(update(segments).where(_expired()).values(values)).rowcount


class Abandoned(NamedTuple):
    """An assignment without a live parent. held: segments that are leased in its name"""

    assignment_id: str
    status: str
    held: int


def abandoned(engine: Engine, patience_s: float) -> list[Abandoned]:
    """Open assignments that no parent has renewed for `patience_s`: their leases ended, or their batch did.

    A live parent ends them itself, and a restarted one adopts them; the patience leaves time for both.
    """
    mine = (segments.c.owner == OWNER) & (segments.c.status == "leased")
    held = select(func.count()).where(mine).scalar_subquery()
    kept = exists().where(mine, segments.c.lease_until >= database_now(-patience_s))
    forsaken = (batches.c.status != "running") & (batches.c.finished_at < database_now(-patience_s))
    rows = (
        select(assignments.c.assignment_id, assignments.c.status, held)
        .join(batches, batches.c.batch_id == assignments.c.batch_id)
        .where(ASSIGNMENT_OPEN, ~kept, forsaken | (held > 0))
        .order_by(assignments.c.created_at)
    )
    with reading(engine) as connection:
        return [Abandoned(*row) for row in connection.execute(rows)]


def idle_batches(engine: Engine, idle_s: float) -> list[tuple[int, str]]:
    """List (batch_id, owner) of running batches without a valid lease and without a change for `idle_s`."""
    long_ago = database_now(-idle_s)
    leased = exists().where(
        segments.c.batch_id == batches.c.batch_id,
        segments.c.status == "leased",
        segments.c.lease_until >= database_now(),
    )
    moved = exists().where(
        batch_segments.c.batch_id == batches.c.batch_id,
        segments.c.segment_id == batch_segments.c.segment_id,
        segments.c.finished_at >= long_ago,
    )
    asked = exists().where(assignments.c.batch_id == batches.c.batch_id, assignments.c.created_at >= long_ago)
    idle = and_(batches.c.status == "running", batches.c.started_at < long_ago, ~leased, ~moved, ~asked)
    with reading(engine) as connection:
        return [tuple(row) for row in connection.execute(select(batches.c.batch_id, batches.c.owner).where(idle))]


class LedgerSegment(NamedTuple):
    """A segment in the ledger. has_lease: its lease is valid"""

    video_sha256: str
    start_frame: int
    stop_frame: int
    status: str
    has_lease: bool
    result_key: str | None
    result_sha256: str | None


def versions(engine: Engine) -> list[str]:
    """Return the hashes of the model versions that have segments."""
    used = exists().where(segments.c.model_version_id == model_versions.c.model_version_id)
    with reading(engine) as connection:
        return list(connection.execute(select(model_versions.c.version_sha256).where(used)).scalars())


def entries(engine: Engine, version_sha256: str) -> Iterator[LedgerSegment]:
    """Stream all segments of a model version."""
    has_lease = func.coalesce(segments.c.lease_until >= database_now(), False)
    rows = (
        select(
            videos.c.sha256,
            segments.c.start_frame,
            segments.c.stop_frame,
            segments.c.status,
            has_lease,
            segments.c.result_key,
            segments.c.result_sha256,
        )
        .join(videos, videos.c.video_id == segments.c.video_id)
        .join(model_versions, model_versions.c.model_version_id == segments.c.model_version_id)
        .where(model_versions.c.version_sha256 == version_sha256)
        .execution_options(yield_per=ROWS_AT_ONCE)
    )
    with reading(engine) as connection:
        for row in connection.execute(rows):
            yield LedgerSegment(*row)


class LedgerRun(NamedTuple):
    """The ledger's knowledge of one Prefect run.

    what: description for users; owner: of a batch, host:process:start; ended: for longer than the requested grace;
    leasing: it holds a segment with a valid lease
    """

    what: str
    status: str
    ended: bool
    leasing: bool
    owner: str | None


def known_runs(engine: Engine, flow_run_ids: Sequence[str], grace_s: float) -> dict[str, LedgerRun]:
    """Return the ledger's knowledge of these runs, without unknown ones."""
    found: dict[str, LedgerRun] = {}
    for start in range(0, len(flow_run_ids), IDS_AT_ONCE):
        some = list(flow_run_ids[start : start + IDS_AT_ONCE])
        with reading(engine) as connection:
            for run_id, *values in connection.execute(_batch_runs(some, grace_s)).all():
                status, ended, leasing, owner = values[1:]
                found[run_id] = LedgerRun(f"batch {values[0]}", status, ended, leasing, owner)
            for run_id, *values in connection.execute(_assignment_runs(some, grace_s)).all():
                status, ended, leasing = values[1:]
                found[run_id] = LedgerRun(f"assignment {values[0]}", status, ended, leasing, None)
    return found


def _batch_runs(run_ids: list[str], grace_s: float):  # type: ignore[no-untyped-def] # SQLAlchemy's own type is eight deep
    leasing = exists().where(
        segments.c.batch_id == batches.c.batch_id,
        segments.c.status == "leased",
        segments.c.lease_until >= database_now(),
    )
    ended = func.coalesce(batches.c.finished_at < database_now(-grace_s), False)
    columns = (batches.c.flow_run_id, batches.c.batch_id, batches.c.status, ended, leasing, batches.c.owner)
    return select(*columns).where(batches.c.flow_run_id.in_(run_ids)).order_by(batches.c.batch_id)


def _assignment_runs(run_ids: list[str], grace_s: float):  # type: ignore[no-untyped-def]
    leasing = exists().where(
        segments.c.owner == OWNER, segments.c.status == "leased", segments.c.lease_until >= database_now()
    )
    ended = func.coalesce(assignments.c.ended_at < database_now(-grace_s), False)
    columns = (assignments.c.flow_run_id, assignments.c.assignment_id, assignments.c.status, ended, leasing)
    return select(*columns).where(assignments.c.flow_run_id.in_(run_ids))


def recent_runs(engine: Engine, within_s: float) -> list[str]:
    """Ids of the flow runs of batches that started within this time."""
    recent = batches.c.flow_run_id.is_not(None) & (batches.c.started_at >= database_now(-within_s))
    with reading(engine) as connection:
        return [str(run_id) for run_id in connection.execute(select(batches.c.flow_run_id).where(recent)).scalars()]


class LastNight(NamedTuple):
    """An archive's newest batch. late: it started longer ago than the requested limit; began: as started_at"""

    archive: str
    batch_id: int
    started_at: str
    status: str
    error: str | None
    files_listed: int | None
    late: bool
    began: datetime


class NewestBatch(NamedTuple):
    """The newest batch over an archive. running: it has not ended"""

    batch_id: int
    started_at: datetime
    running: bool


def newest_batch(engine: Engine, archive: str) -> NewestBatch | None:
    """Return the newest batch over an archive; None without any."""
    columns = (batches.c.batch_id, batches.c.started_at, batches.c.status == "running")
    newest = select(*columns).where(batches.c.archive == archive).order_by(batches.c.batch_id.desc()).limit(1)
    with reading(engine) as connection:
        row = connection.execute(newest).first()
    return None if row is None else NewestBatch(row[0], row[1], bool(row[2]))


def last_nights(engine: Engine, within_s: float, seen_within_s: float = 14 * DAY_S) -> list[LastNight]:
    """Return the newest batch of each archive that had one within `seen_within_s`."""
    newest = select(func.max(batches.c.batch_id)).where(batches.c.forgotten_at.is_(None)).group_by(batches.c.archive)
    late = batches.c.started_at < database_now(-within_s)
    columns = (batches.c[name] for name in LastNight._fields[:-2])
    rows = select(*columns, late).where(
        batches.c.batch_id.in_(newest),
        or_(batches.c.started_at >= database_now(-seen_within_s), batches.c.status == "running"),
    )
    with reading(engine) as connection:
        found = connection.execute(rows.order_by(batches.c.archive)).all()
    return [
        LastNight(row[0], row[1], f"{row[2]:%Y-%m-%d %H:%M} UTC", row[3], row[4], row[5], bool(row[6]), row[2])
        for row in found
    ]
