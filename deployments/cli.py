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
from tasks.model.interval_request import IntervalRequest

PATH = click.Path(path_type=Path)


INTERRUPTED = 130  # as shells report Ctrl-C
# Missing in an edge worker's environment: only the central machine converts models and queries the database.
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
    """Print one line instead of a traceback for errors that the user can repair."""

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
            raise click.ClickException(_missing_package(str(error.name))) from error
        except BrokenPipeError:
            raise  # click ends the command quietly: the reader has closed the pipe
        except OSError as error:
            if error.filename is None:
                raise
            raise click.ClickException(
                f"{error.strerror}: {os.fspath(error.filename)!r}. Give another path."
            ) from error

    return run


def _missing_package(package: str) -> str:
    return (
        f"{package} is not installed, because this is the environment of an edge worker. Run this command on the "
        "central machine. Run 'nightjar worker' or 'nightjar doctor' here."
    )


SPREADSHEET = click.option(
    "--spreadsheet", is_flag=True, help="With --format csv: put an apostrophe before texts that look like formulas."
)


def _listing(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of all listings, and pass them on as one Format."""

    @click.option("--wide", is_flag=True, help="Show all columns, not only those that fit 80 characters.")
    @click.option(
        "--format",
        "form",
        type=click.Choice(["table", "csv", "json"]),
        default="table",
        show_default=True,
        help="Output format.",
    )
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
    nightjar run /my/videos --model posenet-075    turn videos into rows
    nightjar sql "SELECT * FROM video_summary"     query the rows
    nightjar up --archive /my/videos --model posenet-075   run every night, and from Prefect's UI

    Settings are NIGHTJAR_… environment variables or lines of .env. All files are kept in ./.nightjar/ by default.
    """
    be_private()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal in Latin-1 cannot show every name
            stream.reconfigure(errors="backslashreplace")


@main.command()
@spec_options(ConvertSpec)
@_plain_errors
def convert(spec: ConvertSpec) -> None:
    """Convert a TensorFlow or TensorFlow.js model to OpenVINO IR, or import an IR, under NAME."""
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
    "--show", "shown", metavar="NAME", help="Show this model's newest version in the views, also after other batches."
)
@click.option("--unpin", is_flag=True, help="Undo --show: the views show the next version that a batch completes.")
@click.option(
    "--frames-per-second",
    type=click.FloatRange(0, 100_000, min_open=True),
    help="Recommend a model for this many frames per second, for each measured device.",
)
@_listing
@_plain_errors
def models(shown: str | None, unpin: bool, frames_per_second: float | None, chosen: Any) -> None:
    """List the model versions and their measured speeds. An arrow marks the version that the views show."""
    from deployments.commands import list_models

    list_models(shown, unpin, frames_per_second, chosen)


@main.command()
@click.argument("model")
@click.option("--enter", type=click.FloatRange(0, 1), help="Probability at which an interval begins.")
@click.option("--leave", type=click.FloatRange(0, 1), help="It ends before the first frame with a lower probability.")
@click.option(
    "--min-duration", type=click.FloatRange(0, 86400), default=0.0, help="Leave out intervals of fewer seconds."
)
@click.option("--label", default="", help="Label whose intervals are meant.  [default: the model's second]")
@click.option("--off", is_flag=True, help="Let intervals end where the label changes again.")
@_plain_errors
def intervals(model: str, enter: float | None, leave: float | None, min_duration: float, label: str, off: bool) -> None:
    """Show or set at which probabilities the intervals of a classifier MODEL begin and end in label_intervals.

    The rows of its frames stay as they are.
    """
    from deployments.commands import show_intervals

    show_intervals(model, IntervalRequest(label, enter, leave, min_duration, off))


@main.command()
@spec_options(BenchmarkSpec)
@_plain_errors
def benchmark(spec: BenchmarkSpec) -> None:
    """Measure the speed of models on a device: inference alone, and from a video to its rows."""
    from deployments.commands import run_benchmark

    run_benchmark(spec)


@main.command()
@click.option("--ignored", is_flag=True, help="List the files that are not videos, each with the reason.")
@_listing
@_plain_errors
def videos(ignored: bool, chosen: Any) -> None:
    """List the videos and their results."""
    from deployments.commands import list_videos

    list_videos(ignored, chosen)


@main.command()
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
@_listing
@_plain_errors
def batches(forget: tuple[int, ...], last: int | None, chosen: Any) -> None:
    """List the batches with start, duration and frames; with --wide also frames expected, quarantined and missing."""
    from deployments.commands import forget_batches, list_batches

    if forget:
        forget_batches(forget)
        return
    list_batches(last, chosen)


@main.command()
@click.option("--replay", metavar="ARCHIVE", help="Retry the quarantined files of ARCHIVE in its next run.")
@_listing
@_plain_errors
def quarantine(replay: str | None, chosen: Any) -> None:
    """List the files and segments that could not be processed, each with the reason."""
    from deployments.commands import list_quarantine

    list_quarantine(replay, chosen)


