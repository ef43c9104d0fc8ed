"""Commands that convert, train, measure, compare and choose models."""

from pathlib import Path
from typing import Any

import click

from deployments.command_line.errors import plain_errors
from deployments.command_line.options import PATH, listing_options
from deployments.spec_options import spec_options
from models.car_classifier.params import FinetuneSpec
from models.conversion.spec import ConvertSpec, QuantizeSpec
from models.evaluation.spec import EvaluateSpec
from models.inference.spec import BenchmarkSpec
from tasks.model.interval_request import IntervalRequest

group = click.Group()


@group.command()
@spec_options(ConvertSpec)
@plain_errors
def convert(spec: ConvertSpec) -> None:
    """Convert a model of TensorFlow, TensorFlow.js or ONNX to OpenVINO IR, or import an IR, under NAME."""
    from deployments.commands import run_convert

    run_convert(spec)


@group.command()
@click.option(
    "--show", "shown", metavar="NAME", help="Show this model's newest version in the views, also after other batches."
)
@click.option("--unpin", is_flag=True, help="Undo --show: the views show the next version that a batch completes.")
@click.option(
    "--frames-per-second",
    type=click.FloatRange(0, 100_000, min_open=True),
    help="Recommend a model for this many frames per second, for each measured device.",
)
@listing_options
@plain_errors
def models(shown: str | None, unpin: bool, frames_per_second: float | None, chosen: Any) -> None:
    """List the model versions, and accuracy and speed of models side by side, with the recommended ones.

    An arrow marks the version that the views show. The figures are those that 'nightjar evaluate' and 'nightjar
    benchmark' measured here, and those of the published models.
    """
    from deployments.commands import list_models

    list_models(shown, unpin, frames_per_second, chosen)


@group.command()
@click.argument("model")
@click.option("--enter", type=click.FloatRange(0, 1), help="Probability at which an interval begins.")
@click.option("--leave", type=click.FloatRange(0, 1), help="It ends before the first frame with a lower probability.")
@click.option(
    "--min-duration", type=click.FloatRange(0, 86400), default=0.0, help="Leave out intervals of fewer seconds."
)
@click.option("--label", default="", help="Label whose intervals are meant.  [default: the model's second]")
@click.option("--off", is_flag=True, help="Let intervals end where the label changes again.")
@plain_errors
def intervals(model: str, enter: float | None, leave: float | None, min_duration: float, label: str, off: bool) -> None:
    """Show or set at which probabilities the intervals of a classifier MODEL begin and end in label_intervals.

    The rows of its frames stay as they are.
    """
    from deployments.commands import show_intervals

    show_intervals(model, IntervalRequest(label, enter, leave, min_duration, off))


@group.command()
@spec_options(BenchmarkSpec)
@plain_errors
def benchmark(spec: BenchmarkSpec) -> None:
    """Measure the speed of models on a device: inference alone, and from a video to its rows."""
    from deployments.commands import run_benchmark

    run_benchmark(spec)


@group.command()
@spec_options(FinetuneSpec)
@plain_errors
def finetune(spec: FinetuneSpec) -> None:
    """Fine-tune a car / not-a-car classifier and convert it. An interrupted run resumes.

    Options that are left out are taken from the preset.
    """
    from deployments.commands import run_finetuning

    run_finetuning(spec)


@group.command()
@spec_options(EvaluateSpec)
@plain_errors
def evaluate(spec: EvaluateSpec) -> None:
    """Measure AP, AR, mean OKS and PCK of MODEL. A second run prints the stored figures."""
    from deployments.commands import run_evaluation

    run_evaluation(spec)


@group.command(name="evaluate-tracks")
@click.argument("truth", type=PATH)
@click.option("--model", default="", help="Model whose people are tracked.  [default: the one that the views show]")
@click.option("--true-keypoints", is_flag=True, help="Track the people of the truth files instead of a model's.")
@click.option(
    "--frames-per-second",
    type=click.FloatRange(0, 1000, min_open=True),
    help="Frame rate of det.txt, where no seqinfo.ini has it.  [default: 25]",
)
@plain_errors
def evaluate_tracks(truth: Path, model: str, true_keypoints: bool, frames_per_second: float | None) -> None:
    """Compare tracks with TRUTH and print IDF1, HOTA, MOTA and others, one per line.

    TRUTH is a folder with det.txt and gt.txt in MOTChallenge's format, or an archive with a file NAME.truth.json next
    to each video: COCO's keypoint format with a track_id per person. Gaps in tracks of boxes are filled before they are
    compared.
    """
    from deployments.commands import print_track_figures
    from tasks.analysis.evaluate_tracks import ArchiveRequest

    print_track_figures(truth, ArchiveRequest(model, true_keypoints), frames_per_second)


@group.command()
@spec_options(QuantizeSpec)
@plain_errors
def quantize(spec: QuantizeSpec) -> None:
    """Quantize MODEL to INT8, and keep the result only if its accuracy drops by no more than --max-drop."""
    from deployments.commands import run_quantization

    run_quantization(spec)


@group.command()
@click.argument("runs", metavar="[RUN]...", type=int, nargs=-1)
@listing_options
@plain_errors
def compare(runs: tuple[int, ...], chosen: Any) -> None:
    """Compare fine-tunings, given by their numbers. Without a number, list them."""
    from deployments.commands import compare_runs

    compare_runs(runs, chosen)
