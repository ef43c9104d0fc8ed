"""The `nightjar` command. It reads arguments and prints answers; the work is in the flows.

Every import that costs time is inside its command, so that `nightjar --help` answers at once.
"""

import io
import os
import re
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from models.types import NightjarError
from storage.private import be_private

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
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")


class ModelName(click.ParamType[str, Any]):
    """A name that a model may be given: as the flows' forms have it."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not NAME.fullmatch(value):
            self.fail(
                f"{value!r} is no name for a model. Use small letters, digits and '-', such as my-model", param, ctx
            )
        return str(value)


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
    """The options of every listing, handed on as one Format."""

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
@click.argument("name", type=ModelName())
@click.option("--source", help="A file, a folder or an https address; the published weights when left out.")
@click.option(
    "--width",
    type=click.FloatRange(0, 2, min_open=True),
    help="MobileNet's width: 0.5, 0.75, 1.0, 1.01; read from the weights when left out.",
)
@click.option("--size", type=click.IntRange(65, 2049), help="Input height and width in pixels.  [default: 224]")
@click.option("--precision", type=click.Choice(["FP16", "FP32"]), default="FP16", show_default=True)
@click.option(
    "--device-target",
    type=click.Choice(["CPU", "MYRIAD"]),
    default="CPU",
    show_default=True,
    help="MYRIAD refuses what a Neural Compute Stick cannot run.",
)
@click.option("--images", type=PATH, help="Folder of pictures for measuring the parity with the source.")
@click.option("--labels", help="Labels of a classifier, between commas; for a single output: negative,positive.")
@click.option(
    "--scale",
    type=click.Choice(["-1..1", "0..1", "0..255", "imagenet"]),
    help="Range of the input that the model was trained with.  [default: as found in the model]",
)
@click.option("--mean", metavar="M[,M,M]", help="Subtracted from the scaled pixels, per channel.")
@click.option("--std", metavar="S[,S,S]", help="Standard deviation that the difference is divided by.")
@click.option("--channels", type=click.Choice(["RGB", "BGR"]), help="Channel order of the input.  [default: RGB]")
@click.option("--labelled", type=PATH, help="Folder with one folder of pictures per label, to test a classifier on.")
@_plain_errors
def convert(**options: Any) -> None:
    """Convert a TensorFlow or TensorFlow.js model to OpenVINO IR, or take an IR, as the model NAME."""
    from deployments.commands import run_convert

    run_convert(**options)


@main.command()
@click.argument("archive")
@click.option("--model", required=True, help="A model's name (its newest version) or a version's hash.")
@click.option(
    "--segment-s",
    type=click.IntRange(1, 3600),
    default=60,
    show_default=True,
    help="Seconds of video per segment: the unit of commit and retry.",
)
@click.option(
    "--dispatch",
    type=click.Choice(["local", "fleet"]),
    default="local",
    show_default=True,
    help="Process the segments on this machine, or by the workers of the edge pool.",
)
@click.option(
    "--overlay",
    type=click.Choice(["none", "sample", "all"]),
    default="sample",
    show_default=True,
    help="Videos with the skeletons drawn in, written to the artifact store.",
)
@click.option("--device", default="CPU", show_default=True, help="OpenVINO's name of the device.")
@click.option(
    "--precision",
    type=click.Choice(["f32", "bf16"]),
    default="f32",
    show_default=True,
    help="bf16 is faster on CPUs that have it, and moves keypoints.",
)
@click.option(
    "--frames-per-second",
    type=click.FloatRange(0.01, 1000),
    help="Process only this many frames per second.  [default: every frame]",
)
@_plain_errors
def run(**options: Any) -> None:
    """Turn the videos of ARCHIVE, a folder or s3://bucket/prefix, into rows. Later runs process new files only."""
    from deployments.commands import run_batch

    sys.exit(run_batch(**options))


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
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--device", default="CPU", show_default=True, help="OpenVINO's name of the device.")
@click.option("--precision", type=click.Choice(["f32", "bf16"]), default="f32", show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 3600),
    default=10,
    show_default=True,
    help="Duration of each measurement; there are two per model.",
)
@click.option("--video", type=PATH, help="Video to process.  [default: half a minute of synthetic people]")
@_plain_errors
def benchmark(**options: Any) -> None:
    """Measure the speed of models on a device: alone, and from a video to its rows."""
    from deployments.commands import run_benchmark

    run_benchmark(**options)


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
    from deployments.sweep import run_sweep

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
@click.option("--minutes", type=click.FloatRange(0, 600, min_open=True), default=57, show_default=True)
@click.option("--seed", type=click.IntRange(0, 1_999_999_999), default=1, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=1_000_000, help="Maximum number of batches.")
@click.option("--folder", type=PATH, help="Folder of the training; one that is there resumes.")
@_plain_errors
def train_demo(**options: Any) -> None:
    """Train posenet-demo from random weights on rendered people, and measure it. An interrupted run resumes."""
    from deployments.commands import run_training

    run_training(**options)


