"""Tasks of `finetune-classifier`: read the data sets, train, judge, keep. The work is in models/."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from prefect import get_run_logger, task

from models.classifier_metrics import THRESHOLD, ClassifierMetrics, measure
from models.classifier_pictures import draw_confusion, draw_training, failure_sheet
from models.finetune_params import WEIGHTS_URL, FinetuneParams
from models.finetune_state import Epoch
from models.manifest import file_sha256
from models.picture_sets import PictureSet, caltech256, plain_folders, stanford_cars
from models.picture_splits import check_classes, counts, draw_splits, leaks
from models.picture_survey import survey
from models.pictures import SPLITS, Picture, PictureError, pictures_sha256, read_picture
from models.types import NightjarError
from storage import trainings
from storage.published import fetch_url
from storage.trainings import EpochRow, FailureRow, StepRow, TrainingPlan
from tasks.policy import TASK
from tasks.progress import byte_progress
from tasks.site import Site

if TYPE_CHECKING:  # TensorFlow takes seconds, and only the training needs it
    from models.finetune import Trained

LABELS = ("not_car", "car")
PARITY_PICTURES = 16
SKIPPED_NAMED = 20


@dataclass(frozen=True)
class Sources:
    """Where the pictures are: folders, empty where there are none. crop: Stanford's cut to the annotated box"""

    stanford: str = ""
    devkit: str = ""
    caltech: str = ""
    folders: tuple[str, ...] = ()
    crop: bool = False


@dataclass(frozen=True)
class Data:
    """pictures: each with its split; notes: what was left out and found, a line each; table: counts, lines"""

    pictures: list[Picture]
    notes: list[str]
    table: list[str]


@dataclass(frozen=True)
class Judged:
    """What came of a training. pictures: name -> PNG bytes: curves, confusion and, where there are any, failures"""

    metrics: ClassifierMetrics
    failures: list[FailureRow]
    pictures: dict[str, bytes]


@task(name="read pictures", **TASK)
def read_pictures(sources: Sources, params: FinetuneParams) -> Data:
    """Every picture of the data sets, checked, with its split; counts and what was left out are said at once.

    Raises PictureError where a set is not what it should be, or a class or split is empty.
    """
    log = get_run_logger()
    sets = _sets(sources)
    surveyed = survey([picture for each in sets for picture in each.pictures])
    drawn = draw_splits(
        surveyed.pictures, surveyed.fingerprints, params.shares, seed=params.seed, keep_own=params.own_splits
    )
    check_classes(drawn.pictures)
    left_out = [*surveyed.skipped, *drawn.dropped]
    kept = {
        (picture.sha256, picture.box): row
        for picture, row in zip(surveyed.pictures, surveyed.fingerprints, strict=True)
    }
    leaking = leaks(drawn.pictures, np.array([kept[picture.sha256, picture.box] for picture in drawn.pictures]))
    notes = [note for each in sets for note in each.notes]
    notes += [f"left out: {skipped.reason}" for skipped in left_out[:SKIPPED_NAMED]]
    if len(left_out) > SKIPPED_NAMED:
        notes.append(f"left out: {len(left_out) - SKIPPED_NAMED:,} more")
    notes += [f"in two splits: {leak.one.path} and {leak.other.path}, {leak.distance} bits apart" for leak in leaking]
    table = counts(drawn.pictures)
    log.info("%s pictures, %s left out\n%s", len(drawn.pictures), len(left_out), "\n".join([*table, *notes]))
    return Data(drawn.pictures, notes, table)


def _sets(sources: Sources) -> list[PictureSet]:
    sets = []
    if sources.stanford:
        if not sources.devkit:
            raise PictureError("Stanford Cars without its devkit found, expected both: name the folder of .mat files")
        sets.append(stanford_cars(_folder(sources.stanford), _folder(sources.devkit), crop=sources.crop))
    if sources.caltech:
        sets.append(caltech256(_folder(sources.caltech)))
    sets += [plain_folders(_folder(folder)) for folder in sources.folders]
    if not sets:
        raise PictureError("no pictures were named, expected some: Stanford Cars, Caltech-256 or folders of your own")
    return sets


def _folder(name: str) -> Path:
    return Path(name).expanduser()


@task(name="fetch weights", **TASK)
def fetch_weights(site: Site, params: FinetuneParams, weights: str) -> Path:
    """The backbone's ImageNet weights: the file that was named, or Keras's published one. Raises NightjarError."""
    if not weights:
        with byte_progress(f"Fetching {params.backbone}") as on_bytes:
            return fetch_url(WEIGHTS_URL[params.backbone], site.settings.download_cache, on_bytes)
    path = _folder(weights)
    if not path.is_file():
        raise NightjarError(f"no file {weights}: give Keras's .h5 of {params.backbone} without its top, or none")
    return path