@main.command()
@click.argument("statement")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    default="table",
    show_default=True,
    help="Output format.",
)
@click.option("--output", type=PATH, help="File to write, readable by you only. Required for parquet.")
@SPREADSHEET
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
@click.option("--model", metavar="NAME", help="Draw the results of this model.  [default: the one that the views show]")
@click.option("--from", "from_s", type=click.FloatRange(0), default=0, help="Start, in seconds of the video.")
@click.option("--to", "to_s", type=click.FloatRange(0), help="End, in seconds of the video.  [default: its end]")
@_plain_errors
def overlay(**options: Any) -> None:
    """Draw the results into a copy of VIDEO, and print its path.

    VIDEO is a name from 'nightjar videos', a path, or the start of the file's sha256.
    """
    from deployments.commands import print_overlay

    print_overlay(**options)


@main.command()
@click.option("--dry-run", is_flag=True, help="Print the repairs without making them.")
@click.option(
    "--verify", is_flag=True, help="Compare the content of every result file with the ledger, not only its presence."
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
    help="Check a silent run again after this many seconds, and end it if it is still silent.",
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
@click.option("--videos", type=PATH, help="Process your own folder of videos, with posenet-075.")
@click.option("--data", type=PATH, help="Folder with the weights of posenet-075.  [default: download them]")
@_plain_errors
def demo(videos: Path | None, data: Path | None) -> None:
    """Render videos of people with known joints, turn them into rows, and measure the accuracy."""
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

    Options that are left out are taken from the preset.
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
    """Quantize MODEL to INT8, and keep the result only if its accuracy drops by no more than --max-drop."""
    from deployments.commands import run_quantization

    run_quantization(spec)


@main.command()
@click.argument("runs", metavar="[RUN]...", type=int, nargs=-1)
@_listing
@_plain_errors
def compare(runs: tuple[int, ...], chosen: Any) -> None:
    """Compare fine-tunings, given by their numbers. Without a number, list them."""
    from deployments.commands import compare_runs

    compare_runs(runs, chosen)


def _night_options(command: Callable[..., None]) -> Callable[..., None]:
    options = (
        click.option("--archive", help="Archive to process every night: a folder or s3://bucket/prefix."),
        click.option("--model", help="Model to run every night. Required with --archive."),
        click.option("--cron", help="Schedule of the nightly batch, in cron's format.  [default: 0 1 * * *]"),
        click.option("--timezone", help="Time zone of the schedule, such as Europe/Berlin.  [default: this machine's]"),
    )
    for option in reversed(options):
        command = option(command)
    return command


@main.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. A password is required beyond loopback.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=4200, show_default=True, help="Port to listen on.")
@_night_options
@click.option(
    "--edge", metavar="DEVICE", help="Also process segments on this machine, on this device: CPU, MYRIAD, MULTI:…"
)
@click.option(
    "--fallback",
    type=click.Choice(["cpu", "none"]),
    default="none",
    show_default=True,
    help="With --edge: continue on the CPU when the device is lost, or stop.",
)
@_plain_errors
def up(host: str, port: int, edge: str | None, fallback: str, **night: str | None) -> None:
    """Start Prefect's server with its UI, deploy the flows and start a worker. Ctrl-C stops all of them."""
    from deployments.deploy import NightSchedule
    from deployments.up import bring_up

    bring_up(host, port, NightSchedule(**night), edge, fallback)


@main.command()
@_night_options
@click.option(
    "--server",
    metavar="URL",
    help="Address of its UI or its API.  [default: PREFECT_API_URL, or that of 'nightjar up']",
)
@_plain_errors
def deploy(server: str | None, **night: str | None) -> None:
    """Create or update the work pools, deployments and nightly schedule on a Prefect server."""
    from deployments.deploy import NightSchedule, deploy

    deploy(NightSchedule(**night), server)


@main.command()
@click.option(
    "--pool",
    type=click.Choice(["central", "edge"]),
    default="edge",
    show_default=True,
    help="Work pool whose runs are executed.",
)
@click.option("--device", default="CPU", show_default=True, help="Device of an edge worker: CPU, MYRIAD, MULTI:…")
@click.option("--name", help="Name, unique for each device.  [default: NIGHTJAR_WORKER_NAME, or host and device]")
@click.option(
    "--fallback",
    type=click.Choice(["cpu", "none"]),
    default="none",
    show_default=True,
    help="Continue on the CPU when the device is lost, or stop.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 100),
    default=2,
    show_default=True,
    help="Runs at once. The second one waits, ready, until the first releases the device.",
)
@click.option(
    "--server",
    metavar="URL",
    help="Address of its UI or its API.  [default: PREFECT_API_URL, or that of 'nightjar up']",
)
@_plain_errors
def worker(**options: Any) -> None:
    """Execute the runs of a work pool on this machine. An edge worker needs no database."""
    from deployments.worker import run_worker

    run_worker(**options)


@main.command(name="edge-gate")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=4201,
    show_default=True,
    help="Port on loopback, to which nginx forwards.",
)
@click.option(
    "--server", metavar="URL", default="http://127.0.0.1:4200", show_default=True, help="Address of Prefect's server."
)
@_plain_errors
def edge_gate(port: int, server: str) -> None:
    """Restrict edge workers to the work pool edge. Runs between nginx and Prefect's server."""
    from deployments.edge_gate import run_edge_gate

    run_edge_gate(port, server.rstrip("/").removesuffix("/api"))


if __name__ == "__main__":
    main()
