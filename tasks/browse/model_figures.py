"""Accuracy against speed: this project's reference figures, and what was measured at this site."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from models.evaluation.reference import ReferenceFigures, ReferenceModel
from storage.sql.evaluations import ComparableAccuracy
from tasks.benchmark.side_by_side import MeasuredModel
from tasks.browse.charts import NARROW, WIDE, Axis, ChartText, DrawnChart, Point, draw
from tasks.text.wording import kind


@dataclass(frozen=True)
class ModelFigures:
    """Figures of a model at one size; None = not measured.

    number: of its row and its point; is_reference: measured by this project, not at this site
    frames_per_s, cpu_ms: the inference alone; pipeline_frames_per_s: from a video to its rows
    purpose: that it is recommended for, "" = none
    """

    number: int
    model: str
    size: str
    is_reference: bool
    device: str
    ap: float | None
    mean_oks: float | None
    single_mean_oks: float | None
    frames_per_s: float | None
    pipeline_frames_per_s: float | None
    cpu_ms: float | None
    purpose: str

    @property
    def name(self) -> str:
        return f"{self.model} {self.size}".strip()


def all_figures(reference: ReferenceFigures, measured: Sequence[MeasuredModel]) -> list[ModelFigures]:
    """Return the figures of this site, then those of the reference."""
    here = [_measured(number, model) for number, model in enumerate(measured, 1)]
    return [*here, *(_reference(number, model) for number, model in enumerate(reference.models, len(here) + 1))]


def _measured(number: int, found: MeasuredModel) -> ModelFigures:
    return ModelFigures(
        number=number,
        model=found.model,
        size=found.size,
        is_reference=False,
        device=found.device,
        ap=found.ap,
        mean_oks=found.mean_oks,
        single_mean_oks=None,
        frames_per_s=found.model_frames_per_s,
        pipeline_frames_per_s=found.pipeline_frames_per_s,
        cpu_ms=found.cpu_ms,
        purpose="",
    )


def _reference(number: int, found: ReferenceModel) -> ModelFigures:
    return ModelFigures(
        number=number,
        model=found.model,
        size=found.size,
        is_reference=True,
        device="CPU",
        ap=found.ap,
        mean_oks=found.mean_oks,
        single_mean_oks=found.single_mean_oks,
        frames_per_s=found.frames_per_s,
        pipeline_frames_per_s=None,
        cpu_ms=found.cpu_ms,
        purpose=found.purpose,
    )


def is_comparable(reference: ReferenceFigures, accuracy: ComparableAccuracy) -> bool:
    """Return whether the accuracy of this site is of the reference's images and annotations."""
    one = (reference.truth_sha256, reference.images_sha256)
    return one == (accuracy.truth_sha256, accuracy.images_sha256)


def plots(figures: Sequence[ModelFigures]) -> tuple[DrawnChart, DrawnChart]:
    """Draw accuracy against speed twice: with names on a wide page, with the numbers of rows on a narrow one."""
    drawn = [each for each in figures if each.ap is not None and each.frames_per_s is not None]
    text = ChartText("Accuracy against speed", " ".join(_finding(drawn)))
    axes = (Axis("frames per second, the inference alone", log=True), Axis("AP", low=0.0))
    wide = draw(text, axes, points=[_point(each, each.name) for each in drawn], size=WIDE)
    return wide, draw(text, axes, points=[_point(each, str(each.number)) for each in drawn], size=NARROW)


def _point(found: ModelFigures, label: str) -> Point:
    assert found.ap is not None
    assert found.frames_per_s is not None
    where = "reference" if found.is_reference else f"measured here, {kind(found.device)}"
    name = f"{found.number}: {found.name}, AP {found.ap:.3f} at {found.frames_per_s:,.1f} frames/s ({where})"
    return Point(name, label, "reference" if found.is_reference else "here", found.frames_per_s, found.ap)


def _finding(drawn: Sequence[ModelFigures]) -> Iterator[str]:
    """Yield the most accurate and the fastest model in words."""
    for title, some in (
        ("Reference", [each for each in drawn if each.is_reference]),
        ("Measured here", [each for each in drawn if not each.is_reference]),
    ):
        if some:
            best = max(some, key=lambda each: each.ap or 0.0)
            fast = max(some, key=lambda each: each.frames_per_s or 0.0)
            yield (
                f"{title}: {best.name} is the most accurate, with AP {best.ap:.3f} at {best.frames_per_s:,.1f} "
                f"frames/s; {fast.name} is the fastest, with AP {fast.ap:.3f} at {fast.frames_per_s:,.1f} frames/s."
            )
