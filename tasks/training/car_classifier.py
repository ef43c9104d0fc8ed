"""Tasks of `finetune-classifier`: read the data sets, train, store the results. judge.py has the evaluation."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from prefect import task

from models.car_classifier.params import WEIGHTS_URL, FinetuneParams, FinetuneSpec, PictureSources
from models.datasets.picture import SPLITS, Picture, PictureError, pictures_sha256, read_picture
from models.datasets.sources import PictureSet, caltech256, named_splits, plain_folders, stanford_cars
from models.datasets.splits import DrawnSplits, check_classes, counts, draw_splits, folder_rows, leaks
from models.datasets.survey import Skipped, Survey, left_out_lines, survey
from models.manifest import file_sha256
from models.spec import flatten
from models.text import visible
from models.types import Epoch, NightjarError, Step
from storage.objects.downloads import fetch_url
from storage.sql import trainings
from storage.sql.database import Database
from storage.sql.trainings import PredictionRow, TrainingPlan
from tasks.benchmark.machine import describe_machine
from tasks.runs.policy import TASK
from tasks.site.artifact_keys import failure_key, training_picture_key
from tasks.site.settings import read_settings
from tasks.site.site import Site, reopen_site
from tasks.text.progress import byte_progress

if TYPE_CHECKING:  # TensorFlow takes seconds to import, and only the training needs it
    from models.car_classifier.train import Trained

log = logging.getLogger(__name__)

LABELS = ("not_car", "car")
PictureKey = tuple[str, tuple[int, int, int, int] | None]
PARITY_PICTURES = 16
SKIPPED_NAMED = 20
FOLDERS_NAMED = 60


@dataclass(frozen=True)
class Data:
    """Pictures of a training.

    pictures: each with its split, ordered by content
    notes: skipped files and other findings, one line each
    table: lines with the counts by set, class and split
    left_out: skipped files
    """

    pictures: list[Picture]
    notes: list[str]
    table: list[str]
    left_out: list[Skipped]


def read_pictures(spec: FinetuneSpec, backgrounds: PictureSet | None = None) -> Data:
    """Read every picture of the data sets once, and log the counts and the skipped files.

    Raises PictureError if a set is not as expected, or if a class or split is empty.
    """
    data = gather_pictures(spec, backgrounds)
    log.info("%s pictures, %s skipped", len(data.pictures), len(data.left_out))
    for line in (*data.table, *folder_lines(data.pictures), *data.notes):
        log.info("%s", line)
    check_classes(data.pictures, left_out=data.left_out)
    return data


read_pictures_task = task(name="read pictures", **TASK)(read_pictures)


def gather_pictures(spec: FinetuneSpec, backgrounds: PictureSet | None = None) -> Data:
    """Read the data sets and assign every usable picture to a split. The order of folders has no effect.

    Raises PictureError if a set is not as expected.
    """
    params = spec.params
    sets = _sets(spec.sources, spec.random_splits) + ([backgrounds] if backgrounds else [])
    surveyed = survey(_with_splits(sets, params, spec.random_splits))
    drawn = draw_splits(
        surveyed.pictures, surveyed.fingerprints, params.shares, seed=params.seed, keep_own=not spec.random_splits
    )
    left_out = [*surveyed.skipped, *drawn.dropped]
    notes = [visible(note) for each in sets for note in each.notes] + left_out_lines(left_out, SKIPPED_NAMED)
    notes += _alike(surveyed) + _leaking(drawn, surveyed)
    return Data(sorted(drawn.pictures, key=_canonical), notes, counts(drawn.pictures), left_out)


def folder_lines(pictures: Sequence[Picture]) -> list[str]:
    """Format the interpretation of each folder, at most FOLDERS_NAMED."""
    rows = folder_rows(pictures)
    lines = [f"{folder}: {count:,} {label}, {split}" for folder, label, split, count in rows[:FOLDERS_NAMED]]
    return [*lines, f"{len(rows) - FOLDERS_NAMED} more folders"] if len(rows) > FOLDERS_NAMED else lines


def _canonical(picture: Picture) -> tuple[str, tuple[int, ...]]:
    """Return a sort key from the content, so that the order of the given folders has no effect."""
    return picture.sha256, picture.box or ()


def _with_splits(sets: Sequence[PictureSet], params: FinetuneParams, random_splits: bool) -> list[Picture]:
    """Return all pictures. Splits of own folders are kept, those of published data sets only if the preset says so."""
    kept = not random_splits
    return [
        one if kept and (params.own_splits or not each.published) else replace(one, split=None)
        for each in sets
        for one in each.pictures
    ]


def _alike(surveyed: Survey) -> list[str]:
    if not surveyed.alike:
        return []
    one, other = surveyed.alike[0]
    more = f" and {len(surveyed.alike) - 1:,} more pairs" if len(surveyed.alike) > 1 else ""
    return [visible(f"similar pictures of different classes, both used: {one.path} and {other.path}{more}")]


def _leaking(drawn: DrawnSplits, surveyed: Survey) -> list[str]:
    prints = {
        (picture.sha256, picture.box): row
        for picture, row in zip(surveyed.pictures, surveyed.fingerprints, strict=True)
    }
    found = leaks(drawn.pictures, np.array([prints[one.sha256, one.box] for one in drawn.pictures]).reshape(-1, 2, 32))
    return [visible(f"in two splits: {one.path} and {other.path}, {bits} bits apart") for one, other, bits in found]


def _sets(sources: PictureSources, random_splits: bool) -> list[PictureSet]:
    sets = []
    if sources.stanford:
        if not sources.devkit:
            raise PictureError("Stanford Cars was given without its devkit. Give --devkit the folder of .mat files.")
        sets.append(stanford_cars(sources.stanford, sources.devkit, crop=sources.crop))
    if sources.caltech:
        sets.append(caltech256(sources.caltech))
    folders = [Path(name).expanduser() for name in sources.folders or ()]
    own = [plain_folders(folder, own_splits=not random_splits) for folder in folders]
    sets += own if random_splits else named_splits(folders, own)
    if not sets:
        raise PictureError("No pictures were given. Give Stanford Cars, Caltech-256 or folders of your own.")
    return sets


def fetch_weights(spec: FinetuneSpec, cache: Path) -> Path:
    """Return the backbone's ImageNet weights: the given file, or Keras's published one. Raises NightjarError.

    cache: folder for downloads
    """
    backbone, path = spec.params.backbone, spec.weights
    if path is None:
        with byte_progress(f"Fetching {backbone}") as on_bytes:
            return fetch_url(WEIGHTS_URL[backbone], cache, on_bytes)
    if not path.is_file():
        raise NightjarError(f"The file {path} does not exist. Give Keras's .h5 of {backbone} without its top, or none.")
    return path


@task(name="fetch weights", **TASK)
def fetch_weights_task(spec: FinetuneSpec) -> Path:
    """Fetch the weights of a training's backbone. Raises NightjarError."""
    return fetch_weights(spec, read_settings().download_cache)


