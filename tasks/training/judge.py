"""Evaluation of a fine-tuned classifier: threshold, measures, comparison of IR and Keras, charts, warnings."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from os.path import commonpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from prefect import task

from models.car_classifier.charts import draw_scores
from models.car_classifier.metrics import (
    ClassifierMetrics,
    Confusion,
    choose_threshold,
    confusion,
    measure,
    share_interval,
)
from models.car_classifier.params import FinetuneParams
from models.car_classifier.pictures import (
    draw_confusion,
    draw_training,
    failure_sheet,
    near_miss_sheet,
    near_misses,
    small_jpeg,
)
from models.datasets.picture import Picture
from models.manifest import Manifest
from models.text import visible
from tasks.runs.policy import TASK
from tasks.training.car_classifier import PictureKey, box_text, prediction_rows
from tasks.training.failures import MOST_KEPT, failed

if TYPE_CHECKING:  # TensorFlow takes seconds to import, and only the training needs it
    from models.car_classifier.train import Trained

IMBALANCE = 5.0
"""Ratio of the class sizes from which class weights are recommended."""

_IR_LOSS = 0.02


@dataclass(frozen=True)
class TrainedScores:
    """Results of a training on its test pictures.

    metrics: at the threshold that was chosen on the validation pictures
    at_default: confusion at a threshold of 0.5
    pictures: name -> PNG: curves, scores, confusion and, if there are any, failures and near_misses
    failures: the most confident mistakes, at most MOST_KEPT: hash and box -> JPEG of at most SMALL_SIDE_PX
    near: the near misses, the nearest first
    scores: scores of the validation and test pictures
    """

    metrics: ClassifierMetrics
    at_default: Confusion
    validation_pictures: int
    pictures: dict[str, bytes]
    failures: dict[PictureKey, bytes]
    near: list[str]
    folders: "list[FolderAccuracy]"
    scores: dict[PictureKey, float]


@dataclass(frozen=True)
class FolderAccuracy:
    """Accuracy on the test pictures of a folder. folder: its path relative to the common path of its set"""

    source: str
    folder: str
    pictures: int
    right: int

    def cells(self) -> list[str]:
        low, high = share_interval(self.right, self.pictures)
        share = self.right / self.pictures
        return [f"{self.source}: {self.folder}", str(self.pictures), f"{share:.4f}", f"{low:.3f} to {high:.3f}"]


@dataclass(frozen=True)
class IrScores:
    """Scores of the exported IR on the test pictures.

    changed: number of labels that differ from Keras
    difference: largest difference of a score
    """

    accuracy: float
    changed: int
    difference: float

    def columns(self) -> dict[str, float | int]:
        return {
            "ir_accuracy": self.accuracy,
            "ir_labels_changed": self.changed,
            "ir_largest_difference": self.difference,
        }

    def line(self) -> str:
        return f"{self.accuracy:.4f}; {self.changed} labels changed, scores by at most {self.difference:.2g}"


def judge(training_run_id: int, params: FinetuneParams, preset: str, trained: "Trained") -> TrainedScores:
    """Measure on the test pictures, at the threshold chosen on the validation pictures."""
    threshold = choose_threshold(_cars(trained.validation), trained.validation_scores)
    cars = _cars(trained.test)
    metrics = measure(cars, trained.scores, threshold)
    title = f"run {training_run_id}, {preset}, {params.backbone}, batches of {params.batch_size}"
    drawn: dict[str, Any] = {
        "curves": draw_training(title, trained.steps, trained.epochs),
        "confusion": draw_confusion(f"{metrics.pictures} test pictures, threshold {threshold:.3g}", metrics.confusion),
        "failures": failure_sheet(trained.test, trained.scores, threshold),
        "near_misses": near_miss_sheet(trained.test, trained.scores, threshold),
    }
    pictures = {name: cv2.imencode(".png", image)[1].tobytes() for name, image in drawn.items() if image is not None}
    pictures["scores"] = draw_scores(f"run {training_run_id}, test pictures", cars, trained.scores, metrics)
    return TrainedScores(
        metrics=metrics,
        at_default=confusion(cars, trained.scores),
        validation_pictures=len(trained.validation),
        pictures=pictures,
        failures=_small_failures(trained, threshold),
        near=[_scored(trained, index) for index in near_misses(trained.test, trained.scores, threshold)],
        folders=by_folder(trained.test, (trained.scores >= threshold) == cars),
        scores=_by_picture(trained.validation, trained.validation_scores) | _by_picture(trained.test, trained.scores),
    )


judge_task = task(name="judge", **TASK)(judge)


def _small_failures(trained: "Trained", threshold: float) -> dict[PictureKey, bytes]:
    pictures = {(one.sha256, box_text(one.box)): one for one in trained.test}
    wrong = failed(prediction_rows(trained.test, _by_picture(trained.test, trained.scores)), threshold)
    chosen = (pictures[row.sha256, row.box] for row in wrong[:MOST_KEPT])
    return {(one.sha256, one.box): small_jpeg(one) for one in chosen}


def judge_ir(folder: Path, manifest: Manifest, trained: "Trained", threshold: float) -> IrScores:
    """Score the test pictures with the IR, as a nightly batch does, and compare with Keras's scores."""
    from models.car_classifier.scores import ir_scores

    scores = ir_scores(folder, manifest, trained.test)
    called, by_keras = scores >= threshold, trained.scores >= threshold
    return IrScores(
        accuracy=float((called == _cars(trained.test)).mean()),
        changed=int((called != by_keras).sum()),
        difference=float(np.abs(scores - trained.scores).max()),
    )


