"""SIGKILL at random moments to all processes of a fleet's batch, each followed by a user's next step."""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from tests.chaos.environment import LEASE_S, FleetEnvironment
from tests.chaos.processes import ManagedProcess, Worker, kill, pause, resume

# Kind of process -> its share of the kills in percent. Runs die most often: a stuck stick, memory, a bad cable.
WEIGHTS = {
    "segment process": 40,
    "worker": 12,
    "worker and its runs": 14,
    "decoder": 14,
    "parent": 10,
    "database": 7,
    "Prefect server": 3,
}
PAUSE_SHARE = 0.06  # of the faults: a worker and its runs pause until after their lease, and continue
LIMIT_S = 1200.0  # of one batch after its last fault; then it is stuck


class FleetKills:
    """Kills of a fleet. kills: number by kind; pauses: workers paused past their lease; ends: of the parent, by code"""

    def __init__(self, fleet: FleetEnvironment, seed: int, every_s: float, say: Callable[[str], None] = print) -> None:
        """Prepare the kills. every_s: mean time between two faults"""
        self._fleet, self._every_s, self._say = fleet, every_s, say
        self._chance = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.ends: Counter[int] = Counter()
        self.pauses = 0
        self._asleep: dict[str, tuple[float, list[psutil.Process]]] = {}

    @property
    def total(self) -> int:
        return self.kills.total()

    def run_batch(self, archive: Path, kills: int, *options: str) -> None:
        """Run a batch over the archive with `kills` more kills, then undisturbed until it is complete."""
        parent = self._fleet.parent(archive, *options)
        until = self.total + kills
        parent.start()
        try:
            calm_since = next_fault_at = time.monotonic()
            at_work = False
            while not self._is_complete(parent):
                time.sleep(0.1)
                self._resume()
                at_work = at_work or any(worker.decoders() for worker in self._fleet.workers)
                if at_work and self.total < until and time.monotonic() > next_fault_at:
                    self._kill_if_due(parent)
                    calm_since, next_fault_at = time.monotonic(), self._next_fault_at()
                assert time.monotonic() - calm_since < LIMIT_S, f"The batch is stuck. See {parent.home}/log"
        finally:
            self._resume(all_of_them=True)
            parent.end()

    def _next_fault_at(self) -> float:
        return time.monotonic() + self._chance.uniform(0.2, 2 * self._every_s)

    def _is_complete(self, parent: ManagedProcess) -> bool:
        """Return whether the parent ended with 0. After another exit code it is started again, like by systemd."""
        if parent.is_running or parent.process is None:
            return False
        code = int(parent.process.returncode)
        self.ends[code] += 1
        if code == 0:
            return True
        if code != -signal.SIGKILL:
            self._say(f"The parent ended by itself with {code}: {last_line(parent.home / 'log')}")
            time.sleep(1)
        parent.start()
        return False

    def _kill_if_due(self, parent: ManagedProcess) -> None:
        for worker in self._fleet.workers:
            if not worker.is_running:  # it ended by itself after a long outage of the server
                worker.start()
        awake = [worker for worker in self._fleet.workers if worker.name not in self._asleep]
        at_work = [worker for worker in awake if worker.decoders()]
        if not self.total and at_work:  # otherwise a short campaign might interrupt nothing
            self.kills["worker and its runs"] += self._kill_of_worker("worker and its runs", at_work[0])
            return
        if self._chance.random() < PAUSE_SHARE and len(awake) > 1:
            self._pause(self._chance.choice(awake))
            return
        for _ in range(20):  # until a process of the kind exists
            kind = self._chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            if self._kill_kind(kind, parent, self._chance.choice(awake)):
                self.kills[kind] += 1
                return

    def _kill_kind(self, kind: str, parent: ManagedProcess, worker: Worker) -> int:
        """Kill one process of the kind. Returns 1, or 0 where there was none."""
        if kind == "parent":
            return parent.kill()
        if kind == "database":
            self._fleet.database.kill()
            time.sleep(self._chance.uniform(0.2, 3))
            self._fleet.database.start()
            return 1
        if kind == "Prefect server":
            self._fleet.prefect.kill()
            time.sleep(self._chance.uniform(0.2, 2))
            self._fleet.prefect.start()
            return 1
        return self._kill_of_worker(kind, worker)

    def _kill_of_worker(self, kind: str, worker: Worker) -> int:
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
            return self._kill_one(worker.decoders(), self._chance.choice(["SIGKILL", "SIGTERM"]))
        return self._kill_one(worker.runs(), "SIGKILL")

    def _kill_one(self, victims: list[psutil.Process], name: str) -> int:
        """Kill one of the processes. Returns 1, or 0 where there is none."""
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

    def _resume(self, all_of_them: bool = False) -> None:
        for name, (until, sleepers) in list(self._asleep.items()):
            if all_of_them or time.monotonic() > until:
                resume(sleepers)
                del self._asleep[name]


def last_line(path: Path) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()] if path.exists() else []
    return lines[-1][:300] if lines else ""
