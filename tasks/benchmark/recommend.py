"""Recommendation of a model for a frame rate, from earlier measurements. Measures nothing."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from storage.sql.benchmarks import BenchmarkSpeed
from tasks.text.wording import rate


def recommend(speeds: Sequence[BenchmarkSpeed], frames_per_s: float, accuracy: Mapping[str, float]) -> list[str]:
    """Write one sentence per task and measured device.

    The most accurate of the models that reach this many frames per second is recommended. If an accuracy is missing,
    the model with the most multiply-adds is.

    accuracy: version_sha256 -> one comparable measure, higher is better
    """
    groups: dict[tuple[str, ...], list[BenchmarkSpeed]] = defaultdict(list)
    for speed in speeds:
        groups[speed.task, speed.worker, speed.device, speed.precision].append(speed)
    return [_sentence(group, frames_per_s, accuracy) for group in groups.values()]


def _sentence(group: Sequence[BenchmarkSpeed], frames_per_s: float, accuracy: Mapping[str, float]) -> str:
    first = group[0]
    where = f"{first.task}, {first.device} of {first.worker} in {first.precision}"
    enough = [speed for speed in group if speed.frames_per_s >= frames_per_s]
    if not enough:
        best = max(group, key=lambda speed: speed.frames_per_s)
        return (
            f"{where}: no measured model reaches {frames_per_s:g} frames/s. The fastest, {_named(best)}, reaches "
            f"{_reaches(best)}. Process fewer frames (--frames-per-second), or share the work among devices."
        )
    known = all(speed.version_sha256 in accuracy for speed in enough)
    best = max(enough, key=lambda speed: (accuracy[speed.version_sha256] if known else 0, speed.multiply_adds))
    margin = best.frames_per_s / frames_per_s - 1
    why = _why(best, len(enough), accuracy if known else {})
    return f"{where}: use {_named(best)}, {why}. It reaches {_reaches(best)}, {margin:.0%} above {frames_per_s:g}."


def _named(speed: BenchmarkSpeed) -> str:
    return f"{speed.model} at {speed.size}" if speed.size else speed.model


def _why(best: BenchmarkSpeed, of: int, accuracy: Mapping[str, float]) -> str:
    if of == 1:
        return "the only fast enough model"
    if accuracy:
        return f"the most accurate of {of} fast enough models ({accuracy[best.version_sha256]:.3f})"
    return f"the largest of {of} fast enough models ({best.multiply_adds / 1e6:,.0f} million multiply-adds per frame)"


def _reaches(speed: BenchmarkSpeed) -> str:
    alone = "" if speed.pipeline_frames_per_s else " for the model alone"
    return f"{rate(speed.frames_per_s)}{alone}"
