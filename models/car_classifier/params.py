"""Parameters for fine-tuning a car / not-a-car classifier: the three experiments as presets, and bounds.

No TensorFlow.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal, get_args

from models.types import NightjarError

Backbone = Literal["resnet50", "mobilenet_0_25"]
Optimizer = Literal["adam", "sgd", "rmsprop"]
ClassWeights = Literal["none", "balanced"]

# Keras's own published files without the top, weights only (keras.applications names them so).
WEIGHTS_URL: dict[Backbone, str] = {
    "resnet50": "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
    "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "mobilenet_0_25": "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet/"
    "mobilenet_2_5_224_tf_no_top.h5",
}
# What `unfrozen_blocks` counts, from the end: ResNet50's residual blocks, conv5_block3 first and conv2_block1 last;
# MobileNet's pairs of a depthwise and a pointwise convolution, 13 first and 1 last.
BLOCKS: dict[Backbone, int] = {"resnet50": 16, "mobilenet_0_25": 13}

_BOUNDS: dict[str, tuple[float, float]] = {
    "learning_rate": (1e-7, 1.0),
    "epochs": (1, 1000),
    "batch_size": (1, 1024),
    "seed": (0, 2**31 - 1),
    "dropout": (0.0, 0.9),
}
_WHOLE = ("epochs", "batch_size", "seed", "unfrozen_blocks")
_CHOICES = {"backbone": Backbone, "optimizer": Optimizer, "class_weights": ClassWeights}
_MOST_DENSE, _WIDEST = 4, 4096


class FinetuneError(NightjarError):
    """A fine-tuning that cannot begin or go on as asked."""


@dataclass(frozen=True)
class FinetuneParams:
    """Everything that determines the classifier besides the pictures and the backbone's weights. Stored with the run.

    dropout: share of the features dropped in training, 0 = no such layer; dense: widths of extra layers (ReLU) before
        the one of 32; unfrozen_blocks: how many of the backbone's last blocks learn too, see BLOCKS
    augment: train on flipped, cropped, brighter and darker pictures; class_weights: balanced = cars and others count
        the same in the loss, however many there are
    own_splits: the data sets' own splits count where they have them; shares: of train, validation and test in what is
        split at random
    Raises FinetuneError where a value is out of its bounds.
    """

    backbone: Backbone = "resnet50"
    learning_rate: float = 1e-3
    optimizer: Optimizer = "adam"
    epochs: int = 20
    batch_size: int = 32
    seed: int = 1
    dropout: float = 0.0
    dense: tuple[int, ...] = ()
    unfrozen_blocks: int = 0
    augment: bool = False
    class_weights: ClassWeights = "none"
    own_splits: bool = False
    shares: tuple[float, float, float] = (0.5, 0.3, 0.2)

    def __post_init__(self) -> None:
        for name, kind in _CHOICES.items():
            self._refuse_unless(name, getattr(self, name) in get_args(kind), f"one of {', '.join(get_args(kind))}")
        for name, (low, high) in {**_BOUNDS, "unfrozen_blocks": (0, BLOCKS[self.backbone])}.items():
            kinds = int if name in _WHOLE else (int, float)
            value = getattr(self, name)
            fits = isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high
            self._refuse_unless(name, fits, f"{'a whole number' if name in _WHOLE else 'a number'} {low:g} to {high:g}")
        for name in ("augment", "own_splits"):
            self._refuse_unless(name, isinstance(getattr(self, name), bool), "true or false")
        widths = f"at most {_MOST_DENSE} widths, each 1 to {_WIDEST}"
        self._refuse_unless("dense", len(self.dense) <= _MOST_DENSE and all(map(_is_width, self.dense)), widths)
        positive = len(self.shares) == 3 and all(0 < share < 1 for share in self.shares)
        self._refuse_unless("shares", positive and abs(sum(self.shares) - 1) < 1e-9, "three positive ones of sum 1")

    def _refuse_unless(self, name: str, fits: bool, expected: str) -> None:
        if not fits:
            raise FinetuneError(f"{name} is {getattr(self, name)!r}, expected {expected}: give such a value")

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "FinetuneParams":
        """Raises FinetuneError where the text is none, names what is not there, or is out of bounds."""
        try:
            raw = json.loads(text)
            given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in raw.items()}
            return cls(**given)
        except (ValueError, TypeError, AttributeError) as error:
            names = ", ".join(field.name for field in dataclasses.fields(cls))
            raise FinetuneError(
                f"no parameters of a fine-tuning ({error}), expected JSON with any of {names}"
            ) from error


def _is_width(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _WIDEST


# After "Car or Not a Car": one data set of each kind, split at random; then the sets' own splits and more folders;
# then against overfitting, with batches of 32, and of 128 as an override.
PRESETS = {
    "experiment-1": FinetuneParams(),
    "experiment-2": FinetuneParams(own_splits=True),
    "experiment-3": FinetuneParams(own_splits=True, dropout=0.3),
}
