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
from tasks.analysis.spec import AnalyzeSpec
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
    "duckdb",
    "sqlglot",
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
    nightjar convert movenet-multipose                   get a published model
    nightjar run /my/videos --model movenet-multipose    turn videos into rows
    nightjar sql "SELECT * FROM video_summary"           query the rows
    nightjar up --archive /my/videos --model movenet-multipose   run every night, and from Prefect's UI

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
    """Convert a model of TensorFlow, TensorFlow.js or ONNX to OpenVINO IR, or import an IR, under NAME."""
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
    """List the model versions, and accuracy and speed of models side by side, with the recommended ones.

    An arrow marks the version that the views show. The figures are those that 'nightjar evaluate' and 'nightjar
    benchmark' measured here, and those of the published models.
    """
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
@_listing
@_plain_errors
def recordings(chosen: Any) -> None:
    """List the recordings of each camera, with the number of people who were followed through each.

    Files of a camera that follow each other are one recording. A file without a clock is a recording of its own.
    """
    from deployments.commands import list_recordings

    list_recordings(chosen)


@main.command()
@click.argument("video")
@_listing
@_plain_errors
def tracks(video: str, chosen: Any) -> None:
    """List the people who were followed through VIDEO, each under one number, with the times of their visits.

    VIDEO is a name from 'nightjar videos', a path, or the start of the file's sha256.
    """
    from deployments.commands import list_tracks

    list_tracks(video, chosen)


@main.command()
@click.option("--since", metavar="DAY", help="Only events that begin on this day or later: 2026-11-23.")
@click.option("--camera", help="Only events of this camera.")
@click.option("--rule", help="Only events of this rule: a name from 'nightjar rules'.")
@_listing
@_plain_errors
def events(since: str | None, camera: str | None, rule: str | None, chosen: Any) -> None:
    """List the events, the latest first: intervals in which a rule held.

    Events of videos without a clock come last. --since leaves them out.
    """
    from deployments.commands import list_events

    list_events(since or "", camera, rule, chosen)


@main.group(invoke_without_command=True)
@_listing
@click.pass_context
@_plain_errors
def rules(context: click.Context, chosen: Any) -> None:
    """List the rules, with the settings of the site file: name, meaning, condition, severity."""
    if context.invoked_subcommand is None:
        from deployments.commands import list_rules

        list_rules(chosen)


@rules.command(name="check")
@_plain_errors
def check_rules() -> None:
    """Check the rules of the site file: their settings, and their conditions against the columns of their rows."""
    from deployments.commands import check_rules

    check_rules()


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
    from deployments.commands import print_query, print_query_page
    from storage.sql.query import QueryLimits

    limits = QueryLimits(timeout_s, max_rows, max_mb << 20)
    print_query(statement, Format(form, spreadsheet=spreadsheet), output, limits)
    print_query_page(statement)


@main.command()
@spec_options(AnalyzeSpec)
@_plain_errors
def analyze(spec: AnalyzeSpec) -> None:
    """Follow the people of all stored videos, and measure their motion. Nothing is inferred again.

    A nightly batch does this for its own videos. The views show the result of changed parameters when all videos are
    analysed. An interrupted run resumes.
    """
    from deployments.commands import run_analysis

    run_analysis(spec)


@main.group()
def zones() -> None:
    """List, show or draw the zones of the cameras: areas and lines of [[zones]] in the site file."""


@zones.command(name="list")
@click.argument("camera", required=False)
@_listing
@_plain_errors
def list_zones(camera: str | None, chosen: Any) -> None:
    """List the zones of the site file, of all cameras or of CAMERA."""
    from deployments.commands import list_zones

    list_zones(camera, chosen)


def _still_options(command: Callable[..., None]) -> Callable[..., None]:
    options = (
        click.argument("camera", metavar="CAMERA|VIDEO"),
        click.option("--at", "at_s", type=click.FloatRange(0), help="Second of the video.  [default: its middle]"),
        click.option("--output", type=PATH, help="File to write.  [default: a new one in the store of artifacts]"),
    )
    for option in reversed(options):
        command = option(command)
    return command


@zones.command(name="show")
@_still_options
@_plain_errors
def show_zones(camera: str, at_s: float | None, output: Path | None) -> None:
    """Draw the zones on a frame of the camera's newest video, or of VIDEO, and print the picture's path."""
    from deployments.commands import print_zone_picture

    print_zone_picture(camera, at_s, output)


@zones.command(name="draw")
@_still_options
@_plain_errors
def draw_zones(camera: str, at_s: float | None, output: Path | None) -> None:
    """Write a page to draw the camera's zones on a frame of its newest video, and print its path.

    Open the page in a browser. It works offline, and shows the text for the site file.
    """
    from deployments.commands import print_drawing_page

    print_drawing_page(camera, at_s, output)


