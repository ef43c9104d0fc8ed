"""Kills of the decoder only during a local batch: by SIGKILL, like the kernel without memory, or by SIGTERM."""

import math
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil

from tests.chaos.environment import FleetEnvironment
from tests.chaos.fleet_kills import last_line
from tests.chaos.processes import ManagedProcess

SIGNALS = (signal.SIGKILL, signal.SIGTERM)
LIMIT_S = 600.0  # of one batch, which is stuck after that


class DecoderKills:
    """Kills of decoders. kills: number by signal; ends: of the batch, by exit code"""

    def __init__(self, fleet: FleetEnvironment, seed: int, every_s: float) -> None:
        """Prepare the kills. every_s: mean life of a decoder"""
        self._fleet, self._every_s, self._chance = fleet, every_s, random.Random(seed)
        self._ends: dict[psutil.Process, float] = {}
        self.kills: Counter[str] = Counter()
        self.ends: Counter[int] = Counter()

    @property
    def total(self) -> int:
        return self.kills.total()

    def run_batch(self, archive: Path, kills: int) -> None:
        """Run a batch while its decoders are killed, and repeat it until it is complete."""
        night = self._fleet.local_night(archive)
        until, deadline = self.total + kills, time.monotonic() + LIMIT_S
        night.start()
        try:
            while not self._is_complete(night):
                assert time.monotonic() < deadline, f"The batch is stuck: {last_line(night.home / 'log')}"
                if self.total < until:
                    self._kill_if_due(night)
                time.sleep(0.05)
        finally:
            night.end()

    def _kill_if_due(self, night: ManagedProcess) -> None:
        """Kill a decoder at its time, which is drawn when the decoder is first found: at its start, or at work."""
        now = time.monotonic()
        self._ends = {
            decoder: self._ends.get(decoder) or now + self._chance.uniform(0.1, 2 * self._every_s)
            for decoder in decoders(night)
        }
        due = next((decoder for decoder, end in self._ends.items() if now > end), None)
        if due is not None:
            self._kill(due)
            self._ends[due] = math.inf  # once

    def _is_complete(self, night: ManagedProcess) -> bool:
        if night.is_running or night.process is None:
            return False
        self.ends[int(night.process.returncode)] += 1
        if night.process.returncode == 0:
            return True
        night.start()
        return False

    def _kill(self, decoder: psutil.Process) -> None:
        number = self._chance.choice(SIGNALS)
        with suppress(psutil.Error):
            decoder.send_signal(number)
            self.kills[f"local decoder, {number.name}"] += 1


def decoders(night: ManagedProcess) -> list[psutil.Process]:
    """Find the sandboxes of a local batch, which are children of its process."""
    with suppress(psutil.Error):
        if night.process is not None:
            children = psutil.Process(night.process.pid).children()
            return [child for child in children if "sandbox" in " ".join(child.cmdline())]
    return []
