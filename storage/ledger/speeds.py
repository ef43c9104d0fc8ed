"""Speed of each worker, and a batch's time outside of inference, from the ledger. No estimate."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from statistics import median
from typing import Any, NamedTuple

from sqlalchemy import Engine, Row, Select, func, or_, select

from storage.sql.clock import epoch_s
from storage.sql.database import reading
from storage.sql.tables import assignments, batches, segments

# Nights differ and sticks age, so only the newest batches count: by number, so that an absent worker keeps its speed.
SPEED_BATCHES = 30
SPEED_SEGMENTS = 500
OVERHEAD_BATCHES = 10


class WorkerSpeed(NamedTuple):
    """One worker with one device and one model version. wall_s: of its newest segments together; last_at: the newest"""

    worker: str
    device: str
    frames: int
    wall_s: float
    last_at: datetime

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.wall_s


class Overhead(NamedTuple):
    """Time that a batch takes outside of its frames, seconds; medians of the newest batches.

    start_s: from the end of the listing to the first segment's start: opening devices, compiling models, starting runs
    segment_s: of one worker, between two of its segments
    end_s: from the last segment to the account: drawing pictures
    """

    start_s: float = 0.0
    segment_s: float = 0.0
    end_s: float = 0.0


def measured_speeds(engine: Engine, model_version_id: int) -> list[WorkerSpeed]:
    """Return the speed of each worker and device with this model version, by its segments in the newest batches.

    The device that a worker used last comes last.
    """
    age = func.row_number().over(
        partition_by=(segments.c.worker, segments.c.device), order_by=segments.c.finished_at.desc()
    )
    columns = (segments.c[name] for name in ("worker", "device", "frames_done", "wall_s", "finished_at"))
    done = (segments.c.status == "done") & (segments.c.wall_s > 0) & (segments.c.frames_done > 0)
    mine = segments.c.batch_id.in_(_newest(model_version_id, SPEED_BATCHES))
    newest = select(*columns, age.label("age")).where(mine, done).subquery()
    last_at = func.max(newest.c.finished_at)
    rows = (
        select(newest.c.worker, newest.c.device, func.sum(newest.c.frames_done), func.sum(newest.c.wall_s), last_at)
        .where(newest.c.age <= SPEED_SEGMENTS)
        .group_by(newest.c.worker, newest.c.device)
        .order_by(newest.c.worker, last_at)
    )
    with reading(engine) as connection:
        return [WorkerSpeed(*row) for row in connection.execute(rows)]


def _newest(model_version_id: int, most: int) -> Select[tuple[int]]:
    """Newest batches with at least one completed segment."""
    did = or_(batches.c.segments_done > 0, batches.c.status == "running")
    mine = (batches.c.model_version_id == model_version_id) & did
    return select(batches.c.batch_id).where(mine).order_by(batches.c.batch_id.desc()).limit(most)


def last_devices(engine: Engine) -> dict[str, str]:
    """Map each worker to the device that it had when it last received segments, of any model."""
    last_at = func.max(assignments.c.granted_at)
    rows = (
        select(assignments.c.worker, assignments.c.device)
        .where(assignments.c.granted_at.is_not(None))
        .group_by(assignments.c.worker, assignments.c.device)
        .order_by(last_at)
    )
    with reading(engine) as connection:
        return {row.worker: row.device for row in connection.execute(rows)}


def measured_overhead(engine: Engine, model_version_id: int, dispatch: str) -> Overhead:
    """Overhead of the newest ended batches of this model version and dispatch; zero where there is none.

    A segment's start is its end minus its duration, as the ledger has no other time. In a fleet it is late by the
    second that passes until its result is found.
    """
    newest = _newest(model_version_id, OVERHEAD_BATCHES).where(
        batches.c.dispatch == dispatch, batches.c.status.in_(("completed", "incomplete"))
    )
    ended = epoch_s(segments.c.finished_at)
    measures = {
        "batch_id": segments.c.batch_id,
        "started": epoch_s(batches.c.started_at),
        "finished": epoch_s(batches.c.finished_at),
        "listed": func.max(epoch_s(segments.c.planned_at)),
        "first": func.min(ended - segments.c.wall_s),
        "last": func.max(ended),
        "busy": func.sum(segments.c.wall_s),
        "done": func.count(),
    }
    rows = (
        select(*(column.label(name) for name, column in measures.items()))
        .join(batches, batches.c.batch_id == segments.c.batch_id)
        .where(segments.c.batch_id.in_(newest), segments.c.status == "done", segments.c.wall_s > 0)
        .group_by(segments.c.batch_id, segments.c.worker, batches.c.started_at, batches.c.finished_at)
    )
    by_batch: dict[int, list[Row[Any]]] = defaultdict(list)
    with reading(engine) as connection:
        for row in connection.execute(rows):
            by_batch[row.batch_id].append(row)
    return _typical([_overhead(workers) for workers in by_batch.values()])


def _overhead(workers: Sequence[Row[Any]]) -> tuple[float, float | None, float]:
    """Compute a batch's overhead from one row per worker. Results that were only loaded give no negative times."""
    listed = max(workers[0].started, *(row.listed for row in workers))
    gaps = sum(max(0.0, row.last - row.first - row.busy) for row in workers)
    between = sum(row.done - 1 for row in workers)
    start_s = max(0.0, min(row.first for row in workers) - listed)
    end_s = max(0.0, workers[0].finished - max(row.last for row in workers))
    return start_s, gaps / between if between else None, end_s


def _typical(nights: list[tuple[float, float | None, float]]) -> Overhead:
    if not nights:
        return Overhead()
    gaps = [gap for _, gap, _ in nights if gap is not None]
    return Overhead(
        start_s=median(start for start, _, _ in nights),
        segment_s=median(gaps) if gaps else 0.0,
        end_s=median(end for _, _, end in nights),
    )
