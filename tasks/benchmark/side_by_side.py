"""Accuracy and speed of the models of this site side by side, as measured by `nightjar evaluate` and `benchmark`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from storage.sql.benchmarks import BenchmarkSpeed
from storage.sql.evaluations import ComparableAccuracy, VersionAccuracy


@dataclass(frozen=True)
class MeasuredModel:
    """A model version on a device; None: not measured.

    model_frames_per_s, cpu_ms: the inference alone; pipeline_frames_per_s: from the video to its rows
    """

    model: str
    size: str
    device: str
    precision: str | None
    ap: float | None
    mean_oks: float | None
    model_frames_per_s: float | None
    pipeline_frames_per_s: float | None
    cpu_ms: float | None
    version_sha256: str


def side_by_side(speeds: Sequence[BenchmarkSpeed], accuracy: ComparableAccuracy) -> list[MeasuredModel]:
    """Return one row per measured version and device, then the versions of which the accuracy alone is known."""
    known = {version.version_sha256: version for version in accuracy.versions}
    fast = {speed.version_sha256 for speed in speeds}
    only_accurate = (_without_speed(version) for version in accuracy.versions if version.version_sha256 not in fast)
    return [*(_with_speed(speed, known.get(speed.version_sha256)) for speed in speeds), *only_accurate]


def protocol_line(accuracy: ComparableAccuracy) -> Iterator[str]:
    """Yield the sentence on the images of the figures, if there are any."""
    if accuracy.versions:
        yield (
            f"AP and mean OKS: {accuracy.images:,} images with {accuracy.people:,} people, annotations "
            f"{accuracy.truth_sha256[:12]}, the ones of the newest evaluation"
        )


def _with_speed(speed: BenchmarkSpeed, accuracy: VersionAccuracy | None) -> MeasuredModel:
    return MeasuredModel(
        model=speed.model,
        size=speed.size,
        device=speed.device,
        precision=speed.precision,
        ap=accuracy and accuracy.ap,
        mean_oks=accuracy and accuracy.mean_oks,
        model_frames_per_s=speed.model_frames_per_s,
        pipeline_frames_per_s=speed.pipeline_frames_per_s,
        cpu_ms=speed.inference_cpu_ms,
        version_sha256=speed.version_sha256,
    )


def _without_speed(accuracy: VersionAccuracy) -> MeasuredModel:
    return MeasuredModel(
        model=accuracy.model,
        size=accuracy.size,
        device=accuracy.device,
        precision=None,
        ap=accuracy.ap,
        mean_oks=accuracy.mean_oks,
        model_frames_per_s=None,
        pipeline_frames_per_s=None,
        cpu_ms=None,
        version_sha256=accuracy.version_sha256,
    )
