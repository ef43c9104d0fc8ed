"""Memory of a batch over a long video, which must stay flat: `python -m tests.benchmarks.bench_memory --minutes 60`.

768x432, in segments of a minute, by the flow itself with a Prefect server, SQLite and a folder. Every second the
resident memory of this process and of the decoder's is read; peaks of each sixth of the run are printed.
"""

import argparse
import os
import tempfile
import threading
from pathlib import Path

os.environ |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "PREFECT_LOGGING_LEVEL": "WARNING"}

import numpy as np

from flows.nightly_batch import nightly_batch
from models.manifest import MANIFEST_FILE, Manifest
from tasks.model.store import store_model
from tasks.site.site import open_site
from tests.benchmarks.models import DATA, VIDEOS, converted, lengthened
from tests.servers_prefect import running_prefect

FPS, ASKED_MB, PARTS = 25, 700, 6
MODEL = "posenet-050"

SERVES = b"storage.sandbox.child"  # in the command line of a process that decodes


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--models", type=Path, help="folder of converted models, kept between runs")
    arguments = parser.parse_args()
    samples: list[tuple[float, float]] = []
    over = threading.Event()
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        os.environ["NIGHTJAR_HOME"] = str(home / "home")
        folder = converted(MODEL, (arguments.models or home / "models") / MODEL)
        (home / "archive").mkdir()
        source = DATA / VIDEOS["768x432"]
        lengthened(source, home / "archive" / f"long{source.suffix}", arguments.minutes * 60 * FPS)
        with open_site() as site:
            store_model(site, folder, Manifest.from_json((folder / MANIFEST_FILE).read_text(encoding="utf-8")))
        with running_prefect(home / "prefect", f"sqlite+aiosqlite:///{home}/prefect.db"):
            sampler = threading.Thread(target=sample, args=(over, samples), daemon=True)
            sampler.start()
            report = nightly_batch(str(home / "archive"), MODEL, overlay="none")
            over.set()
            sampler.join()
    print(f"{report.counts.frames_done:,} frames in {report.wall_s:.0f} s, {len(samples)} samples")
    for number, part in enumerate(np.array_split(np.array(samples), PARTS), 1):
        own, decoder = part.max(axis=0)
        print(f"  sixth {number}: at most {own:.0f} MB and {decoder:.0f} MB of the decoder's process")
    most = np.sum(samples, axis=1).max()
    print(f"  both together {most:.0f} MB at most, asked {ASKED_MB}")


def sample(over: threading.Event, samples: list[tuple[float, float]]) -> None:
    """Sample the MB of this process and of its largest decoding child."""
    while not over.wait(1.0):
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        decoders = [child for child in children if SERVES in Path(f"/proc/{child}/cmdline").read_bytes()]
        samples.append((resident_mb("self"), max((resident_mb(child) for child in decoders), default=0.0)))


def resident_mb(process: str) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024 if "VmRSS" in status else 0.0


if __name__ == "__main__":
    main()
