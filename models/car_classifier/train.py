"""Heavy: fine-tunes the car / not-a-car classifier: Keras's fit, its checkpoint, the whole network as a .keras file.

With a frozen backbone and no augmentation only the head is trained, on features that are computed once. Not here: the
networks (network.py), features (features.py), batches (feed.py), metrics (metrics.py).
"""

import contextlib
import json
import math
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.car_classifier.checkpoint import State, load_state, save_state
from models.car_classifier.features import Progress, features
from models.car_classifier.feed import FeatureFeed, Feed, PictureFeed
from models.car_classifier.network import Base, build_base, build_head, join, unfreeze
from models.car_classifier.params import FinetuneError, FinetuneParams
from models.datasets.picture import SPLITS, Picture, Split, pictures_sha256
from models.heavy.tensorflow import disable_op_determinism, keras, tf
from models.types import Epoch, Step

CHECKPOINT_FILE = "checkpoint.npz"
MODEL_FILE = "model.keras"

OnEpoch = Callable[[Epoch, Sequence[Step]], None]
Logs = Mapping[str, Any] | None  # of Keras: name -> number

_OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "sgd": lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
    "rmsprop": keras.optimizers.RMSprop,
}


@dataclass(frozen=True, eq=False)
class Trained:
    """A classifier. model: the whole network, pictures (1, 224, 224, 3) in [-1, 1] -> probability of a car

    best_epoch: the epoch of its weights, by validation loss; base_sha256: of the backbone before the training
    validation, test: the pictures of these splits
    validation_scores, scores: (n,) float32 their probabilities, in the same order; scores are of the test split
    """

    model: Path
    best_epoch: int
    base_sha256: str
    steps: list[Step]
    epochs: list[Epoch]
    validation: list[Picture]
    validation_scores: NDArray[np.float32]
    test: list[Picture]
    scores: NDArray[np.float32]


def finetune(
    params: FinetuneParams,
    pictures: Sequence[Picture],
    folder: Path,
    *,
    weights: Path | None,
    cache: Path | None,
    on_epoch: OnEpoch = lambda epoch, steps: None,
    on_features: Progress = lambda done, total: None,
) -> Trained:
    """Train from the start or from the folder's checkpoint. Writes checkpoint.npz (after each epoch) and model.keras.

    pictures: each with its split and sha256; weights: the backbone's file, None = random ones
    cache: folder of the features; None = the backbone runs in the loop, as it also does where a part of it is trained
        or pictures are augmented
    on_epoch: receives each epoch and its steps after its checkpoint; an exception from it ends the training
    Raises FinetuneError where a split is empty or of one kind only, the checkpoint does not fit, or the loss is not a
    number; PictureError for a file that is not a picture.
    """
    splits = _by_split(pictures)
    keras.utils.clear_session()  # resets Keras's counter of layer names, which are saved with the model
    folder.mkdir(parents=True, exist_ok=True)
    base = build_base(params.backbone, weights, params.seed)
    head = build_head(params, base.width)
    whole = join(base, head)
    on_cached = cache is not None and not params.unfrozen_blocks and not params.augment
    if cache is not None and on_cached:
        feeds = _feature_feeds(params, base, splits, cache, on_features)
    else:
        unfreeze(base, params.unfrozen_blocks)
        feeds = _picture_feeds(params, splits)
    learner = Learner(params, head if on_cached else whole, class_weights(params, splits["train"]))
    path = folder / CHECKPOINT_FILE
    identity = _identity(params, pictures, base, on_cached)
    state = load_state(identity, path) if path.exists() else State(learner.values(), [])
    learner.set_values(state.values)
    with _determinism():
        if len(state.epochs) < params.epochs:
            save = partial(save_state, identity=identity, path=path)
            backup = EpochBackup(learner, state, save, feeds["train"].sizes, on_epoch)
            learner.fit(feeds["train"], feeds["validation"], backup)
        learner.set_network(state.best)
        validation_scores, scores = (learner.scores(feeds[split]) for split in ("validation", "test"))
    _write_model(whole, folder / MODEL_FILE)
    return Trained(
        model=folder / MODEL_FILE,
        best_epoch=state.best_epoch,
        base_sha256=base.sha256,
        steps=state.steps,
        epochs=state.epochs,
        validation=splits["validation"],
        validation_scores=validation_scores,
        test=splits["test"],
        scores=scores,
    )


