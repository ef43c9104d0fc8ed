"""Heavy: fine-tunes the car / not-a-car classifier: the loop, its checkpoint, the whole network as a .keras file.

With a frozen backbone and no augmentation only the head is trained, on features that are computed once. Not here: the
networks (network.py), features (features.py), batches (feed.py), metrics (metrics.py).
"""

import contextlib
import json
import math
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.car_classifier.checkpoint import State, load_state, save_state
from models.car_classifier.features import Progress, features
from models.car_classifier.feed import FeatureFeed, Feed, PictureBatch, PictureFeed
from models.car_classifier.network import Base, build_base, build_head, join, unfreeze
from models.car_classifier.params import FinetuneError, FinetuneParams
from models.datasets.picture import SPLITS, Picture, Split, pictures_sha256
from models.heavy.tensorflow import disable_op_determinism, keras, tf
from models.types import Epoch, Step

CHECKPOINT_FILE = "checkpoint.npz"
MODEL_FILE = "model.keras"

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
    on_epoch: Callable[[Epoch, Sequence[Step]], None] = lambda epoch, steps: None,
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
        while len(state.epochs) < params.epochs:
            _run_epoch(learner, feeds, state)
            save_state(state, identity, path)
            on_epoch(state.epochs[-1], [step for step in state.steps if step.epoch == len(state.epochs)])
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


def _run_epoch(learner: "Learner", feeds: dict[Split, Feed], state: State) -> None:
    began = time.monotonic()
    number = len(state.epochs) + 1
    step = state.steps[-1].step if state.steps else 0
    sums = np.zeros(3)  # loss, accuracy, pictures
    for batch in feeds["train"].epoch(number):
        step += 1
        loss, accuracy = learner.step(batch)
        if not math.isfinite(loss):
            raise _not_finite("training", loss, number, step, learner.params)
        state.steps.append(Step(number, step, loss, accuracy))
        sums += np.array([loss, accuracy, 1.0]) * len(batch.cars)
    validation = learner.evaluate(feeds["validation"])
    if not math.isfinite(validation[0]):
        raise _not_finite("validation", validation[0], number, step, learner.params)
    seconds = time.monotonic() - began
    loss, accuracy = (sums[:2] / sums[2]).tolist()
    state.epochs.append(Epoch(number, step, loss, accuracy, *validation, seconds))
    state.values = learner.values()
    if state.best_epoch == number:
        state.best = learner.network_values()


def _not_finite(kind: str, loss: float, epoch: int, step: int, params: FinetuneParams) -> FinetuneError:
    return FinetuneError(
        f"The {kind} loss of step {step} (epoch {epoch}) is {loss}. Give a learning rate below "
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
    """A network and its optimiser: training steps, evaluation, and their state as arrays."""

    def __init__(self, params: FinetuneParams, network: Any, weights: tuple[float, float]) -> None:
        self.params, self.network, self.weights = params, network, weights
        self.optimizer = _OPTIMIZERS[params.optimizer](params.learning_rate)
        self.optimizer.build(network.trainable_variables)
        own = {id(variable) for variable in network.weights}
        states = [variable for variable in network.variables if id(variable) not in own]  # of dropout's generator
        self._network_variables = list(network.trainable_variables)
        self._variables = [*self._network_variables, *states, *self.optimizer.variables]
        self._step = tf.function(self._learn, reduce_retracing=True)
        self._run = tf.function(lambda inputs: network(inputs, training=False), reduce_retracing=True)

    def step(self, batch: PictureBatch) -> tuple[float, float]:
        """Train on one batch. Returns its loss and accuracy before the step."""
        loss, accuracy = self._step(*batch)
        return float(loss), float(accuracy)

    def evaluate(self, feed: Feed) -> tuple[float, float]:
        """Return the mean loss and accuracy over a feed's pictures, each picture counting the same."""
        losses, right = [], []
        for batch in feed.in_order():
            found = self._run(batch.inputs)
            losses.append(keras.losses.binary_crossentropy(batch.cars, found).numpy())
            right.append(((found.numpy() >= 0.5) == (batch.cars.numpy() >= 0.5)).ravel())
        return float(np.concatenate(losses).mean()), float(np.concatenate(right).mean())

    def scores(self, feed: Feed) -> NDArray[np.float32]:
        """(n,) probabilities of a car."""
        return np.concatenate([self._run(batch.inputs).numpy()[:, 0] for batch in feed.in_order()])

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

    def _learn(self, inputs: Any, cars: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            found = self.network(inputs, training=True)
            others_weigh, cars_weigh = self.weights
            weight = tf.where(cars[:, 0] > 0.5, cars_weigh, others_weigh)
            loss = tf.reduce_mean(weight * keras.losses.binary_crossentropy(cars, found))
        variables = self.network.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        right = tf.equal(found >= 0.5, cars >= 0.5)
        return loss, tf.reduce_mean(tf.cast(right, tf.float32))
