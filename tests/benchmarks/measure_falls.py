"""Falls that the shipped rule finds in films with known falls: `python -m tests.benchmarks.measure_falls`.

Films lie in the folders FALL, with a fall each, and ADL, of daily life without a fall. They go through the product's
commands: movenet-multipose is converted, a batch makes rows, tracks and events, and the view `events` is read.
With --home an installation is kept, and later runs only make the events anew.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tasks.text.markdown import markdown_table
from tests.benchmarks.models import DATA

NIGHTJAR = Path(sys.executable).with_name("nightjar")
MODEL, SIZE = "movenet-multipose", "192x320"
FALLS = "SELECT video, from_s, to_s, score FROM events WHERE rule = 'fall' ORDER BY video, from_s"


class Film(NamedTuple):
    """A film and the events of the rule: begin and end in seconds, and the score of each."""

    name: str
    fall: bool
    events: list[tuple[float, float, float]]

    @property
    def right(self) -> bool:
        return self.fall == bool(self.events)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("films", nargs="?", type=Path, default=DATA / "falls", help="folder with FALL and ADL")
    parser.add_argument("--weights", type=Path, default=DATA / "movenet" / "multipose")
    parser.add_argument("--home", type=Path, help="installation to use again; default: a temporary one")
    parser.add_argument("--frames-per-second", type=float)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nightjar-falls-") as scratch:
        home = arguments.home or Path(scratch)
        films = measure(arguments.films, arguments.weights, home, arguments.frames_per_second)
    print("\n".join(report(films)))


def measure(folder: Path, weights: Path, home: Path, frames_per_second: float | None = None) -> list[Film]:
    """Process the films of a folder, unless that has been done, and return their events."""
    if not (home / "nightjar.db").exists():
        _nightjar(home, "convert", MODEL, "--size", SIZE, "--source", str(weights))
    sampled = ["--frames-per-second", str(frames_per_second)] if frames_per_second else []
    _nightjar(home, "run", str(folder.resolve()), "--model", MODEL, "--overlay", "none", *sampled)
    found = json.loads(_nightjar(home, "sql", "--format", "json", FALLS))
    names = sorted(path.relative_to(folder).as_posix() for kind in ("FALL", "ADL") for path in folder.glob(f"{kind}/*"))
    events = {
        name: [(row["from_s"], row["to_s"], row["score"]) for row in found if row["video"] == name] for name in names
    }
    return [Film(name, name.startswith("FALL/"), events[name]) for name in names]


def _nightjar(home: Path, *command: str) -> str:
    """Run a command on SQLite in this home. Returns its output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTJAR_")}
    done = subprocess.run(
        [NIGHTJAR, *command],
        env=environment | {"NIGHTJAR_HOME": str(home)},
        text=True,
        stdout=subprocess.PIPE,
        check=True,
    )
    return done.stdout


def report(films: Sequence[Film]) -> list[str]:
    """Return a table of the films, and the totals."""
    rows = [
        {"film": film.name, "": "" if film.right else "wrong", "from and to, s (sank by body lengths)": _times(film)}
        for film in films
    ]
    falls = [film for film in films if film.fall]
    alarms = sum(not film.right for film in films if not film.fall)
    found = sum(film.right for film in falls)
    totals = f"{found} of {len(falls)} falls found; {alarms} of {len(films) - len(falls)} other films with an alarm"
    return [*markdown_table(rows).splitlines(), "", totals]


def _times(film: Film) -> str:
    return ", ".join(f"{start:.1f} to {stop:.1f} ({sank:.2f})" for start, stop, sank in film.events)


if __name__ == "__main__":
    main()
