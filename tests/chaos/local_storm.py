"""Kills of the decoder alone, over a local night: by SIGKILL, as the kernel does when memory is out, or by SIGTERM."""

import math
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil

from tests.chaos.actors import Actor
from tests.chaos.stage import Stage
from tests.chaos.storm import last_line

SIGNALS = (signal.SIGKILL, signal.SIGTERM)
LIMIT_S = 600.0  # of one night: it hangs


class LocalStorm:
    """kills: how many by each signal; ends: of the night, by exit code"""

    def __init__(self, stage: Stage, seed: int, every_s: float) -> None:
        """every_s: the mean life of a decoder"""
        self._stage, self._every_s, self._chance = stage, every_s, random.Random(seed)
        self._ends: dict[psutil.Process, float] = {}
        self.kills: Counter[str] = Counter()
        self.ends: Counter[int] = Counter()

    @property
    def total(self) -> int:
        return self.kills.total()

    def blow_over(self, archive: Path, kills: int) -> None:
        """Run a night while its decoders are killed, and run it again until it is complete."""
        night = self._stage.local_night(archive)
        until, deadline = self.total + kills, time.monotonic() + LIMIT_S
        night.start()
        try:
            while not self._is_complete(night):
                assert time.monotonic() < deadline, f"hangs: {last_line(night.home / 'log')}"
                if self.total < until:
                    self._strike(night)
                time.sleep(0.05)
        finally:
            night.end()

    def _strike(self, night: Actor) -> None:
        """Kill a decoder when its time has come, which is drawn when it is first seen: at its start, or at work."""
        now = time.monotonic()
        self._ends = {
            decoder: self._ends.get(decoder) or now + self._chance.uniform(0.1, 2 * self._every_s)
            for decoder in decoders(night)
        }
        due = next((decoder for decoder, end in self._ends.items() if now > end), None)
        if due is not None:
            self._kill(due)
            self._ends[due] = math.inf  # once

    def _is_complete(self, night: Actor) -> bool:
        if night.lives or night.process is None:
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


def decoders(night: Actor) -> list[psutil.Process]:
    """The sandboxes of a local night, which are children of its process."""
    with suppress(psutil.Error):
        if night.process is not None:
            children = psutil.Process(night.process.pid).children()
            return [child for child in children if "sandbox" in " ".join(child.cmdline())]
    return []
