"""One process that reads damaged inputs like the product: `python -m tests.fuzz.reader KIND SEED FIRST STOP`.

It prints one JSON line per input. The fuzzer that started it detects whether it lives, hangs or dies.
"""

import importlib
import json
import random
import resource
import sys
from contextlib import ExitStack
from pathlib import Path

from models.types import NightjarError
from tasks.benchmark.machine import peak_memory_bytes
from tests.fuzz.targets import TARGETS, Target


def main(kind: str, seed: int, first: int, stop: int) -> None:
    with ExitStack() as held:
        read = target(kind)(Path.cwd(), held)
        print(json.dumps({"ready": True}), flush=True)
        for number in range(first, stop):
            outcome, text = "read", ""
            try:
                read(random.Random(f"{kind} {seed} {number}"))
            except NightjarError as error:
                outcome, text = "refused", str(error)[:200]
            except Exception as error:
                outcome, text = "fault", f"{type(error).__name__}: {error}"[:500]
            print(json.dumps({"number": number, "outcome": outcome, "text": text, "peak_mb": peak_mb()}), flush=True)
    print(json.dumps({"peak_mb": peak_mb()}), flush=True)  # of the children, too


def target(kind: str) -> Target:
    """Return the target of this name, or of `MODULE:NAME`."""
    module, _, name = kind.partition(":")
    found: Target = getattr(importlib.import_module(module), name) if name else TARGETS[kind]
    return found


def peak_mb() -> tuple[float, float]:
    """Return the largest resident memory so far, of this process and of its children that have ended.

    ru_maxrss of a process begins with the peak of the process that forked it, here the whole test suite. The kernel's
    VmHWM starts again with the program. For ended children only ru_maxrss is available: never less than their own
    peak, and never less than this process's.
    """
    children_kb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak_memory_bytes() / (1 << 20), children_kb / 1024


if __name__ == "__main__":
    main(sys.argv[1], *(int(value) for value in sys.argv[2:5]))