judge_ir_task = task(name="judge IR", **TASK)(judge_ir)


def _cars(pictures: Sequence[Picture]) -> NDArray[np.bool_]:
    return np.array([picture.car for picture in pictures], bool)


def _by_picture(pictures: Sequence[Picture], scores: NDArray[np.float32]) -> dict[PictureKey, float]:
    return {(one.sha256, one.box): float(score) for one, score in zip(pictures, scores, strict=True)}


def _scored(trained: "Trained", index: int) -> str:
    return visible(f"{trained.test[index].path}: scored {trained.scores[index]:.3f}")


def by_folder(pictures: Sequence[Picture], right: NDArray[np.bool_]) -> list[FolderAccuracy]:
    """Count correct labels per folder of each set, the folder with the lowest share first."""
    roots = {
        source: commonpath([one.path.parent for one in pictures if one.source == source])
        for source in {one.source for one in pictures}
    }
    total: Counter[tuple[str, str]] = Counter()
    found: Counter[tuple[str, str]] = Counter()
    for picture, is_right in zip(pictures, right, strict=True):
        folder = picture.path.parent.relative_to(roots[picture.source])
        key = visible(picture.source), visible(str(folder) if folder.parts else picture.path.parent.name)
        total[key] += 1
        found[key] += bool(is_right)
    rows = [FolderAccuracy(*key, count, found[key]) for key, count in total.items()]
    return sorted(rows, key=lambda row: (row.right / row.pictures, row.source, row.folder))


def columns(metrics: ClassifierMetrics) -> dict[str, float | int | None]:
    """Return the measurements as columns of training_runs."""
    found = asdict(metrics)
    del found["pictures"]
    return {**found.pop("confusion"), **found}


def lines(judged: TrainedScores, ir: IrScores) -> dict[str, str]:
    """Format the measurements, label -> text."""
    metrics, failures = (
        judged.metrics,
        judged.metrics.confusion.false_negatives + judged.metrics.confusion.false_positives,
    )
    precision = "nothing was called a car" if metrics.precision is None else f"{metrics.precision:.4f}"
    interval = f"95 % from {metrics.accuracy_low:.3f} to {metrics.accuracy_high:.3f}"
    chosen = f"chosen on {judged.validation_pictures:,} validation pictures; 'nightjar run' uses it"
    return {
        "accuracy": f"{metrics.accuracy:.4f}: failed on {failures:,} of {metrics.pictures:,} test pictures, {interval}",
        "threshold": f"{metrics.threshold:.4g}, {chosen}",
        "precision": precision,
        "recall": f"{metrics.recall:.4f}",
        "ROC AUC": f"{metrics.roc_auc:.4f}, 95 % between {metrics.roc_auc_low:.4f} and {metrics.roc_auc_high:.4f}",
        "average precision": f"{metrics.average_precision:.4f}",
        "exported IR": ir.line(),
    }


def warnings(params: FinetuneParams, train: Mapping[bool, int], judged: TrainedScores, ir: IrScores) -> list[str]:
    """Return warnings about this classifier. train: number of training pictures of others (False) and cars (True)"""
    found = []
    if one_sided := empty_column(judged.metrics.confusion):
        found.append(f"{one_sided} at any threshold worth choosing. Do not use this classifier.")
    elif one_sided := empty_column(judged.at_default):
        found.append(f"{one_sided} at a threshold of 0.5; {judged.metrics.threshold:.3g} is used instead.")
    if found or _imbalanced(train):
        found += imbalance(params, train)
    if ir.accuracy < judged.metrics.accuracy - _IR_LOSS:
        found.append(f"The exported IR has an accuracy of {ir.accuracy:.4f}, less than Keras. Report this.")
    return found


def empty_column(found: Confusion) -> str:
    """Return the finding that one class was never called, such as "Nothing was called a car"; empty without it."""
    if not found.called_cars:
        return "Nothing was called a car"
    return "" if found.called_others else "Everything was called a car"


def imbalance(params: FinetuneParams, train: Mapping[bool, int]) -> list[str]:
    """Propose a remedy for unbalanced classes; empty if the classes are weighted already."""
    if params.class_weights == "balanced":
        return []
    counted = f"{train.get(True, 0):,} cars and {train.get(False, 0):,} others were trained on"
    return [f"{counted}. Train with --class-weights balanced, or give more pictures of the rarer class."]


def _imbalanced(train: Mapping[bool, int]) -> bool:
    fewer, more = sorted((train.get(True, 0), train.get(False, 0)))
    return more >= IMBALANCE * fewer