def plan_training(
    name: str, preset: str, params: FinetuneParams, sources: Sources, data: Data, weights: Path
) -> TrainingPlan:
    """The run as the database knows it. Its key: of all that decides it, and nothing of where files lie."""
    decides = {
        "name": name,
        "params": params.to_json(),
        "pictures": pictures_sha256(data.pictures),
        "weights": file_sha256(weights),
    }
    number = {f"pictures_{split}": sum(each.split == split for each in data.pictures) for split in SPLITS}
    return TrainingPlan(
        run_key=hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:32],
        name=name,
        preset=preset,
        params=params.to_json(),
        data=json.dumps({**asdict(sources), "counts": data.table, "notes": data.notes}),
        **number,
    )


@task(name="fine-tune", **TASK)
def train(
    site: Site, training_run_id: int, params: FinetuneParams, data: Data, weights: Path, folder: Path
) -> "Trained":
    """Train, or go on from the folder's checkpoint; each epoch is in SQL when it is done. Raises FinetuneError."""
    from models.finetune import finetune

    log = get_run_logger()

    def on_features(done: int, total: int) -> None:
        log.info("the backbone has seen %s of %s pictures that it had not seen before", f"{done:,}", f"{total:,}")

    def on_epoch(epoch: Epoch) -> None:
        log.info(
            "epoch %s of %s: loss %.4f, accuracy %.4f; validation %.4f, %.4f; %.1f s",
            *(epoch.epoch, params.epochs, epoch.loss, epoch.accuracy),
            *(epoch.validation_loss, epoch.validation_accuracy, epoch.seconds),
        )

    cache = site.settings.home.resolve() / "cache" / "features"
    trained = finetune(
        params, data.pictures, folder, weights=weights, cache=cache, on_epoch=on_epoch, on_features=on_features
    )
    steps: dict[int, list[StepRow]] = {}
    for step in trained.steps:
        steps.setdefault(step.epoch, []).append(StepRow(**step._asdict()))
    for epoch in trained.epochs:
        trainings.record_epoch(site.engine, training_run_id, EpochRow(**epoch._asdict()), steps[epoch.epoch])
    return trained


@task(name="judge", **TASK)
def judge(training_run_id: int, params: FinetuneParams, preset: str, trained: "Trained") -> Judged:
    """On the test pictures, which nothing was learnt or chosen by."""
    cars = np.array([picture.car for picture in trained.test])
    metrics = measure(cars, trained.scores, seed=params.seed)
    wrong = np.flatnonzero((trained.scores >= THRESHOLD) != cars)
    title = f"run {training_run_id}, {preset}, {params.backbone}, batches of {params.batch_size}"
    drawn: dict[str, Any] = {
        "curves": draw_training(title, trained.steps, trained.epochs),
        "confusion": draw_confusion(f"{metrics.pictures} test pictures", metrics.confusion),
        "failures": failure_sheet(trained.test, trained.scores),
    }
    pictures = {name: cv2.imencode(".png", image)[1].tobytes() for name, image in drawn.items() if image is not None}
    failures = [_failure(trained.test[index], float(trained.scores[index])) for index in wrong]
    return Judged(metrics, failures, pictures)


def _failure(picture: Picture, score: float) -> FailureRow:
    return FailureRow(picture.sha256, str(picture.path), picture.source, LABELS[picture.car], score)


@task(name="keep pictures", **TASK)
def keep(site: Site, run_key: str, judged: Judged, model: Path) -> dict[str, str]:
    """Into the artifact store: the pictures and the Keras model. Gives name -> address."""
    for name, png in judged.pictures.items():
        site.artifacts.put_bytes(f"training/{run_key}/{name}.png", png)
    site.artifacts.put_file(f"training/{run_key}/model.keras", model)
    names = [*(f"{name}.png" for name in judged.pictures), "model.keras"]
    return {Path(name).stem: site.artifacts.url(f"training/{run_key}/{name}") for name in names}


def parity_pictures(pictures: Sequence[Picture], folder: Path) -> Path:
    """Some test pictures in a folder of their own: what the IR is compared with TensorFlow on."""
    folder.mkdir(parents=True)
    chosen = [picture for picture in pictures if picture.split == "test"]
    for number in np.linspace(0, len(chosen) - 1, min(PARITY_PICTURES, len(chosen))).astype(int):
        cv2.imwrite(str(folder / f"{number:06d}.png"), read_picture(chosen[number])[..., ::-1])
    return folder


def columns(metrics: ClassifierMetrics) -> dict[str, float | int | None]:
    """What was measured, as training_runs has it."""
    found = asdict(metrics)
    del found["pictures"]
    return {**found.pop("confusion"), **found}


def lines(metrics: ClassifierMetrics, failures: Sequence[FailureRow]) -> dict[str, str]:
    """What was measured, in words, label -> text."""
    precision = "nothing was called a car" if metrics.precision is None else f"{metrics.precision:.4f}"
    return {
        "accuracy": f"{metrics.accuracy:.4f}: failed on {len(failures):,} of {metrics.pictures:,} test pictures",
        "precision": precision,
        "recall": f"{metrics.recall:.4f}",
        "ROC AUC": f"{metrics.roc_auc:.4f}, 95 % between {metrics.roc_auc_low:.4f} and {metrics.roc_auc_high:.4f}",
    }
