"""The `nightjar` command. It reads arguments and prints answers; the work is in the flows.

Every import that costs time is inside its command, so that `nightjar --help` answers at once.
"""

import io
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from deployments.spec_options import spec_options
from models.car_classifier.params import FinetuneSpec
from models.conversion.spec import ConvertSpec, QuantizeSpec
from models.demo_model.spec import TrainSpec
from models.errors import NightjarError
from models.evaluation.spec import EvaluateSpec
from models.inference.spec import BenchmarkSpec
from storage.private import be_private
from tasks.batch.spec import NightSpec

PATH = click.Path(path_type=Path)


INTERRUPTED = 130  # a shell's own for Ctrl-C
# Not in an edge worker's environment: only the central machine converts models and asks the database.
CENTRAL_ONLY = (
    "tensorflow",
    "tensorflowjs",
    "keras",
    "psycopg",
    "nncf",
    "scipy",
    "pycocotools",
    "matplotlib",
    "sklearn",
)


def _plain_errors(command: Callable[..., None]) -> Callable[..., None]:
    """One line instead of a traceback for what the user can repair."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except NightjarError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt as interrupt:
            click.echo(str(interrupt) or "Cancelled.", err=True)
            sys.exit(INTERRUPTED)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in CENTRAL_ONLY:
                raise
            raise click.ClickException(_not_here(str(error.name))) from error
        except BrokenPipeError:
            raise  # click's own way: whoever reads the output has enough
        except OSError as error:
            if error.filename is None:
                raise
            raise click.ClickException(f"{error.strerror}: {os.fspath(error.filename)!r}. Name another path") from error

    return run


def _not_here(package: str) -> str:
    return (
        f"{package} is not installed: this is an edge worker's environment, which asks no database and converts no "
        "model. Run this command on the central machine; here run 'nightjar worker' or 'nightjar doctor'"
    )


SPREADSHEET = click.option(
    "--spreadsheet", is_flag=True, help="With --format csv: an apostrophe before texts that look like formulas."
)


def _listing(command: Callable[..., None]) -> Callable[..., None]:
    """Pass the options of every listing on as one Format."""

    @click.option("--wide", is_flag=True, help="All columns, not only those that fit a terminal of 80.")
    @click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
    @SPREADSHEET
    @wraps(command)
    def run(*args: Any, wide: bool, form: Any, spreadsheet: bool, **kwargs: Any) -> None:
        from deployments.answers import Format

        command(*args, chosen=Format(form, wide, spreadsheet), **kwargs)

    return run


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="nightjar")
def main() -> None:
    """Nightjar turns a video archive into SQL.

    \b
    nightjar convert posenet-075                   get a published model
    nightjar run /my/videos --model posenet-075    videos become rows
    nightjar sql "SELECT * FROM video_summary"     ask
    nightjar up --archive /my/videos --model posenet-075   every night, and from Prefect's UI

    Settings are NIGHTJAR_… variables or lines of .env; by default everything lies under ./.nightjar/.
    """
    be_private()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal in Latin-1 has no sign for every name
            stream.reconfigure(errors="backslashreplace")


@main.command()
@spec_options(ConvertSpec)
@_plain_errors
def convert(spec: ConvertSpec) -> None:
    """Convert a TensorFlow or TensorFlow.js model to OpenVINO IR, or take an IR, as the model NAME."""
    from deployments.commands import run_convert

    run_convert(spec)


@main.command()
@spec_options(NightSpec)
@_plain_errors
def run(spec: NightSpec) -> None:
    """Turn the videos of ARCHIVE, a folder or s3://bucket/prefix, into rows. Later runs process new files only."""
    from deployments.commands import run_batch

    sys.exit(run_batch(spec))


@main.command()
@click.option(
    "--show", "shown", metavar="NAME", help="Let the views show this model's newest version, also after other batches."
)
@click.option("--unpin", is_flag=True, help="Take --show back: the next version that a batch completes is shown.")
@click.option(
    "--frames-per-second",
    type=click.FloatRange(0, 100_000, min_open=True),
    help="Recommend a model for this many frames per second, for each measured device.",
)
@_listing
@_plain_errors
def models(shown: str | None, unpin: bool, frames_per_second: float | None, chosen: Any) -> None:
    """List the model versions, with an arrow at the one that the views show, and their measured speeds."""
    from deployments.commands import list_models

    list_models(shown, unpin, frames_per_second, chosen)


@main.command()
@spec_options(BenchmarkSpec)
@_plain_errors
def benchmark(spec: BenchmarkSpec) -> None:
    """Measure the speed of models on a device: alone, and from a video to its rows."""
    from deployments.commands import run_benchmark

    run_benchmark(spec)


