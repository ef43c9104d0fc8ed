"""`nightjar demo`: convert a model, run a small archive, ask SQL. Every step is what a user would type."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from models.types import NightjarError
from tasks.settings import prepare_prefect, read_settings

MODEL = "posenet-075"
WEIGHTS = Path("posenet/tfjs_manifest_075/manifest.json")
PICTURES = Path("coco_mini/train2017")
CLIPS = Path("videos")

QUESTIONS = {
    "How many people were seen in each video?": """
        SELECT video, frames, frames_done, people FROM video_summary ORDER BY video""",
    "Who raised a hand above the head, and when?": """
        SELECT video, round(CAST(min(t_s) AS numeric), 2) AS first_s, round(CAST(max(t_s) AS numeric), 2) AS last_s,
               count(*) AS rows
        FROM poses JOIN video_summary USING (video_id, model_version_id)
        WHERE left_wrist_y < nose_y OR right_wrist_y < nose_y
        GROUP BY video ORDER BY video""",
    "What could not be processed?": "SELECT key, reason FROM quarantine",
}


def run_demo(data: Path | None, videos: Path | None) -> int:
    """Convert, run, ask; 0 when every frame is in the database. Raises NightjarError."""
    from deployments.commands import print_query, run_batch

    archive = _archive(data, videos)
    prepare_prefect(read_settings())
    with _step(f"1. The model {MODEL}"):
        _convert_once(data)
    with _step(f"2. The videos of {archive} become rows"):
        run_batch(archive=str(archive), model=MODEL)
    for question, statement in QUESTIONS.items():
        click.secho(f"\n{question}", bold=True)
        print_query(" ".join(statement.split()), "table")
    click.echo('\nAsk your own: .venv/bin/nightjar sql "SELECT …"; the tables are in docs/schema.md')
    return 0


def _archive(data: Path | None, videos: Path | None) -> Path:
    if videos:
        return videos
    if data and (data / CLIPS).is_dir():
        return data / CLIPS
    raise NightjarError("no videos at hand: name a folder with videos of your own, as in 'make demo VIDEOS=/my/videos'")


def _convert_once(data: Path | None) -> None:
    from deployments.commands import run_convert
    from storage import catalogue
    from tasks.site import open_site

    with open_site() as site:
        known = catalogue.latest_model(site.engine, MODEL)
    if known:
        click.echo(f"already converted: version {known[1].version_sha256[:12]}")
        return
    source = data / WEIGHTS if data and (data / WEIGHTS).exists() else None
    images = data / PICTURES if data and (data / PICTURES).is_dir() else None
    run_convert(name=MODEL, source=str(source) if source else None, images=images)


@contextmanager
def _step(title: str) -> Iterator[None]:
    click.secho(f"\n{title}", bold=True)
    begun = time.monotonic()
    yield
    click.echo(f"{time.monotonic() - begun:.1f} s")