@main.command()
@click.argument("video")
@click.option("--model", metavar="NAME", help="Draw the results of this model.  [default: the one that the views show]")
@click.option("--from", "from_s", type=click.FloatRange(0), default=0, help="Start, in seconds of the video.")
@click.option("--to", "to_s", type=click.FloatRange(0), help="End, in seconds of the video.  [default: its end]")
@click.option("--output", type=PATH, help="File to write, readable by you only.  [default: a new one in the store]")
@click.option("--blur-faces", is_flag=True, help="Blur the heads of the people whom the model found.")
@_plain_errors
def overlay(**options: Any) -> None:
    """Export a copy of VIDEO, or a part of it, with the results drawn in, and print its path.

    VIDEO is a name from 'nightjar videos', a path, or the start of the file's sha256. 'nightjar browse' shows the same
    without a copy.
    """
    from deployments.commands import print_overlay
    from tasks.batch.spec import OverlayRequest

    print_overlay(OverlayRequest(**options))


@main.group()
def site() -> None:
    """Cameras, clocks, zones and rules: the site file nightjar.toml."""


@site.command(name="check")
@click.argument("archive", required=False)
@_plain_errors
def check_site(archive: str | None) -> None:
    """Check the site file, and show which camera and time it gives to the files of ARCHIVE, or of all known ones.

    ARCHIVE may be new. Nothing is changed.
    """
    from deployments.commands import check_site_file

    sys.exit(check_site_file(archive))


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
@click.option("--test", is_flag=True, help="Send a test message to every address, and print whether it was accepted.")
@_plain_errors
def notify(test: bool) -> None:
    """Send the messages that wait, and show those that still wait or were given up.

    Addresses are in the setting NIGHTJAR_NOTIFY_URLS; the section [notify] of the site file chooses the messages.
    """
    from deployments.commands import run_notify

    sys.exit(run_notify(test))


@main.command()
@_plain_errors
def doctor() -> None:
    """Check the installation, the devices, the database and the store."""
    from deployments.doctor import examine

    sys.exit(examine())


@main.command()
@click.option("--videos", type=PATH, help="Process your own folder of videos, with movenet-multipose.")
@click.option("--data", type=PATH, help="Folder with the weights of movenet-multipose.  [default: download them]")
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


@main.command(name="evaluate-tracks")
@click.argument("truth", type=PATH)
@click.option("--model", default="", help="Model whose people are tracked.  [default: the one that the views show]")
@click.option("--true-keypoints", is_flag=True, help="Track the people of the truth files instead of a model's.")
@click.option(
    "--frames-per-second",
    type=click.FloatRange(0, 1000, min_open=True),
    help="Frame rate of det.txt, where no seqinfo.ini has it.  [default: 25]",
)
@_plain_errors
def evaluate_tracks(truth: Path, model: str, true_keypoints: bool, frames_per_second: float | None) -> None:
    """Compare tracks with TRUTH and print IDF1, HOTA, MOTA and others, one per line.

    TRUTH is a folder with det.txt and gt.txt in MOTChallenge's format, or an archive with a file NAME.truth.json next
    to each video: COCO's keypoint format with a track_id per person. Gaps in tracks of boxes are filled before they are
    compared.
    """
    from deployments.commands import print_track_figures
    from tasks.analysis.evaluate_tracks import ArchiveRequest

    print_track_figures(truth, ArchiveRequest(model, true_keypoints), frames_per_second)


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


MARKS = click.option(
    "--marks", is_flag=True, help="Let events be marked as right or wrong on the pages. Nothing else is ever written."
)


@main.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. A password is required beyond loopback.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=4200, show_default=True, help="Port of Prefect's UI.")
@click.option(
    "--browse-port",
    type=click.IntRange(1, 65535),
    default=4270,
    show_default=True,
    help="Port of the pages of 'nightjar browse'.",
)
@MARKS
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
def up(
    host: str, port: int, browse_port: int, marks: bool, edge: str | None, fallback: str, **night: str | None
) -> None:
    """Start Prefect's server with its UI, the pages of results and a worker, and deploy the flows. Ctrl-C stops all."""
    from deployments.deploy import NightSchedule
    from deployments.up import Listeners, bring_up

    bring_up(Listeners(host, port, browse_port, marks), NightSchedule(**night), edge, fallback)


@main.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. A password is required beyond loopback.",
)
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 = any free one.  [default: 4270]")
@MARKS
@_plain_errors
def browse(host: str, port: int | None, marks: bool) -> None:
    """Show nights, videos with skeletons, events and queries as pages in a browser. Ctrl-C stops it.

    'nightjar up' serves the same pages. While they run, this only prints their address.
    """
    from deployments.browse.serve import serve

    serve(host, port, marks=marks)


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
