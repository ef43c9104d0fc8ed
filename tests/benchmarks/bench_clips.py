"""Time of a batch of short clips outside of the pipeline: `python -m tests.benchmarks.bench_clips --clips 500`.

Clips of two seconds, real frames of 768x432, a real Prefect server, SQLite and a folder. The pipeline's seconds are
those of each segment in the ledger, from the first frame's request to the last frame's decoding.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

os.environ |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "PREFECT_LOGGING_LEVEL": "WARNING"}

import av

from flows import nightly_batch as flow
from models.manifest import MANIFEST_FILE, Manifest
from storage.sql.database import open_database
from storage.sql.query import query
from tasks.model.store import store_model
from tasks.site.settings import read_settings
from tasks.site.site import open_site
from tests.benchmarks.bench_pipeline import decoded
from tests.benchmarks.models import DATA, VIDEOS, converted
from tests.servers_prefect import running_prefect
from tests.videos import make_video

FRAMES, FPS, KINDS = 50, 25, 8
STAGES = ("read_archive_task", "run_segments_task", "draw_pictures_task", "account_batch", "publish_report_task")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--models", type=Path, help="folder of converted models, kept between runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        os.environ["NIGHTJAR_HOME"] = str(home / "home")
        name = "posenet-050"
        folder = converted(name, (arguments.models or home / "models") / name)
        render(home / "archive", arguments.clips)
        with open_site() as site:
            store_model(site, folder, Manifest.from_json((folder / MANIFEST_FILE).read_text(encoding="utf-8")))
        took: dict[str, float] = {}
        for stage in STAGES:
            setattr(flow, stage, timed(getattr(flow, stage), stage, took))
        with running_prefect(home / "prefect", f"sqlite+aiosqlite:///{home}/prefect.db"):
            begun = time.perf_counter()
            flow.nightly_batch(str(home / "archive"), name)
            wall_s = time.perf_counter() - begun
        _, rows = query(open_database(read_settings().database), "SELECT sum(wall_s), count(*) FROM segments")
        ((pipeline_s, segments),) = rows
    print(f"{segments} clips, load {os.getloadavg()[0]:.1f}: {wall_s:.1f} s, of them {pipeline_s:.1f} s pipeline")
    print(f"  everything else {1 - pipeline_s / wall_s:.1%}; by stage, s: {took}")


def render(archive: Path, clips: int) -> None:
    """Render some clips of two seconds, and copies of them that differ in their title."""
    archive.mkdir()
    frames = decoded(DATA / VIDEOS["768x432"], "AUTO")
    for kind in range(KINDS):
        pictures = [frame.to_ndarray(format="rgb24") for frame in islice(frames, FRAMES)]
        make_video(archive / f"{kind:05d}.mp4", pictures=pictures, fps=FPS, gop=FPS)
    for number in range(KINDS, clips):
        retitled(archive / f"{number % KINDS:05d}.mp4", archive / f"{number:05d}.mp4", str(number))


def retitled(source: Path, target: Path, title: str) -> None:
    with av.open(str(source)) as given, av.open(str(target), "w") as out:
        stream = given.streams.video[0]
        out.metadata["title"] = title
        copy = out.add_stream_from_template(stream)
        for packet in given.demux(stream):
            if packet.size:
                packet.stream = copy
                out.mux(packet)


def timed(function: Callable[..., Any], name: str, took: dict[str, float]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        begun = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            took[name] = round(time.perf_counter() - begun, 1)

    return call


if __name__ == "__main__":
    main()