@main.command()
@click.option(
    "--preset",
    type=click.Choice(["experiment-1", "experiment-2", "experiment-3"]),
    default="experiment-1",
    show_default=True,
    help="1: split at random. 2: the data sets' own splits. 3: and dropout against overfitting.",
)
@click.option("--stanford", type=PATH, help="Folder of Stanford Cars' pictures; needs --devkit.")
@click.option("--devkit", type=PATH, help="Folder of Stanford Cars' annotations, the .mat files.")
@click.option("--caltech", type=PATH, help="Folder of Caltech-256's folders, such as 252.car-side-101.")
@click.option(
    "--pictures",
    "folders",
    type=PATH,
    multiple=True,
    help="Folder with car/ and not_car/; any number. Folders train, validation and test in it are its splits.",
)
@click.option("--crop", is_flag=True, help="Cut Stanford Cars' pictures to the annotated box.")
@click.option("--weights", type=PATH, help="Keras's .h5 of the backbone without its top.  [default: the published one]")
@click.option("--name", type=ModelName(), default="car-classifier", show_default=True, help="The model's name here.")
@click.option("--backbone", type=click.Choice(["resnet50", "mobilenet_0_25"]), help="[default: resnet50]")
@click.option("--learning-rate", type=click.FloatRange(1e-7, 1))
@click.option("--optimizer", type=click.Choice(["adam", "sgd", "rmsprop"]))
@click.option("--epochs", type=click.IntRange(1, 1000))
@click.option("--batch-size", type=click.IntRange(1, 1024))
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Seed of splits, first weights and order.")
@click.option("--dropout", type=click.FloatRange(0, 0.9), help="Share of the features to drop.")
@click.option("--dense", type=click.IntRange(1, 4096), multiple=True, help="Width of an extra layer; up to four.")
@click.option("--unfrozen-blocks", type=click.IntRange(0, 16), help="Number of the backbone's last blocks to train.")
@click.option("--augment/--no-augment", default=None, help="Train on flipped, cropped, brighter and darker pictures.")
@click.option("--class-weights", type=click.Choice(["none", "balanced"]))
@click.option(
    "--own-splits/--random-splits",
    default=None,
    help="The data sets' own splits; or all drawn at random, even of folders called train, validation and test.",
)
@_plain_errors
def finetune(**options: Any) -> None:
    """Fine-tune a car / not-a-car classifier and convert it. An interrupted run resumes.

    What is left out is the preset's.
    """
    from deployments.commands import run_finetuning

    run_finetuning(**options)


@main.command()
@click.argument("model")
@click.option("--coco", type=PATH, required=True, help="COCO's keypoint annotations.")
@click.option("--images", type=PATH, required=True, help="Folder of their images; missing ones are left out.")
@click.option(
    "--mode",
    type=click.Choice(["multi", "single"]),
    default="multi",
    show_default=True,
    help="single: images of one annotated person, decoded as one, stretched.",
)
@click.option("--device", default="CPU", show_default=True, help="OpenVINO's name of the device.")
@click.option("--limit", type=click.IntRange(1), help="Maximum number of images, the first by id.")
@_plain_errors
def evaluate(**options: Any) -> None:
    """Measure AP, AR, mean OKS and PCK of MODEL. A second run prints the stored figures."""
    from deployments.commands import run_evaluation

    run_evaluation(**options)


@main.command()
@click.argument("model")
@click.option("--archive", required=True, help="Videos like those to be processed: a folder or s3://bucket/prefix.")
@click.option("--frames", type=click.IntRange(10, 5000), default=300, show_default=True, help="Frames to calibrate on.")
@click.option("--name", type=ModelName(), help="The new model's name.  [default: MODEL-int8]")
@click.option("--coco", type=PATH, help="COCO's keypoint annotations to measure with, needs --images.")
@click.option("--images", type=PATH, help="Folder of their images.")
@click.option(
    "--max-drop",
    type=click.FloatRange(0, 1),
    help="Accepted loss of AP and mean OKS.  [default: 0.02; without --coco 0.3 of the agreement]",
)
@click.option("--device", default="CPU", show_default=True, help="OpenVINO's name of the device to measure on.")
@_plain_errors
def quantize(**options: Any) -> None:
    """Quantize MODEL to INT8, and keep the result only if it is as accurate."""
    from deployments.commands import run_quantization

    run_quantization(**options)


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
    from deployments.deploy import Night
    from deployments.up import bring_up

    bring_up(host, port, Night(**night), edge, fallback)


@main.command()
@_night_options
@click.option(
    "--server", metavar="URL", help="Of its pages or its API.  [default: PREFECT_API_URL, or the one of 'nightjar up']"
)
@_plain_errors
def deploy(server: str | None, **night: str | None) -> None:
    """Update a Prefect server: work pools, deployments, the schedule of the night."""
    from deployments.deploy import Night, deploy

    deploy(Night(**night), server)


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
