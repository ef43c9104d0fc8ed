"""Commands that turn videos into rows, and list, query or draw these rows."""

import sys
from pathlib import Path
from typing import Any

import click

from deployments.command_line.errors import plain_errors
from deployments.command_line.options import PATH, format_option, listing_options, spreadsheet_option
from deployments.spec_options import spec_options
from tasks.analysis.spec import AnalyzeSpec
from tasks.batch.spec import NightSpec

group = click.Group()


@group.command()
@spec_options(NightSpec)
@plain_errors
def run(spec: NightSpec) -> None:
    """Turn the videos of ARCHIVE, a folder or s3://bucket/prefix, into rows. Later runs process new files only."""
    from deployments.commands import run_batch

    sys.exit(run_batch(spec))


@group.command()
@click.option("--ignored", is_flag=True, help="List the files that are not videos, each with the reason.")
@listing_options
@plain_errors
def videos(ignored: bool, chosen: Any) -> None:
    """List the videos and their results."""
    from deployments.commands import list_videos

    list_videos(ignored, chosen)


@group.command()
@listing_options
@plain_errors
def recordings(chosen: Any) -> None:
    """List the recordings of each camera, with the number of people who were followed through each.

    Files of a camera that follow each other are one recording. A file without a clock is a recording of its own.
    """
    from deployments.commands import list_recordings

    list_recordings(chosen)


@group.command()
@click.argument("video")
@listing_options
@plain_errors
def tracks(video: str, chosen: Any) -> None:
    """List the people who were followed through VIDEO, each under one number, with the times of their visits.

    VIDEO is a name from 'nightjar videos', a path, or the start of the file's sha256.
    """
    from deployments.commands import list_tracks

    list_tracks(video, chosen)


@group.command()
@click.option(
    "--last",
    type=click.IntRange(0),
    is_flag=False,
    flag_value=0,
    metavar="[N]",
    help="Show the newest N batches only; without N, the newest one in detail.",
)
@click.option(
    "--forget",
    type=click.IntRange(1),
    multiple=True,
    metavar="N",
    help="Hide batch N here and from 'nightjar sweep'. Its results are kept. Repeatable.",
)
@listing_options
@plain_errors
def batches(forget: tuple[int, ...], last: int | None, chosen: Any) -> None:
    """List the batches with start, duration and frames; with --wide also frames expected, quarantined and missing."""
    from deployments.commands import forget_batches, list_batches

    if forget:
        forget_batches(forget)
        return
    list_batches(last, chosen)


@group.command()
@click.option("--replay", metavar="ARCHIVE", help="Retry the quarantined files of ARCHIVE in its next run.")
@listing_options
@plain_errors
def quarantine(replay: str | None, chosen: Any) -> None:
    """List the files and segments that could not be processed, each with the reason."""
    from deployments.commands import list_quarantine

    list_quarantine(replay, chosen)


@group.command()
@click.argument("statement")
@format_option("table", "csv", "json", "parquet")
@click.option("--output", type=PATH, help="File to write, readable by you only. Required for parquet.")
@spreadsheet_option
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Stop the query after this many seconds.",
)
@click.option("--max-rows", type=click.IntRange(min=1), help="Stop the query when its answer has more rows.")
@click.option(
    "--max-mb",
    type=click.IntRange(1, 1 << 20),
    default=1024,
    show_default=True,
    help="Stop the query when its answer is larger, in megabytes.",
)
@plain_errors
def sql(
    statement: str,
    form: Any,
    output: Path | None,
    spreadsheet: bool,
    timeout_s: float,
    max_rows: int | None,
    max_mb: int,
) -> None:
    """Run a read-only query on the database."""
    from deployments.answers import Format
    from deployments.commands import print_query, print_query_page
    from storage.sql.query import QueryLimits

    limits = QueryLimits(timeout_s, max_rows, max_mb << 20)
    print_query(statement, Format(form, spreadsheet=spreadsheet), output, limits)
    print_query_page(statement)


@group.command()
@spec_options(AnalyzeSpec)
@plain_errors
def analyze(spec: AnalyzeSpec) -> None:
    """Follow the people of all stored videos, and measure their motion. Nothing is inferred again.

    A nightly batch does this for its own videos. The views show the result of changed parameters when all videos are
    analysed. An interrupted run resumes.
    """
    from deployments.commands import run_analysis

    run_analysis(spec)


@group.command()
@click.argument("video")
@click.option("--model", metavar="NAME", help="Draw the results of this model.  [default: the one that the views show]")
@click.option("--from", "from_s", type=click.FloatRange(0), default=0, help="Start, in seconds of the video.")
@click.option("--to", "to_s", type=click.FloatRange(0), help="End, in seconds of the video.  [default: its end]")
@click.option("--output", type=PATH, help="File to write, readable by you only.  [default: a new one in the store]")
@click.option("--blur-faces", is_flag=True, help="Blur the heads of the people whom the model found.")
@plain_errors
def overlay(**options: Any) -> None:
    """Export a copy of VIDEO, or a part of it, with the results drawn in, and print its path.

    VIDEO is a name from 'nightjar videos', a path, or the start of the file's sha256. 'nightjar browse' shows the same
    without a copy.
    """
    from deployments.commands import print_overlay
    from tasks.batch.spec import OverlayRequest

    print_overlay(OverlayRequest(**options))
