"""`nightjar demo`: process an archive whose joints are known, and compare the rows with the ground truth.

Each step does the same as the command that a user would type.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from models.conversion.spec import ConvertSpec
from models.types import NightjarError
from tasks.batch.spec import NightSpec
from tasks.site.settings import prepare_prefect, read_settings

MODEL, OWN_VIDEOS_MODEL = "posenet-demo", "posenet-075"
WEIGHTS = Path("posenet/tfjs_manifest_075/manifest.json")
PICTURES = Path("coco_mini/train2017")


def run_demo(videos: Path | None = None, data: Path | None = None) -> None:
    """Render, convert, run, compare and query. Raises NightjarError.

    videos: a folder of the user's own, processed instead, by posenet-075
    data: folder that may contain its weights and pictures
    """
    from deployments.commands import TABLE, print_query, run_batch
    from storage.sql.questions import QUESTIONS

    if videos and not videos.is_dir():
        raise NightjarError(
            f"The folder {videos} does not exist. Give a folder of videos, as in 'make demo VIDEOS=/my/videos'."
        )
    prepare_prefect(read_settings())
    model = OWN_VIDEOS_MODEL if videos else MODEL
    archive = videos or read_settings().home / "demo"
    if not videos:
        with _step("Render a small archive and its ground truth"):
            _render(archive)
    with _step(f"Convert {model}: TensorFlow.js to TensorFlow to OpenVINO"):
        _convert_once(model, data if videos else None)
    with _step(f"Run a batch over {archive}: frames to people to SQL"):
        run_batch(NightSpec(str(archive), model))
    if not videos:
        with _step("Compare the rows with the ground truth"):
            _compare(archive)
    for question, statement in QUESTIONS.items():
        click.secho(f"\n{question}", bold=True)
        print_query(" ".join(statement.split()), TABLE)
    click.echo('\nWrite your own query: .venv/bin/nightjar sql "SELECT …". docs/schema.md lists the tables.')


def _render(archive: Path) -> None:
    from tasks.demo.archive import CLIPS, render_archive

    rendered = render_archive(archive, lambda name: click.echo(f"  {name}"))
    click.echo(f"  {len(rendered)} rendered, {len(CLIPS) + 1 - len(rendered)} already present: {archive}")


def _convert_once(model: str, data: Path | None) -> None:
    from deployments.commands import run_convert
    from storage.sql import catalogue
    from tasks.site.site import open_site

    with open_site() as site:
        known = catalogue.find_model(site.engine, model)
    if known:
        click.echo(f"  already converted: version {known[1].version_sha256[:12]}")
        return
    source = str(data / WEIGHTS) if data and (data / WEIGHTS).exists() else ""
    images = data / PICTURES if data and (data / PICTURES).is_dir() else None
    run_convert(ConvertSpec(model, source, images=images))


def _compare(archive: Path) -> None:
    from tasks.demo.accuracy import measure_archive
    from tasks.site.site import open_site

    with open_site() as site:
        accuracy = measure_archive(site, archive, MODEL)
    click.echo(f"  {accuracy.frames} frames, as stored: AP {accuracy.ap:.3f}, AP50 {accuracy.ap50:.3f} (COCO's OKS),")
    click.echo(
        f"  PCK (0.2 of box) {accuracy.pck_box:.3f} where one person is in view. Ground truth: {archive}/*.truth.json"
    )


@contextmanager
def _step(title: str) -> Iterator[None]:
    click.secho(f"\n{title}", bold=True)
    begun = time.monotonic()
    yield
    click.echo(f"  {time.monotonic() - begun:.1f} s")