@main.command()
@click.option("--ignored", is_flag=True, help="List the archives' files that are no videos, each with the reason.")
@_listing
@_plain_errors
def videos(ignored: bool, chosen: Any) -> None:
    """List the videos and the results of each."""
    from deployments.commands import list_videos

    list_videos(ignored, chosen)


@main.command()
@click.option(
    "--last",
    type=click.IntRange(0),
    is_flag=False,
    flag_value=0,
    metavar="[N]",
    help="Only the newest N; without N the newest one in detail.",
)
@click.option(
    "--forget",
    type=click.IntRange(1),
    multiple=True,
    metavar="N",
    help="Hide batch N here and from 'nightjar sweep'; its results stay. Repeatable.",
)
@_listing
@_plain_errors
def batches(forget: tuple[int, ...], last: int | None, chosen: Any) -> None:
    """List the batches: start, duration, frames; with --wide also those expected, quarantined and missing."""
    from deployments.commands import forget_batches, list_batches

    if forget:
        forget_batches(forget)
        return
    list_batches(last, chosen)


@main.command()
@click.option("--replay", metavar="ARCHIVE", help="Let the next run over ARCHIVE retry its quarantined files.")
@_listing
@_plain_errors
def quarantine(replay: str | None, chosen: Any) -> None:
    """List the files and segments that could not be processed, with the reasons."""
    from deployments.commands import list_quarantine

    list_quarantine(replay, chosen)


@main.command()
@click.argument("statement")
@click.option(
    "--format", "form", type=click.Choice(["table", "csv", "json", "parquet"]), default="table", show_default=True
)
@click.option("--output", type=PATH, help="File to write, which only you may read; needed for parquet.")
@SPREADSHEET
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds after which the query is ended.",
)
@click.option("--max-rows", type=click.IntRange(min=1), help="End the query when its answer has more rows.")
@click.option(
    "--max-mb",
    type=click.IntRange(1, 1 << 20),
    default=1024,
    show_default=True,
    help="End the query when its answer has more megabytes.",
)
@_plain_errors
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
    from deployments.commands import print_query
    from storage.sql.query import QueryLimits

    limits = QueryLimits(timeout_s, max_rows, max_mb << 20)
    print_query(statement, Format(form, spreadsheet=spreadsheet), output, limits)


@main.command()
@click.argument("video")
@click.option("--model", metavar="NAME", help="Model whose results are drawn.  [default: the one that the views show]")
@click.option("--from", "from_s", type=click.FloatRange(0), default=0, help="Start, in seconds of the video.")
@click.option("--to", "to_s", type=click.FloatRange(0), help="End, in seconds of the video.  [default: its end]")
@_plain_errors
def overlay(**options: Any) -> None:
    """Draw the results into VIDEO, and print the path of the new video.

    VIDEO is a name from 'nightjar videos', a path, or the start of the sha256 of its bytes.
    """
    from deployments.commands import print_overlay

    print_overlay(**options)


@main.command()
@click.option("--dry-run", is_flag=True, help="Print the repairs without making them.")
@click.option(
    "--verify", is_flag=True, help="Compare the bytes of every result with the ledger, not only its presence."
)
@click.option(
    "--expect-within",
    type=click.FloatRange(0, min_open=True),
    metavar="HOURS",
    help="Report archives whose newest batch is older than this, or failed.",
)
@click.option(
    "--second-look-s",
    type=click.FloatRange(0, 600),
    default=45,
    show_default=True,
    help="Seconds after which a silent run is checked again, and ended if still silent.",
)
@_plain_errors
def sweep(**options: Any) -> None:
    """Repair the ledger, the store and Prefect after faults. For cron or a systemd timer."""
    from deployments.commands import run_sweep

    sys.exit(run_sweep(**options))


@main.command()
@_plain_errors
def doctor() -> None:
    """Check the installation, the devices, the database and the store."""
    from deployments.doctor import examine

    sys.exit(examine())


@main.command()
@click.option("--videos", type=PATH, help="Your own folder of videos, with posenet-075.")
@click.option("--data", type=PATH, help="Folder with the weights of posenet-075; without it they are downloaded.")
@_plain_errors
def demo(videos: Path | None, data: Path | None) -> None:
    """Render people with known joints, turn the videos into rows, and measure the accuracy."""
    from deployments.demo import run_demo

    run_demo(videos, data)


