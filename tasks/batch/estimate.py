"""Estimate of a night's duration before it starts, from the speeds that each device had before.

Model: what is left of a batch is a start (devices opened, models compiled, runs started), frames shared out by speed,
and an end (pictures). Nothing is measured for it alone: all of it is in the ledger of earlier batches.
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

NAMED = 4  # workers that the text names
DEVICE_IN_NAME = re.compile(r"[-/](CPU|GPU|NPU|AUTO|MULTI|MYRIAD)\b[^/]*$")


@dataclass(frozen=True)
class Work:
    """Work to be done tonight."""

    frames: int
    segments: int


@dataclass(frozen=True)
class Hand:
    """A worker available tonight. device: its device, as far as it is known"""

    worker: str
    device: str | None


@dataclass(frozen=True)
class Pace:
    """Assumed speed of a worker. like: the worker whose speed it is, where its own was never measured"""

    worker: str
    device: str | None
    frames_per_s: float
    like: str | None = None

    def text(self) -> str:
        who = self.worker
        if self.device and not who.endswith(kind(self.device)):
            who = f"{who}/{kind(self.device)}"
        return f"{who} ({rate(self.frames_per_s)}{f', taken for {self.like}' if self.like else ''})"


@dataclass(frozen=True)
class Estimate:
    """total_s: from the batch's start to its end; None where nobody is there, or nobody was ever measured"""

    work: Work
    paces: tuple[Pace, ...]
    hands: int
    total_s: float | None

    def text(self) -> str:
        frames = count(self.work.frames, "frame")
        if not self.hands:
            return f"not known, no worker is online: {frames}"
        if self.total_s is None:
            return f"not measured yet: {frames} by {count(self.hands, 'device')} that this model never ran on"
        named = [pace.text() for pace in self.paces[:NAMED]]
        if len(self.paces) > NAMED:
            together = sum(pace.frames_per_s for pace in self.paces)
            named.append(f"{len(self.paces) - NAMED} more ({rate(together)} all together)")
        by = " and ".join(filter(None, (", ".join(named[:-1]), named[-1])))
        return f"about {duration(self.total_s)}: {frames} by {by}"


def estimate(
    work: Work, hands: Sequence[Hand], speeds: Sequence[WorkerSpeed], overhead: Overhead, elapsed_s: float
) -> Estimate:
    """elapsed_s: of the batch, until now. More hands never make it longer.

    speeds: of any workers, a worker's device of last time last
    """
    paces = sorted(
        (pace for hand in hands if (pace := _pace(hand, speeds))), key=lambda pace: (-pace.frames_per_s, pace.worker)
    )
    if not paces or not work.segments:
        return Estimate(work, (), len(hands), None)
    # A segment is done by one: of more hands than segments, the fastest ones count.
    between_s = overhead.segment_s * work.segments / max(work.frames, 1)
    together = sum(1 / (1 / pace.frames_per_s + between_s) for pace in paces[: work.segments])
    total_s = elapsed_s + overhead.start_s + work.frames / together + overhead.end_s
    return Estimate(work, tuple(paces), len(hands), total_s)


def _pace(hand: Hand, speeds: Sequence[WorkerSpeed]) -> Pace | None:
    """Return the worker's own pace with this device, else with its last one, else the mean of workers of its kind."""
    own = [speed for speed in speeds if speed.worker == hand.worker]
    fitting = [speed for speed in own if hand.device is None or kind(speed.device) == kind(hand.device)]
    if fitting:
        return Pace(hand.worker, fitting[-1].device, fitting[-1].frames_per_s)
    alike = [speed for speed in speeds if hand.device and kind(speed.device) == kind(hand.device)]
    known, like = (alike, f"a {kind(alike[0].device)}") if alike else (speeds, "the mean of all")
    if not known:
        return None
    return Pace(hand.worker, hand.device, sum(speed.frames_per_s for speed in known) / len(known), like)


def foretell(site: Site, key: NightKey, counts: SegmentCounts, dispatch: str, device: str) -> None:
    """Say how long the batch will take, and write it down for the account."""
    engine = site.engine
    work = Work(counts.frames_missing, counts.missing)
    try:
        hands = _fleet(site) if dispatch == "fleet" else [Hand(site.settings.worker_name or host_name(), device)]
    except (NightjarError, *OUTAGES) as error:  # the dispatch waits for Prefect, or fails with a better text
        log.warning("how long it will take cannot be said: %s", error)
        return
    speeds = measured_speeds(engine, key.model_version_id)
    overhead = measured_overhead(engine, key.model_version_id, dispatch)
    found = estimate(work, hands, speeds, overhead, read_batch(engine, key.batch_id).took_s)
    write_estimate(engine, key.batch_id, found.total_s)
    log.info("estimate: %s", found.text())


def _fleet(site: Site) -> list[Hand]:
    """List the online workers of the edge pool. A worker without a name is called by its host and its device."""
    devices = last_devices(site.engine)
    with EdgeRuns() as runs:
        names = runs.workers()
    return [Hand(name, devices.get(name) or named_device(name)) for name in names]


def named_device(worker: str) -> str | None:
    found = DEVICE_IN_NAME.search(worker)
    return found[1] if found else None
