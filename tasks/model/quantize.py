"""Tasks of `quantize-model`: quantize on frames, compare with the source, store or refuse."""

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path

from prefect import task

from models.conversion.spec import QuantizeSpec
from models.evaluation.agreement import mean_agreement
from models.evaluation.coco import CocoSet
from models.evaluation.protocol import Figures, Protocol, evaluation_params, plan_evaluation
from models.inference.benchmark import SpeedRatio, compare_speeds, inferences_per_s
from models.inference.pipeline import DECODERS, FrameTensor, run_pipeline
from models.inference.runtime import Runtime
from models.manifest import Manifest
from models.types import FramePoses, NightjarError
from tasks.model.archive_frames import ArchiveFrames, Tensor
from tasks.model.evaluate import Measured, grey, measure, open_for_evaluation
from tasks.runs.policy import TASK

log = logging.getLogger(__name__)

MAX_DROP = 0.02
MAX_DISAGREEMENT = 0.3
"""Limit without annotations, larger because a moved keypoint need not be worse: see docs/decisions/141."""


class QuantizationRefused(NightjarError):
    """The INT8 model is less accurate than allowed and is not stored."""


@dataclass(frozen=True)
class QuantizedScores:
    """Measurements of the INT8 model and its source.

    source, quantised: measured in the same run; without annotations, the source is compared with itself
    max_drop: allowed decrease of AP and mean OKS
    speed: ratio of the two speeds
    """

    source: Measured
    quantised: Measured
    max_drop: float
    speed: SpeedRatio


def quantize(folder: Path, manifest: Manifest, spec: QuantizeSpec, frames: ArchiveFrames, out: Path) -> Manifest:
    """Call `models.conversion.quantize.quantize`, imported here because only this task needs NNCF."""
    from models.conversion.quantize import quantize

    return quantize(folder, manifest, spec, frames.chosen, frames.described, out)


quantize_task = task(name="quantise", **TASK)(quantize)


def judge(
    source: tuple[Path, Manifest],
    quantised: tuple[Path, Manifest],
    frames: ArchiveFrames,
    coco: CocoSet | None,
    spec: QuantizeSpec,
) -> QuantizedScores:
    """Measure both models on the annotated images; without images, their agreement on held-out frames.

    Raises NightjarError if the frames show no people.
    """
    runtimes = [open_for_evaluation(folder, manifest, spec.device) for folder, manifest in (source, quantised)]
    if coco is None:
        one, other = _agreement(source[1], runtimes, frames)
    else:
        one, other = (
            measure(plan_evaluation(coco, manifest, runtime, "multi", None), runtime)
            for (_, manifest), runtime in zip((source, quantised), runtimes, strict=True)
        )
    speed = compare_speeds(runtimes[0], runtimes[1], grey(one.protocol.input_height, one.protocol.input_width))
    one = dataclasses.replace(one, inferences_per_s=speed.first_per_s)  # so that the two can be compared
    other = dataclasses.replace(other, inferences_per_s=speed.second_per_s)
    usual = MAX_DISAGREEMENT if coco is None else MAX_DROP
    return QuantizedScores(one, other, usual if spec.max_drop is None else spec.max_drop, speed)


judge_task = task(name="judge", **TASK)(judge)


def refuse_worse(name: str, judged: QuantizedScores) -> None:
    """Raise QuantizationRefused with both figures if AP or mean OKS fell by more than is allowed."""
    for field, label in (("ap", "AP"), ("mean_oks", "mean OKS")):
        before, after = (getattr(one.figures, field) for one in (judged.source, judged.quantised))
        if before is not None and not before - after <= judged.max_drop:
            protocol = judged.quantised.protocol
            raise QuantizationRefused(
                f"{name} was not stored: its {label} is {after:.4f}, that of its source {before:.4f}, and at most "
                f"{judged.max_drop:g} less is allowed ({protocol.mode}, {protocol.pictures}, {protocol.people} "
                "people). Give more frames, frames closer to its later use, or another --max-drop."
            )


def _agreement(manifest: Manifest, runtimes: list[Runtime], frames: ArchiveFrames) -> tuple[Measured, Measured]:
    theirs = _people(manifest.decoder, manifest.decode_params, runtimes[0], frames.held_out)
    unsure = evaluation_params(manifest, "multi")
    measured = []
    for runtime in runtimes:
        agreement, people = mean_agreement(theirs, _people(manifest.decoder, unsure, runtime, frames.held_out))
        if not people:
            raise NightjarError(
                f"{manifest.name} finds nobody in {len(frames.held_out)} frames of the archive. Give an archive with "
                "people, or annotated images with --coco and --images."
            )
        protocol = Protocol(
            mode="agreement",
            truth=f"the people of {manifest.name}, version {manifest.version_id[:12]}",
            truth_sha256=manifest.version_id,
            pictures=f"{len(frames.held_out)} other frames than the {frames.described}",
            images=len(frames.held_out),
            images_sha256=frames.held_out_sha256(),
            people=people,
            input_width=manifest.input.width,
            input_height=manifest.input.height,
            resize=manifest.input.resize,
            decoder=manifest.decoder,
            decode_params=unsure,
            device=runtime.device,
            precision=runtime.precision,
        )
        speed = inferences_per_s(runtime, grey(manifest.input.height, manifest.input.width))
        measured.append(Measured(protocol, Figures(agreement), speed))
    log.info("Compared on %s frames with %s people", len(frames.held_out), measured[0].protocol.people)
    return measured[0], measured[1]


def _people(decoder: str, params: dict[str, object], runtime: Runtime, frames: list[Tensor]) -> list[FramePoses]:
    """Return the people of each frame, in pixels of the tensor."""
    tensors = (FrameTensor(number, 0.0, frame[None]) for number, frame in enumerate(frames))
    found = [result.seen for result in run_pipeline(tensors, runtime, DECODERS[decoder](params))]
    return [seen for seen in found if isinstance(seen, FramePoses)]