def plan_training(spec: FinetuneSpec, data: Data, weights: Path) -> TrainingPlan:
    """Plan the run for the database. Its key depends on all that determines the result, but on no file location."""
    params = spec.params.to_json()
    decides = {
        "name": spec.name,
        "params": params,
        "pictures": pictures_sha256(data.pictures),
        "weights": file_sha256(weights),
    }
    number = {f"pictures_{split}": sum(each.split == split for each in data.pictures) for split in SPLITS}
    return TrainingPlan(
        run_key=hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:32],
        name=spec.name,
        preset=spec.preset,
        params=params,
        data=json.dumps({**_described(spec), "machine": describe_machine(), "counts": data.table, "notes": data.notes}),
        **number,
    )


def _described(spec: FinetuneSpec) -> dict[str, Any]:
    """Return the locations of the pictures, for the record."""
    return {**flatten(spec.sources), "folders": spec.sources.folders or (), "random_splits": spec.random_splits}


def prediction_rows(pictures: Sequence[Picture], scores: Mapping[PictureKey, float]) -> list[PredictionRow]:
    """Return one row per picture. scores: by hash and box, of the scored pictures"""
    return [
        PredictionRow(
            picture.sha256,
            box_text(picture.box),
            str(picture.path),
            picture.source,
            LABELS[picture.car],
            str(picture.split),
            scores.get((picture.sha256, picture.box)),
        )
        for picture in pictures
    ]


