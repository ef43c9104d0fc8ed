"""Pages of trainings: curves, confusion, failures, and two runs side by side. From stored rows; writes nothing."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from models.types import Epoch, Step
from storage.sql.trainings import PredictionRow
from tasks.browse.charts import Axis, ChartText, DrawnChart, Line, draw
from tasks.training.failures import MOST_KEPT, failed, is_wrong

LABELS = {"car": "a car", "not_car": "not a car"}
THRESHOLDS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class Run:
    """A training. row: of `read_trainings`; tested: its test pictures"""

    row: Mapping[str, Any]
    steps: Sequence[Step]
    tested: Sequence[PredictionRow]

    @property
    def number(self) -> int:
        return int(self.row["training_run_id"])

    @property
    def epochs(self) -> Sequence[Epoch]:
        found: Sequence[Epoch] = self.row["epochs"]
        return found

    @property
    def failures(self) -> list[PredictionRow]:
        """The wrongly labelled test pictures, the most confident mistakes first; none until it is completed."""
        threshold = self.row["threshold"]
        return [] if self.row["status"] != "completed" or threshold is None else failed(self.tested, threshold)


class Failure(NamedTuple):
    """A wrongly labelled picture.

    number: from 1, of the most confident mistake; truth: in words
    beside: judgement of the run at its side, in words; "" = there is none
    """

    number: int
    picture: str
    source: str
    truth: str
    score: float
    sha256: str
    beside: str


class ConfusionCell(NamedTuple):
    """A cell of a confusion matrix. pictures: their number; tenths: its share of the pictures of its row, 0 to 10"""

    pictures: int
    share: float
    tenths: int
    is_right: bool


class ConfusionRow(NamedTuple):
    """A row of a confusion matrix: the pictures that are a car, or not, by their label."""

    truth: str
    cells: tuple[ConfusionCell, ConfusionCell]


def confusion_rows(row: Mapping[str, Any]) -> list[ConfusionRow]:
    """Return the confusion matrix: columns are labelled a car, labelled another thing. Empty until it is completed."""
    if row["true_positives"] is None:
        return []
    cars = (row["true_positives"], row["false_negatives"])
    others = (row["false_positives"], row["true_negatives"])
    return [ConfusionRow("is a car", _cells(cars, right=0)), ConfusionRow("is not a car", _cells(others, right=1))]


def _cells(counts: tuple[int, int], right: int) -> tuple[ConfusionCell, ConfusionCell]:
    shares = [count / max(1, sum(counts)) for count in counts]
    one, other = (
        ConfusionCell(count, share, round(10 * share), place == right)
        for place, (count, share) in enumerate(zip(counts, shares, strict=True))
    )
    return one, other


def shown_failures(run: Run, beside: Run | None) -> list[Failure]:
    """Return the first failures, at most MOST_KEPT. beside: a run, to name its judgement of each"""
    other = {(row.sha256, row.box): row for row in beside.tested} if beside else {}
    return [
        Failure(
            number,
            row.picture,
            row.source,
            LABELS[row.label],
            0.0 if row.score is None else row.score,
            row.sha256,
            _judgement(other.get((row.sha256, row.box)), beside),
        )
        for number, row in enumerate(run.failures[:MOST_KEPT], 1)
    ]


def _judgement(row: PredictionRow | None, beside: Run | None) -> str:
    if beside is None:
        return ""
    if row is None:
        return f"not a test picture of run {beside.number}"
    if row.score is None or beside.row["threshold"] is None:
        return f"not scored by run {beside.number}"
    said = "wrong" if is_wrong(row, beside.row["threshold"]) else "right"
    return f"{said} in run {beside.number} ({row.score:.3f})"


def charts(runs: Sequence[Run]) -> list[DrawnChart]:
    """Draw the courses of one or two runs on shared axes; those without values are left out."""
    drawn = [run for run in runs if run.epochs]
    found = []
    if drawn:
        found += [_epoch_chart(drawn, "loss"), _epoch_chart(drawn, "accuracy")]
    if any(run.steps for run in runs):
        found.append(_step_chart([run for run in runs if run.steps]))
    scored = [run for run in runs if run.row["threshold"] is not None and _scores(run)]
    return [*found, *(_threshold_chart(run) for run in scored)]


def _epoch_chart(runs: Sequence[Run], what: str) -> DrawnChart:
    lines = [line for place, run in enumerate(runs) for line in _epoch_lines(run, place, what, several=len(runs) > 1)]
    percent = what == "accuracy"
    axis = Axis(what, low=None if percent else 0.0, high=1.0 if percent else None, percent=percent)
    return draw(
        ChartText(what.capitalize(), " ".join(_course(run, what) for run in runs)),
        (Axis("epoch", whole=True), axis),
        lines=lines,
    )


def _epoch_lines(run: Run, place: int, what: str, several: bool) -> Iterator[Line]:
    epochs = [float(epoch.epoch) for epoch in run.epochs]
    best = run.row["best_epoch"]
    ring = next((at for at, epoch in enumerate(run.epochs) if epoch.epoch == best), None)
    name = f"run {run.number}, " if several else ""
    yield Line(f"{name}training", f"run-{place} thin", epochs, [getattr(epoch, what) for epoch in run.epochs])
    validation = [getattr(epoch, f"validation_{what}") for epoch in run.epochs]
    yield Line(f"{name}validation", f"run-{place} thick", epochs, validation, ring)


def _course(run: Run, what: str) -> str:
    values = [getattr(epoch, f"validation_{what}") for epoch in run.epochs]
    said = f"Run {run.number}: the validation {what} is {values[0]:.4g} after the first epoch"
    if len(values) > 1:
        said += f" and {values[-1]:.4g} after the last, number {run.epochs[-1].epoch}"
    best = run.row["best_epoch"]
    return f"{said}. The ring is epoch {best}, whose weights are kept." if best is not None else f"{said}."


def _step_chart(runs: Sequence[Run]) -> DrawnChart:
    lines = [
        Line(f"run {run.number}", f"run-{place} thin", [float(s.step) for s in run.steps], [s.loss for s in run.steps])
        for place, run in enumerate(runs)
    ]
    said = " ".join(
        f"Run {run.number}: the loss is {run.steps[0].loss:.4g} in the first of {len(run.steps):,} steps, and "
        f"{run.steps[-1].loss:.4g} in the last."
        for run in runs
    )
    text = ChartText("Loss of each step", said)
    return draw(text, (Axis("step", whole=True), Axis("loss", low=0.0)), lines=lines)


def _scores(run: Run) -> list[tuple[bool, float]]:
    return [(row.label == "car", row.score) for row in run.tested if row.score is not None]


def _threshold_chart(run: Run) -> DrawnChart:
    """Draw accuracy, precision and recall of the test pictures over the threshold."""
    threshold = float(run.row["threshold"])
    found = measures_at(_scores(run))
    at = THRESHOLDS.tolist()
    lines = [Line(name, f"measure-{place}", at, values) for place, (name, values) in enumerate(found.items())]
    mark = Line(f"threshold in use, {threshold:.3g}", "mark", [threshold, threshold], [0.0, 1.0])
    said = f"Test pictures of run {run.number}. At the threshold in use, {threshold:.3g}: accuracy "
    said += ", ".join(_told(name, run.row[name]) for name in ("accuracy", "precision", "recall")).removeprefix(
        "accuracy "
    )
    return draw(
        ChartText(f"Measures by threshold, run {run.number}", f"{said}."),
        (Axis("threshold", 0.0, 1.0), Axis("share", 0.0, 1.0, percent=True)),
        lines=[*lines, mark],
    )


def _told(name: str, value: float | None) -> str:
    return f"{name} {value:.1%}" if value is not None else f"no {name}, as nothing is labelled a car"


def measures_at(scores: Sequence[tuple[bool, float]]) -> dict[str, list[float]]:
    """Return accuracy, precision and recall at THRESHOLDS. scores: truth and score of each picture; NaN = undefined"""
    cars = np.array([car for car, _ in scores], bool)
    called = np.array([score for _, score in scores])[None] >= THRESHOLDS[:, None]
    hits = (called & cars).sum(axis=1)
    right = hits + (~called & ~cars).sum(axis=1)
    with np.errstate(invalid="ignore"):
        precision = hits / called.sum(axis=1)
        recall = hits / cars.sum()
    return {"accuracy": (right / len(cars)).tolist(), "precision": precision.tolist(), "recall": recall.tolist()}


def stored_json(text: str) -> dict[str, Any]:
    """Parse JSON of the database. Empty where it is not an object."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def listed(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and values as texts; those that are empty are left out."""
    return [(name.replace("_", " "), _text(value)) for name, value in values.items() if _text(value)]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items())
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    return "" if value is None else str(value)
