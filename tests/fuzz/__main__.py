"""Read damaged inputs of every kind, and count the outcomes: `python -m tests.fuzz`. It exits with 1 after a fault."""

import argparse
import sys
import time

from tests.fuzz.campaign import fuzz

COUNTS = {"videos": 10_000, "pictures": 2_000, "models": 500, "onnx": 500, "results": 500, "messages": 500}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time; printed, for repetition")
    for kind, count in COUNTS.items():
        parser.add_argument(f"--{kind}", type=int, default=count, metavar="N", help=f"default {count}")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    faults: list[str] = []
    for kind in COUNTS:
        begun = time.monotonic()
        tally = fuzz(kind, getattr(options, kind), options.seed)
        print(f"{tally}; {time.monotonic() - begun:.0f} s", flush=True)
        faults += tally.faults
    print("\n".join(faults) or "0 crashes, 0 hangs, nothing written outside")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
