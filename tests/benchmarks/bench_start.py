"""Seconds that commands take to start and answer: `python -m tests.benchmarks.bench_start`.

Each in a process of its own, as a person types it: a model is converted in a new home, an archive of one short film is
processed, and again while nothing is new. No Prefect server runs beforehand.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tasks.model.names import DEMO_MODEL
from tests.videos import make_video

NIGHTJAR = Path(sys.executable).with_name("nightjar")
FRAMES = 50


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    took: dict[str, list[float]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="nightjar-start-") as scratch:
            measure(Path(scratch), took)
    print(f"seconds, medians of {rounds} (least to most), load {os.getloadavg()[0]:.1f}")
    for title, seconds in took.items():
        print(f"  {title:58} {median(seconds):5.1f}  ({min(seconds):.1f} to {max(seconds):.1f})")


def measure(scratch: Path, took: dict[str, list[float]]) -> None:
    archive = scratch / "archive"
    archive.mkdir()
    make_video(archive / "short.mp4", frames=FRAMES)
    run = ["run", str(archive), "--model", DEMO_MODEL]
    for title, arguments in {
        f"nightjar convert {DEMO_MODEL}, the first command of a home": ["convert", DEMO_MODEL],
        f"nightjar run, {FRAMES} frames": run,
        "nightjar run, nothing new": run,
    }.items():
        took.setdefault(title, []).append(seconds_of(arguments, scratch))


def seconds_of(arguments: list[str], scratch: Path) -> float:
    """Run a command in the home of this round. Raises CalledProcessError where it fails."""
    ours = {"NIGHTJAR_HOME": str(scratch / "home"), "PREFECT_HOME": str(scratch / "prefect"), "DO_NOT_TRACK": "1"}
    removed = ("PREFECT_", "NIGHTJAR_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(removed)}
    begun = time.perf_counter()
    subprocess.run(
        [str(NIGHTJAR), *arguments], env=environment | ours, check=True, stdout=subprocess.DEVNULL, stderr=sys.stderr
    )
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