@contextlib.contextmanager
def _determinism() -> Iterator[None]:
    """Make TensorFlow deterministic. Switched off afterwards, as it applies to the whole process, and other code may
    need an operation without a deterministic version."""
    tf.config.experimental.enable_op_determinism()
    try:
        yield
    finally:
        disable_op_determinism()


def _by_split(pictures: Sequence[Picture]) -> dict[Split, list[Picture]]:
    splits = {split: [picture for picture in pictures if picture.split == split] for split in SPLITS}
    for split, members in splits.items():
        cars = sum(picture.car for picture in members)
        if not 0 < cars < len(members):
            raise FinetuneError(
                f"The split {split} has {cars} cars and {len(members) - cars} others, and needs both. "
                "Give more pictures, or other shares."
            )
    return splits


def _feature_feeds(
    params: FinetuneParams,
    base: Base,
    splits: dict[Split, list[Picture]],
    cache: Path,
    on_features: Progress,
) -> dict[Split, Feed]:
    found = features(base, [picture for members in splits.values() for picture in members], cache, on_features)
    ends = np.cumsum([len(members) for members in splits.values()])
    parts = np.split(found, ends[:-1])
    return {
        split: FeatureFeed(members, part, params.batch_size, params.seed)
        for (split, members), part in zip(splits.items(), parts, strict=True)
    }


def _picture_feeds(params: FinetuneParams, splits: dict[Split, list[Picture]]) -> dict[Split, Feed]:
    return {
        split: PictureFeed(members, params.batch_size, params.seed, params.augment) for split, members in splits.items()
    }


def class_weights(params: FinetuneParams, train: Sequence[Picture]) -> tuple[float, float]:
    """Weights of a picture in the loss, of others and of cars: 1 on average over the pictures."""
    if params.class_weights == "none":
        return 1.0, 1.0
    cars = sum(picture.car for picture in train)
    return len(train) / (2 * (len(train) - cars)), len(train) / (2 * cars)


def _identity(params: FinetuneParams, pictures: Sequence[Picture], base: Base, on_cached: bool) -> str:
    """Hash of everything that must be equal for a training to resume, without the locations of files."""
    parts = {
        "params": params.to_json(),
        "pictures": pictures_sha256(pictures),
        "base": base.sha256,
        "on_cached": on_cached,
    }
    return json.dumps(parts, sort_keys=True)


