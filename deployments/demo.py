"""`nightjar demo`: process an archive whose joints are known, and compare the rows with the ground truth.

Each step does the same as the command that a user would type.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from models.conversion.spec import ConvertSpec
from models.evaluation.reference import RECOMMENDED
from models.types import NightjarError
from tasks.batch.spec import NightSpec
from tasks.site.settings import prepare_prefect, read_settings

MODEL = "posenet-demo"
WEIGHTS = Path("movenet/multipose")  # of RECOMMENDED["PC"]
PICTURES = Path("coco_mini/train2017")


def run_demo(videos: Path | None = None, data: Path | None = None) -> None:
    """Render, convert, run, compare and query. Raises NightjarError.

    videos: a folder of the user's own, processed instead, by movenet-multipose
    data: folder that may contain its weights and pictures
    """
    from deployments.commands import TABLE, print_query, run_batch
    from storage.sql.questions import QUESTIONS

    if videos and not videos.is_dir():
        raise NightjarError(
            f"The folder {videos} does not exist. Give a folder of videos, as in 'make demo VIDEOS=/my/videos'."
        )
    prepare_prefect(read_settings())
    spec = _own_videos_spec(data) if videos else ConvertSpec(MODEL)
    archive = videos or read_settings().home / "demo"
    if not videos:
        with _step("Render a small archive and its ground truth"):
            _render(archive)
    with _step(f"Convert {spec.name}: TensorFlow.js to TensorFlow to OpenVINO"):
        _convert_once(spec)
    with _step(f"Run a batch over {archive}: frames to people to SQL"):
        run_batch(NightSpec(str(archive), spec.name))
    if not videos:
        with _step("Compare the rows with the ground truth"):
            _compare(archive)
    for question, statement in QUESTIONS.items():
        click.secho(f"\n{question}", bold=True)
        print_query(" ".join(statement.split()), TABLE)
    click.echo('\nWrite your own query: .venv/bin/nightjar sql "SELECT …". docs/schema.md lists the tables.')
    click.echo("Watch the videos with their skeletons: .venv/bin/nightjar browse")


def _render(archive: Path) -> None:
    from tasks.demo.archive import CLIPS, render_archive

    rendered = render_archive(archive, lambda name: click.echo(f"  {name}"))
    click.echo(f"  {len(rendered)} rendered, {len(CLIPS) + 1 - len(rendered)} already present: {archive}")


def _own_videos_spec(data: Path | None) -> ConvertSpec:
    """Return the recommended model at its recommended size, from the weights in `data` if they are there."""
    name, size = RECOMMENDED["PC"]
    source = str(data / WEIGHTS) if data and (data / WEIGHTS).exists() else ""
    return ConvertSpec(name, source, size=size, images=data / PICTURES if data and (data / PICTURES).is_dir() else None)


def _convert_once(spec: ConvertSpec) -> None:
    from deployments.commands import run_convert
    from storage.sql import catalogue
    from tasks.site.site import open_site

    with open_site() as site:
        known = catalogue.find_model(site.engine, spec.name)
    if known:
        click.echo(f"  already converted: version {known[1].version_sha256[:12]}")
        return
    run_convert(spec)


def _compare(archive: Path) -> None:
    from tasks.analysis.evaluate_tracks import ArchiveRequest, evaluate_archive
    from tasks.demo.accuracy import measure_archive
    from tasks.site.site import open_site

    with open_site() as site:
        accuracy = measure_archive(site, archive, MODEL)
        tracks = evaluate_archive(site, archive, ArchiveRequest(MODEL))
    click.echo(f"  {accuracy.frames} frames, as stored: AP {accuracy.ap:.3f}, AP50 {accuracy.ap50:.3f} (COCO's OKS),")
    click.echo(
        f"  PCK (0.2 of box) {accuracy.pck_box:.3f} where one person is in view. Ground truth: {archive}/*.truth.json"
    )
    click.echo(f"  {tracks.people} people, {tracks.tracks} tracks: IDF1 {tracks.idf1:.3f} (one number per person)")


@contextmanager
def _step(title: str) -> Iterator[None]:
    click.secho(f"\n{title}", bold=True)
    begun = time.monotonic()
    yield
    click.echo(f"  {time.monotonic() - begun:.1f} s")
