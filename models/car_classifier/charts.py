"""Charts of classifiers by matplotlib, as PNG: ROC and precision-recall curves; several trainings on shared axes."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from models.car_classifier.metrics import THRESHOLD, ClassifierMetrics, confusion
from models.drawing.figures import GRID, INK
from models.types import Epoch, Floats

_DPI = 110
_DEFAULT = "#d2743b"
# Distinguishable in print and by colour-blind people: Okabe and Ito (2008), without yellow.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_DASHES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class RunCurve:
    """A training to be drawn with others. best_epoch: None where the training is not completed"""

    title: str
    epochs: Sequence[Epoch]
    best_epoch: int | None


def draw_scores(title: str, cars: NDArray[np.bool_], scores: Floats, metrics: ClassifierMetrics) -> bytes:
    """Draw the ROC curve and the precision-recall curve of one set of pictures, with the threshold in use marked.

    cars: (n,) the truth
    scores: (n,) probabilities of a car
    """
    figure, (roc, recall) = _figure(title, 2)
    false_share, true_share, _ = roc_curve(cars, scores)
    roc.plot(false_share, true_share, color=_COLORS[0], linewidth=2)
    roc.plot([0, 1], [0, 1], color=GRID, linewidth=1)
    area = f"area {metrics.roc_auc:.4f} [{metrics.roc_auc_low:.3f}, {metrics.roc_auc_high:.3f}]"
    _name(roc, f"ROC curve, {area}", "share of others taken for cars", "share of cars found")
    precision, found, _ = precision_recall_curve(cars, scores)
    recall.step(found, precision, where="post", color=_COLORS[0], linewidth=2)
    area = f"average precision {metrics.average_precision:.4f}"
    _name(recall, f"precision and recall, {area}", "recall: share of cars found", "precision")
    marks = [(metrics.threshold, _COLORS[0], "o"), (THRESHOLD, _DEFAULT, "D")]
    for threshold, color, marker in marks[: 1 if metrics.threshold == THRESHOLD else 2]:
        _mark(roc, recall, cars, scores, (threshold, color, marker))
    for axes in (roc, recall):
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
        axes.legend(loc="lower center", frameon=False)
    return _png(figure)


def _mark(roc: Axes, recall: Axes, cars: NDArray[np.bool_], scores: Floats, mark: tuple[float, str, str]) -> None:
    threshold, color, marker = mark
    at = confusion(cars, scores, threshold)
    found = at.true_positives / max(1, at.true_positives + at.false_negatives)
    style: dict[str, Any] = {"color": color, "marker": marker, "markersize": 9, "linestyle": "none", "clip_on": False}
    label = f"threshold {threshold:.3g}"
    roc.plot(at.false_positives / max(1, at.false_positives + at.true_negatives), found, label=label, **style)
    if at.called_cars:
        recall.plot(found, at.true_positives / at.called_cars, label=label, **style)
    else:
        recall.plot([], [], label=f"{label}: nothing is called a car", **style)


def draw_compared(runs: Sequence[RunCurve]) -> bytes:
    """Draw loss and accuracy of several trainings over epochs on shared axes; a ring is the epoch that was kept.

    Raises ValueError without an epoch.
    """
    drawn = [run for run in runs if run.epochs]
    if not drawn:
        raise ValueError("None of the trainings has an epoch. Give one with at least one epoch.")
    figure, (loss, accuracy) = _figure("validation (bold) and training (thin); a ring is the epoch that was kept", 2)
    for number, run in enumerate(drawn):
        color, dash = _COLORS[number % len(_COLORS)], _DASHES[number // len(_COLORS) % len(_DASHES)]
        epochs = [epoch.epoch for epoch in run.epochs]
        for axes, train, validation in (
            (loss, [epoch.loss for epoch in run.epochs], [epoch.validation_loss for epoch in run.epochs]),
            (accuracy, [epoch.accuracy for epoch in run.epochs], [epoch.validation_accuracy for epoch in run.epochs]),
        ):
            axes.plot(epochs, train, color=color, linestyle=dash, linewidth=0.9, alpha=0.6)
            marker = "o" if len(epochs) == 1 else ""
            axes.plot(epochs, validation, color=color, linestyle=dash, linewidth=2.2, label=run.title, marker=marker)
            if run.best_epoch in epochs:
                best = epochs.index(run.best_epoch)
                ring: dict[str, Any] = {
                    "marker": "o",
                    "markersize": 10,
                    "markerfacecolor": "none",
                    "markeredgewidth": 2,
                }
                axes.plot(epochs[best], validation[best], color=color, linestyle="none", clip_on=False, **ring)
    _name(loss, "loss", "epoch", "")
    _name(accuracy, "accuracy", "epoch", "")
    loss.set_ylim(bottom=0)
    for axes in (loss, accuracy):
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(
        *loss.get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(drawn)), frameon=False
    )
    return _png(figure)


def _figure(title: str, panels: int) -> tuple[Figure, NDArray[np.object_]]:
    figure = Figure(figsize=(6.4 * panels, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, color=INK)
    return figure, figure.subplots(1, panels)


def _name(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, color=INK, fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()
