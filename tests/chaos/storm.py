"""SIGKILL at random moments on everything that makes a fleet's batch, and each time what a person would do next."""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from tests.chaos.actors import Actor, Worker, kill, pause, wake
from tests.chaos.stage import LEASE_S, Stage

# What is killed, and how often of a hundred. A run is what dies most: a stick that hangs, memory, a bad cable.
WEIGHTS = {
    "segment process": 40,
    "worker": 12,
    "worker and its runs": 14,
    "decoder": 14,
    "parent": 10,
    "database": 7,
    "Prefect server": 3,
}
PAUSE_SHARE = 0.06  # of the blows: a worker and its runs sleep past their lease, and wake
LIMIT_S = 1200.0  # of one batch without a blow: it hangs


class Storm:
    """kills: how many of each kind; pauses: workers that slept past their lease; ends: of the parent, by exit code"""

    def __init__(self, stage: Stage, seed: int, every_s: float, say: Callable[[str], None] = print) -> None:
        """every_s: the mean time between two blows"""
        self._stage, self._every_s, self._say = stage, every_s, say
        self._chance = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.ends: Counter[int] = Counter()
        self.pauses = 0
        self._asleep: dict[str, tuple[float, list[psutil.Process]]] = {}

    @property
    def total(self) -> int:
        return self.kills.total()

    def blow_over(self, archive: Path, kills: int, *options: str) -> None:
        """A batch over the archive while `kills` more are dealt; goes on, undisturbed, until it is complete."""
        parent = self._stage.parent(archive, *options)
        until = self.total + kills
        parent.start()
        try:
            calm_since = next_blow = time.monotonic()
            at_work = False
            while not self._is_complete(parent):
                time.sleep(0.1)
                self._wake()
                at_work = at_work or any(worker.decoders() for worker in self._stage.workers)
                if at_work and self.total < until and time.monotonic() > next_blow:
                    self._strike(parent)
                    calm_since, next_blow = time.monotonic(), self._later()
                assert time.monotonic() - calm_since < LIMIT_S, f"hangs: see {parent.home}/log"
        finally:
            self._wake(all_of_them=True)
            parent.end()

    def _later(self) -> float:
        return time.monotonic() + self._chance.uniform(0.2, 2 * self._every_s)

    def _is_complete(self, parent: Actor) -> bool:
        """Ended with 0: nothing is missing. Ended otherwise, it is started again, as a person or systemd does."""
        if parent.lives or parent.process is None:
            return False
        code = int(parent.process.returncode)
        self.ends[code] += 1
        if code == 0:
            return True
        if code != -signal.SIGKILL:
            self._say(f"the parent ended by itself with {code}: {last_line(parent.home / 'log')}")
            time.sleep(1)
        parent.start()
        return False

    def _strike(self, parent: Actor) -> None:
        for worker in self._stage.workers:
            if not worker.lives:  # ended by itself: an outage of the server was too long for it
                worker.start()
        awake = [worker for worker in self._stage.workers if worker.name not in self._asleep]
        at_work = [worker for worker in awake if worker.decoders()]
        if not self.total and at_work:  # else a short draw might interrupt nothing
            self.kills["worker and its runs"] += self._deal_to("worker and its runs", at_work[0])
            return
        if self._chance.random() < PAUSE_SHARE and len(awake) > 1:
            self._pause(self._chance.choice(awake))
            return
        for _ in range(20):  # until there is one of the kind to kill
            kind = self._chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            if self._deal(kind, parent, self._chance.choice(awake)):
                self.kills[kind] += 1
                return

    def _deal(self, kind: str, parent: Actor, worker: Worker) -> int:
        """1, or 0 where there was nothing of the kind to kill."""
        if kind == "parent":
            return parent.kill()
        if kind == "database":
            self._stage.database.kill()
            time.sleep(self._chance.uniform(0.2, 3))
            self._stage.database.start()
            return 1
        if kind == "Prefect server":
            self._stage.prefect.kill()
            time.sleep(self._chance.uniform(0.2, 2))
            self._stage.prefect.start()
            return 1
        return self._deal_to(kind, worker)

    def _deal_to(self, kind: str, worker: Worker) -> int:
        if kind == "worker":
            killed = worker.kill()
            worker.start()
            return killed
        if kind == "worker and its runs":
            killed = min(1, kill(worker.everything()))
            if worker.process is not None:
                worker.process.wait()
            worker.start()
            return killed
        if kind == "decoder":
            return self._end_one(worker.decoders(), self._chance.choice(["SIGKILL", "SIGTERM"]))
        return self._end_one(worker.runs(), "SIGKILL")

    def _end_one(self, victims: list[psutil.Process], name: str) -> int:
        """1, or 0 where there is nobody."""
        if not victims:
            return 0
        with suppress(psutil.NoSuchProcess):
            self._chance.choice(victims).send_signal(signal.Signals[name])
            return 1
        return 0

    def _pause(self, worker: Worker) -> None:
        sleepers = worker.everything()
        pause(sleepers)
        self._asleep[worker.name] = (time.monotonic() + LEASE_S * self._chance.uniform(1.3, 1.8), sleepers)
        self.pauses += 1

    def _wake(self, all_of_them: bool = False) -> None:
        for name, (until, sleepers) in list(self._asleep.items()):
            if all_of_them or time.monotonic() > until:
                wake(sleepers)
                del self._asleep[name]


def last_line(path: Path) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()] if path.exists() else []
    return lines[-1][:300] if lines else ""
