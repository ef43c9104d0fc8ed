"""Run reading processes over many inputs, and count the outcomes."""

import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
START_LIMIT_S = 180.0  # to import TensorFlow and make the seeds
HANG_S = 120.0  # for one input


@dataclass
class Tally:
    """Outcomes of one kind of input. faults: a text for each crash, hang, unexpected error and file written outside."""

    kind: str
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    peak_mb: float = 0.0
    child_peak_mb: float = 0.0

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.outcomes.items()))
        peaks = f"peak {self.peak_mb:.0f} MB, of its children {self.child_peak_mb:.0f} MB"
        return f"{self.kind:9} {sum(self.outcomes.values()):6}: {counts}; {peaks}; {len(self.faults)} faults"


def fuzz(kind: str, count: int, seed: int) -> Tally:
    """Read `count` damaged inputs of this kind. A process that dies or hangs is replaced."""
    tally, next_number = Tally(kind), 0
    with tempfile.TemporaryDirectory(prefix="nightjar-fuzz-") as scratch:
        room = Path(scratch) / "a" / "b" / "room"
        while next_number < count:
            room.mkdir(parents=True)
            before = _outside(room)
            next_number = _run(tally, kind, seed, next_number, count, room)
            written = _outside(room) - before
            tally.faults += [f"{kind}: written outside of its folder: {path}" for path in sorted(written)]
            shutil.rmtree(room.parents[1])
    return tally


def _outside(room: Path) -> set[str]:
    """List files next to and above the process's folder and in the checkout, which paths out of it could reach."""
    folders = (room.parent, room.parents[1], room.parents[2], ROOT)
    return {str(path) for folder in folders for path in folder.iterdir() if not path.name.startswith((".", "__"))}


def _run(tally: Tally, kind: str, seed: int, first: int, stop: int, folder: Path) -> int:
    """Run one process until it has read all inputs or has ended. Returns the number of the next input."""
    command = [sys.executable, "-m", "tests.fuzz.reader", kind, str(seed), str(first), str(stop)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder), "HOME": str(folder)}
    ready, number, how = False, first - 1, None
    with (folder / "stderr").open("w+") as said:
        reader = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=said, text=True)
        try:
            for line in _lines(reader):
                report = json.loads(line)
                ready = True
                number = report.get("number", number)
                _note(tally, report)
        except TimeoutError:
            how = f"hung for {HANG_S:g} s"
        finally:
            reader.kill()
            code = reader.wait()
        if not ready:
            raise RuntimeError(f"The process did not start: {(folder / 'stderr').read_text()[-2000:]}")
    if how is None and number + 1 < stop:
        how = f"died with exit code {code}"
    if how is None:
        return stop
    tally.outcomes["lost"] += 1
    tally.faults.append(f"{kind} {number + 1}, seed {seed}: {how}")
    return number + 2


def _lines(reader: "subprocess.Popen[str]") -> Iterator[str]:
    """Yield the process's lines. Raises TimeoutError if none arrives in time."""
    assert reader.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(reader.stdout, selectors.EVENT_READ)
        limit_s = START_LIMIT_S
        while True:
            if not selector.select(limit_s):
                raise TimeoutError
            line = reader.stdout.readline()
            if not line:  # it closed its output: it is ending, or has ended
                reader.wait(START_LIMIT_S)
                return
            limit_s = HANG_S
            yield line


def _note(tally: Tally, report: dict[str, Any]) -> None:
    mine, children = report.get("peak_mb", (0.0, 0.0))
    tally.peak_mb, tally.child_peak_mb = max(tally.peak_mb, mine), max(tally.child_peak_mb, children)
    if "outcome" in report:
        tally.outcomes[report["outcome"]] += 1
        if report["outcome"] == "fault":
            tally.faults.append(f"{tally.kind} {report['number']}: {report['text']}")
