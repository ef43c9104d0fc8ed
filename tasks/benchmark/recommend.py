"""Recommendation of a model for a frame rate, by earlier measurements. Measures nothing."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from storage.sql.benchmarks import BenchmarkSpeed
from tasks.text.wording import rate


def recommend(speeds: Sequence[BenchmarkSpeed], frames_per_s: float, accuracy: Mapping[str, float]) -> list[str]:
    """Write one sentence per task and measured device.

    Of the models that reach this many frames per second the most accurate one; where the accuracy of one of them is not
    known, the one that computes most for a picture.

    accuracy: version_sha256 -> what was measured of it, of one kind, the more the better
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
            f"{where}: no model that was measured reaches {frames_per_s:g} frames/s; the fastest, {best.model}, "
            f"does {_reaches(best)}: look at fewer frames (--frames-per-second), or share the work among devices"
        )
    known = all(speed.version_sha256 in accuracy for speed in enough)
    best = max(enough, key=lambda speed: (accuracy[speed.version_sha256] if known else 0, speed.multiply_adds))
    margin = best.frames_per_s / frames_per_s - 1
    why = _why(best, len(enough), accuracy if known else {})
    return f"{where}: take {best.model}, {why}: {_reaches(best)}, {margin:.0%} above {frames_per_s:g}"


def _why(best: BenchmarkSpeed, of: int, accuracy: Mapping[str, float]) -> str:
    if of == 1:
        return "the only one that is fast enough"
    if accuracy:
        return f"the most accurate of {of} that are fast enough ({accuracy[best.version_sha256]:.3f})"
    return f"the largest of {of} that are fast enough ({best.multiply_adds / 1e6:,.0f} million multiply-adds a picture)"


def _reaches(speed: BenchmarkSpeed) -> str:
    alone = "" if speed.pipeline_frames_per_s else " for the model alone"
    return f"{rate(speed.frames_per_s)}{alone}"