class EpochBackup(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Save the state of a training after each epoch, then report the epoch.

    Keras's own BackupAndRestore does not save the state of dropout's generator.
    """

    def __init__(
        self,
        learner: "Learner",
        state: State,
        save: Callable[[State], None],
        sizes: Sequence[int],
        on_epoch: OnEpoch,
    ) -> None:
        """sizes: pictures of each batch of an epoch"""
        super().__init__()
        self.learner, self.state, self._save, self._sizes, self._on_epoch = learner, state, save, sizes, on_epoch
        self._began, self._steps = 0.0, list[Step]()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._began, self._steps = time.monotonic(), []

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self.model.reset_metrics()  # Keras would report the mean over the epoch so far

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        before = self.state.steps[-1].step if self.state.steps else 0
        step = Step(len(self.state.epochs) + 1, before + batch + 1, *_loss_and_accuracy(logs))
        if not math.isfinite(step.loss):
            raise _not_finite("training", step.loss, step, self.learner.params)
        self._steps.append(step)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        validation, last = _loss_and_accuracy(logs, "val_"), self._steps[-1]
        if not math.isfinite(validation[0]):
            raise _not_finite("validation", validation[0], last, self.learner.params)
        loss, accuracy = np.average(
            [(step.loss, step.accuracy) for step in self._steps], axis=0, weights=self._sizes
        ).tolist()
        seconds = time.monotonic() - self._began
        self.state.steps += self._steps
        self.state.epochs.append(Epoch(epoch + 1, last.step, loss, accuracy, *validation, seconds))
        self.state.values = self.learner.values()
        if self.state.best_epoch == epoch + 1:
            self.state.best = self.learner.network_values()
        self._save(self.state)
        self._on_epoch(self.state.epochs[-1], self._steps)


def _loss_and_accuracy(logs: Logs, prefix: str = "") -> tuple[float, float]:
    assert logs is not None
    return float(logs[f"{prefix}loss"]), float(logs[f"{prefix}binary_accuracy"])


def _not_finite(kind: str, loss: float, step: Step, params: FinetuneParams) -> FinetuneError:
    return FinetuneError(
        f"The {kind} loss of step {step.step} (epoch {step.epoch}) is {loss}. Give a learning rate below "
        f"{params.learning_rate:g}, or fetch the backbone's weights again."
    )


def _write_model(network: Any, path: Path) -> None:
    """Write equal bytes for equal networks: Keras's own file contains the time of day and memory addresses."""
    # Fixed names: one training owns the folder and overwrites the files of a killed one.
    saved, timeless = path.with_name(f".saved-{path.name}"), path.with_name(f".new-{path.name}")
    try:
        network.save(saved)
        _rewrite_reproducibly(saved, timeless)
        timeless.replace(path)
    finally:
        saved.unlink(missing_ok=True)
        timeless.unlink(missing_ok=True)


def _rewrite_reproducibly(saved: Path, timeless: Path) -> None:
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(timeless, "w") as copy:
        for name in sorted(source.namelist()):
            content = source.read(name)
            if name.endswith(".json"):
                config = json.loads(content)
                config.pop("date_saved", None)
                content = json.dumps(_numbered(config, {}), sort_keys=True).encode()
            copy.writestr(zipfile.ZipInfo(name), content)  # of 1980, as a ZipInfo begins


def _numbered(config: Any, numbers: dict[int, int]) -> Any:
    """Replace the memory addresses that identify shared objects in Keras's configuration with running numbers."""
    if isinstance(config, list):
        return [_numbered(item, numbers) for item in config]
    if isinstance(config, dict):
        return {
            key: numbers.setdefault(value, len(numbers)) if key == "shared_object_id" else _numbered(value, numbers)
            for key, value in config.items()
        }
    return config


class Learner:
    """A network in training by Keras's fit, and everything that changes in it as arrays."""

    def __init__(self, params: FinetuneParams, network: Any, weights: tuple[float, float]) -> None:
        self.params, self._weights = params, dict(enumerate(weights))
        # Another model of the same layers, so that the network itself is saved without an optimizer.
        self._model = keras.Model(network.inputs, network.outputs)
        optimizer = _OPTIMIZERS[params.optimizer](params.learning_rate)
        self._model.compile(optimizer, "binary_crossentropy", metrics=["binary_accuracy"], jit_compile=False)
        optimizer.build(network.trainable_variables)
        own = {id(variable) for variable in network.weights}
        states = [variable for variable in network.variables if id(variable) not in own]  # of dropout's generator
        self._network_variables = list(network.trainable_variables)
        self._variables = [*self._network_variables, *states, *optimizer.variables]

    def fit(self, train: Feed, validation: Feed, backup: "EpochBackup") -> None:
        """Train from the epoch after the last one of the backup's state to the last one of the parameters."""
        done = len(backup.state.epochs)
        self._model.fit(
            tf.data.Dataset.from_generator(
                lambda: chain.from_iterable(map(train.epoch, count(done + 1))),
                output_signature=train.in_order().element_spec,
            ),
            steps_per_epoch=len(train.sizes),
            initial_epoch=done,
            epochs=self.params.epochs,
            validation_data=validation.in_order(),
            class_weight=self._weights,
            shuffle=False,
            callbacks=[backup],
            verbose=0,
        )

    def scores(self, feed: Feed) -> NDArray[np.float32]:
        """(n,) probabilities of a car."""
        return np.asarray(self._model.predict(feed.in_order(), verbose=0)[:, 0], np.float32)

    def values(self) -> list[NDArray[np.generic]]:
        return [variable.numpy() for variable in self._variables]

    def set_values(self, values: Sequence[NDArray[np.generic]]) -> None:
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)

    def network_values(self) -> list[NDArray[np.generic]]:
        return [variable.numpy() for variable in self._network_variables]

    def set_network(self, values: Sequence[NDArray[np.generic]]) -> None:
        for variable, value in zip(self._network_variables, values, strict=True):
            variable.assign(value)
