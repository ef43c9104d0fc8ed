"""`nightjar demo`: an archive whose every joint is known goes the whole way, and the rows are held against the truth.

Every step is what a user would type.
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
    """Render, convert, run, load, compare, ask. Raises NightjarError.

    videos: a folder of the user's own, to be run instead, by posenet-075; data: where its weights and pictures may be
    """
    from deployments.commands import TABLE, print_query, run_batch
    from storage.sql.questions import QUESTIONS

    if videos and not videos.is_dir():
        raise NightjarError(f"no folder {videos}: name one with videos, as in 'make demo VIDEOS=/my/videos'")
    prepare_prefect(read_settings())
    model = OWN_VIDEOS_MODEL if videos else MODEL
    archive = videos or read_settings().home / "demo"
    if not videos:
        with _step("Render a small archive, with the truth beside it"):
            _render(archive)
    with _step(f"Convert {model}: TensorFlow.js to TensorFlow to OpenVINO"):
        _convert_once(model, data if videos else None)
    with _step(f"Run the night over {archive}: frames to people to SQL"):
        run_batch(NightSpec(str(archive), model))
    if not videos:
        with _step("Hold the rows against the truth"):
            _compare(archive)
    for question, statement in QUESTIONS.items():
        click.secho(f"\n{question}", bold=True)
        print_query(" ".join(statement.split()), TABLE)
    click.echo('\nAsk your own: .venv/bin/nightjar sql "SELECT …"; the tables are in docs/schema.md')


def _render(archive: Path) -> None:
    from tasks.demo.archive import CLIPS, render_archive

    rendered = render_archive(archive, lambda name: click.echo(f"  {name}"))
    click.echo(f"  {len(rendered)} new, {len(CLIPS) + 1 - len(rendered)} were there: {archive}")


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
    click.echo(f"  {accuracy.frames} frames, as stored: AP {accuracy.ap:.3f}, AP50 {accuracy.ap50:.3f} (OKS, COCO's),")
    click.echo(
        f"  PCK (0.2 of box) {accuracy.pck_box:.3f} where one person is in view. The truth: {archive}/*.truth.json"
    )


@contextmanager
def _step(title: str) -> Iterator[None]:
    click.secho(f"\n{title}", bold=True)
    begun = time.monotonic()
    yield
    click.echo(f"  {time.monotonic() - begun:.1f} s")