def box_text(box: tuple[int, int, int, int] | None) -> str:
    """Return a box as `training_predictions` has it; empty for the whole picture."""
    return ",".join(map(str, box or ()))


@contextmanager
def keeping_lease(engine: Database, training_run_id: int) -> Iterator[None]:
    """Renew the lease of a training while it runs, so that no other process considers it abandoned."""
    over = Event()

    def renew() -> None:
        while not over.wait(trainings.LEASE_S / 10):
            with suppress(NightjarError):  # the next renewal may succeed
                trainings.renew_training(engine, training_run_id)

    thread = Thread(target=renew, name="renew-training", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@task(name="fine-tune", **TASK)
def train_task(training_run_id: int, params: FinetuneParams, data: Data, weights: Path, folder: Path) -> "Trained":
    """Train a classifier. Raises FinetuneError."""
    with reopen_site() as site:
        return train(site, training_run_id, params, data, weights, folder)


def train(
    site: Site, training_run_id: int, params: FinetuneParams, data: Data, weights: Path, folder: Path
) -> "Trained":
    """Train, or resume from the folder's checkpoint. Each epoch is recorded in SQL. Raises FinetuneError."""
    from models.car_classifier.train import finetune

    def on_features(done: int, total: int) -> None:
        log.info("Computed the features of %s of %s new pictures", f"{done:,}", f"{total:,}")

    def on_epoch(epoch: Epoch, steps: Sequence[Step]) -> None:
        trainings.record_epoch(site.engine, training_run_id, epoch, steps)
        log.info(
            "Epoch %s of %s: loss %.4f, accuracy %.4f; validation %.4f, %.4f; %.1f s",
            *(epoch.epoch, params.epochs, epoch.loss, epoch.accuracy),
            *(epoch.validation_loss, epoch.validation_accuracy, epoch.seconds),
        )

    cache = site.settings.home.resolve() / "cache" / "features"
    trained = finetune(
        params, data.pictures, folder, weights=weights, cache=cache, on_epoch=on_epoch, on_features=on_features
    )
    # After a kill between a checkpoint and its rows, a finished epoch is missing in SQL.
    known = {epoch.epoch for epoch in trainings.read_epochs(site.engine, training_run_id)}
    for epoch in trained.epochs:
        if epoch.epoch not in known:
            steps = [step for step in trained.steps if step.epoch == epoch.epoch]
            trainings.record_epoch(site.engine, training_run_id, epoch, steps)
    return trained


@task(name="keep pictures", **TASK)
def keep_task(
    run_key: str, pictures: Mapping[str, bytes], failures: Mapping[PictureKey, bytes], model: Path
) -> dict[str, str]:
    """Store the charts, the failures and the Keras model of a training. Returns name -> address."""
    with reopen_site() as site:
        return keep(site, run_key, pictures, failures, model)


def keep(
    site: Site, run_key: str, pictures: Mapping[str, bytes], failures: Mapping[PictureKey, bytes], model: Path
) -> dict[str, str]:
    """Put the charts, the failures and the Keras model into the artifact store.

    pictures: name -> PNG; failures: hash and box -> JPEG
    Returns the addresses of the charts and the model, by name.
    """
    for name, png in pictures.items():
        site.artifacts.put_bytes(training_picture_key(run_key, name), png)
    for (sha256, box), jpeg in failures.items():
        site.artifacts.put_bytes(failure_key(run_key, sha256, box_text(box)), jpeg)
    site.artifacts.put_file(f"training/{run_key}/model.keras", model)
    names = [*(f"{name}.png" for name in pictures), "model.keras"]
    return {Path(name).stem: site.artifacts.url(f"training/{run_key}/{name}") for name in names}


def parity_pictures(pictures: Sequence[Picture], folder: Path) -> Path:
    """Copy some test pictures to a folder, on which the IR is compared with TensorFlow."""
    folder.mkdir(parents=True)
    chosen = [picture for picture in pictures if picture.split == "test"]
    for number in np.linspace(0, len(chosen) - 1, min(PARITY_PICTURES, len(chosen))).astype(int):
        cv2.imwrite(str(folder / f"{number:06d}.png"), read_picture(chosen[number])[..., ::-1])
    return folder
