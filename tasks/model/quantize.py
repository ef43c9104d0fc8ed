"""Tasks of `quantize-model`: quantize on frames, compare with the source, store or refuse."""

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path

from prefect import task

from models.conversion.spec import QuantizeSpec
from models.evaluation.agreement import mean_agreement
from models.evaluation.coco import CocoSet
from models.evaluation.loss import LEAST_PEOPLE, MAX_AGREEMENT_LOSS, MAX_AP_LOSS, AccuracyLoss, doubt_about_ap
from models.evaluation.protocol import Figures, Protocol, evaluation_params, plan_evaluation
from models.inference.benchmark import SpeedRatio, compare_speeds
from models.inference.pipeline import DECODERS, FrameTensor, run_pipeline
from models.inference.runtime import Runtime
from models.manifest import Manifest
from models.types import FramePoses, NightjarError
from tasks.model.archive_frames import ArchiveFrames, Tensor
from tasks.model.evaluate import Measured, grey, measure, open_for_evaluation
from tasks.runs.policy import TASK

log = logging.getLogger(__name__)


class QuantizationRefused(NightjarError):
    """The INT8 model is less accurate than allowed and is not stored."""


@dataclass(frozen=True)
class Pair:
    """Measurements of the source and of its INT8 model by one protocol; by agreement, the source is its own measure."""

    source: Measured
    quantized: Measured


@dataclass(frozen=True)
class Judgement:
    """Comparison of an INT8 model with its source, measured in the same run.

    pairs: by each protocol: the annotated images, if there are any, and the agreement where AP cannot decide
    loss: by the last of them; basis: reason for its choice
    speed: ratio of the two speeds; in doubt, no measurement has a speed
    """

    pairs: tuple[Pair, ...]
    loss: AccuracyLoss
    basis: str
    speed: SpeedRatio

    def lines(self, source: str, quantized: str) -> list[str]:
        """Describe the losses and the speed in sentences. source, quantized: names of the models"""
        aside = [f"It does not decide, but {quantized} has {_loss(pair, None).figures()}." for pair in self.pairs[:-1]]
        return [
            f"{quantized} has {self.loss.describe()} ({self.basis}).",
            *aside,
            self.speed.describe(source, quantized),
        ]


def quantize(folder: Path, manifest: Manifest, spec: QuantizeSpec, frames: ArchiveFrames, out: Path) -> Manifest:
    """Call `models.conversion.quantize.quantize`, imported here because only this task needs NNCF."""
    from models.conversion.quantize import quantize

    return quantize(folder, manifest, spec, frames.chosen, frames.described, out)


quantize_task = task(name="quantize", **TASK)(quantize)


def judge(
    source: tuple[Path, Manifest],
    quantized: tuple[Path, Manifest],
    frames: ArchiveFrames,
    coco: CocoSet | None,
    spec: QuantizeSpec,
) -> Judgement:
    """Measure both models on the annotated images, and their agreement on held-out frames where AP cannot decide.

    Raises NightjarError if the frames show no people, and their agreement is needed.
    """
    runtimes = [open_for_evaluation(folder, manifest, spec.device) for folder, manifest in (source, quantized)]
    annotated = None if coco is None else _on_images(coco, (source[1], quantized[1]), runtimes)
    doubt = "no annotated images were given" if annotated is None else _doubt(annotated.source)
    agreement = _agreement(source[1], runtimes, frames) if doubt else None
    speed = compare_speeds(runtimes[0], runtimes[1], grey(source[1].input.height, source[1].input.width))
    pairs = tuple(_with_speeds(pair, speed) for pair in (annotated, agreement) if pair is not None)
    return Judgement(pairs, _loss(pairs[-1], spec.max_drop), doubt or _people_of(pairs[-1].source), speed)


judge_task = task(name="judge", **TASK)(judge)


def refuse_worse(name: str, judged: Judgement) -> None:
    """Raise QuantizationRefused with both figures if more accuracy was lost than is allowed."""
    if not judged.loss.accepted:
        protocol = judged.pairs[-1].quantized.protocol
        raise QuantizationRefused(
            f"{name} was not stored: it has {judged.loss.describe()} ({protocol.mode}, {protocol.pictures}, "
            f"{protocol.people} people). Give more frames, frames closer to its later use, or another --max-drop."
        )


def _on_images(coco: CocoSet, manifests: tuple[Manifest, Manifest], runtimes: list[Runtime]) -> Pair:
    source, quantized = (
        measure(plan_evaluation(coco, manifest, runtime, "multi", None), runtime)
        for manifest, runtime in zip(manifests, runtimes, strict=True)
    )
    return Pair(source, quantized)


def _doubt(source: Measured) -> str:
    return doubt_about_ap(source.protocol.people, source.figures.ap or 0.0)


def _people_of(source: Measured) -> str:
    return f"{source.protocol.people:,} people are annotated"


def _loss(pair: Pair, max_drop: float | None) -> AccuracyLoss:
    """Compare by AP where the figures have it, else by agreement. max_drop: share; None = the measure's own limit"""
    before, after = pair.source.figures, pair.quantized.figures
    if before.ap is None or after.ap is None:
        limit = MAX_AGREEMENT_LOSS if max_drop is None else max_drop
        return AccuracyLoss("agreement", before.mean_oks, after.mean_oks, limit)
    return AccuracyLoss("AP", before.ap, after.ap, MAX_AP_LOSS if max_drop is None else max_drop)


def _with_speeds(pair: Pair, speed: SpeedRatio) -> Pair:
    """Add both speeds, from rounds in turns; none where they are in doubt, so that nobody divides them."""
    source, quantized = (None, None) if speed.doubt else (speed.first_per_s, speed.second_per_s)
    return Pair(
        dataclasses.replace(pair.source, inferences_per_s=source),
        dataclasses.replace(pair.quantized, inferences_per_s=quantized),
    )


def _agreement(manifest: Manifest, runtimes: list[Runtime], frames: ArchiveFrames) -> Pair:
    theirs = _people(manifest.decoder, manifest.decode_params, runtimes[0], frames.held_out)
    unsure = evaluation_params(manifest, "multi")
    measured = []
    for runtime in runtimes:
        agreement, people = mean_agreement(theirs, _people(manifest.decoder, unsure, runtime, frames.held_out))
        if not people:
            raise NightjarError(
                f"{manifest.name} finds nobody in {len(frames.held_out)} frames of the archive. Give an archive with "
                f"people, or at least {LEAST_PEOPLE} annotated people with --coco and --images."
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
        measured.append(Measured(protocol, Figures(agreement)))
    log.info("Compared on %s frames with %s people", len(frames.held_out), measured[0].protocol.people)
    return Pair(*measured)


def _people(decoder: str, params: dict[str, object], runtime: Runtime, frames: list[Tensor]) -> list[FramePoses]:
    """Return the people of each frame, in pixels of the tensor."""
    tensors = (FrameTensor(number, 0.0, frame[None]) for number, frame in enumerate(frames))
    found = [result.seen for result in run_pipeline(tensors, runtime, DECODERS[decoder](params))]
    return [seen for seen in found if isinstance(seen, FramePoses)]
