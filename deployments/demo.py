"""`nightjar demo`: an archive whose every joint is known goes the whole way, and the rows are held against the truth.

Every step is what a user would type.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from models.types import NightjarError
from tasks.settings import prepare_prefect, read_settings

MODEL, OWN_VIDEOS_MODEL = "posenet-demo", "posenet-075"
WEIGHTS = Path("posenet/tfjs_manifest_075/manifest.json")
PICTURES = Path("coco_mini/train2017")

HAND_UP = """
    SELECT video, round(CAST(min(t_s) AS numeric), 2) AS first_s, round(CAST(max(t_s) AS numeric), 2) AS last_s,
           count(*) AS frames
    FROM poses JOIN video_summary USING (video_id, model_version_id)
    WHERE left_wrist_y < nose_y - 5 OR right_wrist_y < nose_y - 5
    GROUP BY video HAVING count(*) >= 5 ORDER BY frames DESC"""
NOBODY = """
    SELECT video, round(CAST(from_s AS numeric), 2) AS from_s, round(CAST(to_s AS numeric), 2) AS to_s
    FROM (
        SELECT video, t_s AS to_s, coalesce(lag(t_s) OVER (PARTITION BY video ORDER BY t_s), 0) AS from_s
        FROM poses JOIN video_summary USING (video_id, model_version_id) WHERE person = 0
        UNION ALL
        SELECT video, duration_s AS to_s, max(t_s) AS from_s
        FROM poses JOIN video_summary USING (video_id, model_version_id) GROUP BY video, duration_s
    ) AS gaps
    WHERE to_s - from_s > 1 ORDER BY video, from_s"""
FELL = """
    SELECT video, round(CAST(min(t_s) AS numeric), 2) AS first_s, round(CAST(max(t_s) AS numeric), 2) AS last_s,
           count(*) AS frames
    FROM poses JOIN video_summary USING (video_id, model_version_id)
    WHERE abs(left_hip_y + right_hip_y - left_shoulder_y - right_shoulder_y)
        < abs(left_hip_x + right_hip_x - left_shoulder_x - right_shoulder_x)
    GROUP BY video HAVING count(*) >= 5 ORDER BY frames DESC"""
QUESTIONS = {
    "Who raised a hand, and when?": HAND_UP,
    "When was nobody in view for more than a second?": NOBODY,
    "Did somebody fall, and when?": FELL,
}


def run_demo(videos: Path | None = None, data: Path | None = None) -> None:
    """Render, convert, run, load, compare, ask. Raises NightjarError.

    videos: a folder of the user's own, to be run instead, by posenet-075; data: where its weights and pictures may be
    """
    from deployments.commands import TABLE, print_query, run_batch

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
        run_batch(archive=str(archive), model=model)
    if not videos:
        with _step("Hold the rows against the truth"):
            _compare(archive)
    for question, statement in QUESTIONS.items():
        click.secho(f"\n{question}", bold=True)
        print_query(" ".join(statement.split()), TABLE)
    click.echo('\nAsk your own: .venv/bin/nightjar sql "SELECT …"; the tables are in docs/schema.md')


def _render(archive: Path) -> None:
    from tasks.demo_archive import CLIPS, render_archive

    rendered = render_archive(archive, lambda name: click.echo(f"  {name}"))
    click.echo(f"  {len(rendered)} new, {len(CLIPS) + 1 - len(rendered)} were there: {archive}")


def _convert_once(model: str, data: Path | None) -> None:
    from deployments.commands import run_convert
    from storage import catalogue
    from tasks.site import open_site

    with open_site() as site:
        known = catalogue.find_model(site.engine, model)
    if known:
        click.echo(f"  already converted: version {known[1].version_sha256[:12]}")
        return
    source = data / WEIGHTS if data and (data / WEIGHTS).exists() else None
    images = data / PICTURES if data and (data / PICTURES).is_dir() else None
    run_convert(name=model, source=str(source) if source else None, images=images)


def _compare(archive: Path) -> None:
    from tasks.accuracy import measure_archive
    from tasks.site import open_site

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
