"""Estimate of a batch's duration before it starts, from the earlier speeds of each device.

A batch consists of a start (opening devices, compiling models, starting runs), frames shared out by speed, and an end
(pictures). All speeds are read from the ledger's earlier batches; nothing is measured for the estimate alone.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

from models.types import NightjarError
from storage.ledger.account import read_batch, write_estimate
from storage.ledger.batches import SegmentCounts
from storage.ledger.speeds import Overhead, WorkerSpeed, last_devices, measured_overhead, measured_speeds
from tasks.batch.night import NightKey
from tasks.runs.edge_runs import OUTAGES, EdgeRuns
from tasks.site.owner import host_name
from tasks.site.site import Site
from tasks.text.wording import count, duration, kind, rate

log = logging.getLogger(__name__)

NAMED = 4  # workers named in the text
DEVICE_IN_NAME = re.compile(r"[-/](CPU|GPU|NPU|AUTO|MULTI|MYRIAD)\b[^/]*$")


@dataclass(frozen=True)
class Work:
    """Work of this batch that is left."""

    frames: int
    segments: int


@dataclass(frozen=True)
class Worker:
    """An available worker. device: its device; None = not known"""

    name: str
    device: str | None


@dataclass(frozen=True)
class Pace:
    """Assumed speed of a worker. like: source of the speed if the worker itself was never measured"""

    worker: str
    device: str | None
    frames_per_s: float
    like: str | None = None

    def text(self) -> str:
        name = self.worker
        if self.device and not name.endswith(kind(self.device)):
            name = f"{name}/{kind(self.device)}"
        return f"{name} ({rate(self.frames_per_s)}{f', {self.like}' if self.like else ''})"


@dataclass(frozen=True)
class Estimate:
    """Estimated duration. total_s: from the batch's start to its end; None = no worker is online or measured"""

    work: Work
    paces: tuple[Pace, ...]
    workers: int
    total_s: float | None

    def text(self) -> str:
        frames = count(self.work.frames, "frame")
        if not self.workers:
            return f"unknown, as no worker is online: {frames}"
        if self.total_s is None:
            return f"unknown, as this model was never measured here: {frames} by {count(self.workers, 'device')}"
        named = [pace.text() for pace in self.paces[:NAMED]]
        if len(self.paces) > NAMED:
            together = sum(pace.frames_per_s for pace in self.paces)
            named.append(f"{len(self.paces) - NAMED} more ({rate(together)} all together)")
        by = " and ".join(filter(None, (", ".join(named[:-1]), named[-1])))
        return f"about {duration(self.total_s)}: {frames} by {by}"


def estimate(
    work: Work, workers: Sequence[Worker], speeds: Sequence[WorkerSpeed], overhead: Overhead, elapsed_s: float
) -> Estimate:
    """Estimate the duration of the batch. More workers never increase it.

    speeds: of any workers; the device that a worker used last comes last
    elapsed_s: duration of the batch until now
    """
    paces = sorted(
        (pace for worker in workers if (pace := _pace(worker, speeds))),
        key=lambda pace: (-pace.frames_per_s, pace.worker),
    )
    if not paces or not work.segments:
        return Estimate(work, (), len(workers), None)
    # One worker per segment: if there are fewer segments than workers, only the fastest workers count.
    between_s = overhead.segment_s * work.segments / max(work.frames, 1)
    together = sum(1 / (1 / pace.frames_per_s + between_s) for pace in paces[: work.segments])
    total_s = elapsed_s + overhead.start_s + work.frames / together + overhead.end_s
    return Estimate(work, tuple(paces), len(workers), total_s)


def _pace(worker: Worker, speeds: Sequence[WorkerSpeed]) -> Pace | None:
    """Return the worker's speed with this device, else with its last one, else the mean of devices of the same kind."""
    own = [speed for speed in speeds if speed.worker == worker.name]
    fitting = [speed for speed in own if worker.device is None or kind(speed.device) == kind(worker.device)]
    if fitting:
        return Pace(worker.name, fitting[-1].device, fitting[-1].frames_per_s)
    alike = [speed for speed in speeds if worker.device and kind(speed.device) == kind(worker.device)]
    known, like = (
        (alike, f"the mean of all {kind(alike[0].device)} devices") if alike else (speeds, "the mean of all workers")
    )
    if not known:
        return None
    return Pace(worker.name, worker.device, sum(speed.frames_per_s for speed in known) / len(known), like)


def log_estimate(site: Site, key: NightKey, counts: SegmentCounts, dispatch: str, device: str) -> None:
    """Estimate the duration of the batch, log it and record it for the account."""
    engine = site.engine
    work = Work(counts.frames_missing, counts.missing)
    try:
        workers = _fleet(site) if dispatch == "fleet" else [Worker(site.settings.worker_name or host_name(), device)]
    except (NightjarError, *OUTAGES) as error:  # the dispatch waits for Prefect, or raises a better error
        log.warning("The duration cannot be estimated: %s", error)
        return
    speeds = measured_speeds(engine, key.model_version_id)
    overhead = measured_overhead(engine, key.model_version_id, dispatch)
    found = estimate(work, workers, speeds, overhead, read_batch(engine, key.batch_id).took_s)
    write_estimate(engine, key.batch_id, found.total_s)
    log.info("Estimated duration: %s", found.text())


def _fleet(site: Site) -> list[Worker]:
    """List the online workers of the edge pool. A worker without a name is named after its host and device."""
    devices = last_devices(site.engine)
    with EdgeRuns() as runs:
        names = runs.workers()
    return [Worker(name, devices.get(name) or named_device(name)) for name in names]


def named_device(worker: str) -> str | None:
    found = DEVICE_IN_NAME.search(worker)
    return found[1] if found else None