@main.command(name="train-demo")
@spec_options(TrainSpec)
@_plain_errors
def train_demo(spec: TrainSpec) -> None:
    """Train posenet-demo from random weights on rendered people, and measure it. An interrupted run resumes."""
    from deployments.commands import run_training

    run_training(spec)


@main.command()
@spec_options(FinetuneSpec)
@_plain_errors
def finetune(spec: FinetuneSpec) -> None:
    """Fine-tune a car / not-a-car classifier and convert it. An interrupted run resumes.

    What is left out is the preset's.
    """
    from deployments.commands import run_finetuning

    run_finetuning(spec)


@main.command()
@spec_options(EvaluateSpec)
@_plain_errors
def evaluate(spec: EvaluateSpec) -> None:
    """Measure AP, AR, mean OKS and PCK of MODEL. A second run prints the stored figures."""
    from deployments.commands import run_evaluation

    run_evaluation(spec)


@main.command()
@spec_options(QuantizeSpec)
@_plain_errors
def quantize(spec: QuantizeSpec) -> None:
    """Quantize MODEL to INT8, and keep the result only if it is as accurate."""
    from deployments.commands import run_quantization

    run_quantization(spec)


@main.command()
@click.argument("runs", metavar="[RUN]...", type=int, nargs=-1)
@_listing
@_plain_errors
def compare(runs: tuple[int, ...], chosen: Any) -> None:
    """Compare fine-tunings by their numbers; without a number, list them."""
    from deployments.commands import compare_runs

    compare_runs(runs, chosen)


def _night_options(command: Callable[..., None]) -> Callable[..., None]:
    options = (
        click.option("--archive", help="Archive to process every night: a folder or s3://bucket/prefix."),
        click.option("--model", help="Model of the night; needed with --archive."),
        click.option("--cron", help="Schedule of the night.  [default: 0 1 * * *]"),
        click.option("--timezone", help="Time zone of the schedule, such as Europe/Berlin.  [default: this machine's]"),
    )
    for option in reversed(options):
        command = option(command)
    return command


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address; beyond loopback a password is needed.")
@click.option("--port", type=click.IntRange(1, 65535), default=4200, show_default=True)
@_night_options
@click.option("--edge", metavar="DEVICE", help="Process segments on this machine, too: CPU, MYRIAD, MULTI:…")
@click.option("--fallback", type=click.Choice(["cpu", "none"]), default="none", show_default=True)
@_plain_errors
def up(host: str, port: int, edge: str | None, fallback: str, **night: str | None) -> None:
    """Start Prefect's server with its UI, the deployments and a worker; Ctrl-C ends all of it."""
    from deployments.deploy import NightSchedule
    from deployments.up import bring_up

    bring_up(host, port, NightSchedule(**night), edge, fallback)


@main.command()
@_night_options
@click.option(
    "--server", metavar="URL", help="Of its pages or its API.  [default: PREFECT_API_URL, or the one of 'nightjar up']"
)
@_plain_errors
def deploy(server: str | None, **night: str | None) -> None:
    """Update a Prefect server: work pools, deployments, the schedule of the night."""
    from deployments.deploy import NightSchedule, deploy

    deploy(NightSchedule(**night), server)


@main.command()
@click.option("--pool", type=click.Choice(["central", "edge"]), default="edge", show_default=True)
@click.option("--device", default="CPU", show_default=True, help="CPU, MYRIAD, MULTI:…")
@click.option("--name", help="Unique for each device.  [default: NIGHTJAR_WORKER_NAME, or host and device]")
@click.option(
    "--fallback",
    type=click.Choice(["cpu", "none"]),
    default="none",
    show_default=True,
    help="Fallback when the device is lost.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 100),
    default=2,
    show_default=True,
    help="Runs at once; the second is ready when the first releases the device.",
)
@click.option(
    "--server", metavar="URL", help="Of its pages or its API.  [default: PREFECT_API_URL, or the one of 'nightjar up']"
)
@_plain_errors
def worker(**options: Any) -> None:
    """Execute the runs of a work pool on this machine. Needs no database."""
    from deployments.worker import run_worker

    run_worker(**options)


@main.command(name="edge-gate")
@click.option("--port", type=click.IntRange(1, 65535), default=4201, show_default=True, help="On loopback, for nginx.")
@click.option("--server", metavar="URL", default="http://127.0.0.1:4200", show_default=True, help="Prefect's server.")
@_plain_errors
def edge_gate(port: int, server: str) -> None:
    """Let edge workers through to what is of the pool edge: between nginx and Prefect's server."""
    from deployments.edge_gate import run_edge_gate

    run_edge_gate(port, server.rstrip("/").removesuffix("/api"))


if __name__ == "__main__":
    main()
