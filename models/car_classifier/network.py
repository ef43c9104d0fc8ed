"""Heavy: the networks of the car / not-a-car classifier: a backbone trained on ImageNet, and a head to be trained.

Input of every network, as of Nightjar's IRs: (n, 224, 224, 3) float32 RGB in [-1, 1]. Not here: training (train.py),
running a backbone fast (features.py).
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.car_classifier.params import BLOCKS, Backbone, FinetuneError, FinetuneParams
from models.heavy.tensorflow import keras

SIZE = 224
_LAST_DENSE = 32
_CAFFE_MEANS = (103.939, 116.779, 123.68)  # blue, green, red of ImageNet, from ResNet50's training
_LAYOUT = b"nightjar features 1: 224x224 stretched, RGB in [-1, 1], global average\n"


@dataclass(frozen=True, eq=False)
class Base:
    """A backbone. network: pictures (n, 224, 224, 3) -> features (n, width), the last map's global average

    sha256: of the architecture's name and all weights: two bases with the same one give the same features
    """

    backbone: Backbone
    network: Any
    inner: Any
    sha256: str

    @property
    def width(self) -> int:
        return int(self.network.output.shape[-1])


def build_base(backbone: Backbone, weights: Path | None, seed: int = 0) -> Base:
    """Build a frozen backbone. weights: Keras's .h5 without top; None = random by the seed, for tests and timing

    Raises FinetuneError where the file is not this backbone's, or damaged.
    """
    inner = _keras_network(backbone)
    if weights is None:
        _randomise(inner, seed)
    else:
        _load(inner, backbone, weights)
    inner.trainable = False
    given = keras.Input((SIZE, SIZE, 3), name="image")
    scaled = _caffe_scaling()(given) if backbone == "resnet50" else given
    network = keras.Model(given, inner(scaled), name="base")
    return Base(backbone, network, inner, _sha256(backbone, network))


def _keras_network(backbone: Backbone) -> Any:
    kind = {"include_top": False, "weights": None, "pooling": "avg", "input_shape": (SIZE, SIZE, 3)}
    if backbone == "resnet50":
        return keras.applications.ResNet50(**kind)
    return keras.applications.MobileNet(alpha=0.25, **kind)


def _load(network: Any, backbone: Backbone, weights: Path) -> None:
    try:
        network.load_weights(weights)
    except (OSError, ValueError, KeyError) as error:
        raise FinetuneError(
            f"{weights.name} does not contain the weights of {backbone} ({error}). Give Keras's .h5 file without the "
            "top."
        ) from error
    if not all(np.isfinite(value).all() for value in network.get_weights()):
        raise FinetuneError(f"{weights.name} contains NaN or infinities. Fetch it again.")


def _randomise(network: Any, seed: int) -> None:
    """Initialise the kernels by He's method. Batch norms and biases keep Keras's initial values."""
    random = np.random.default_rng(seed)
    for variable in network.weights:
        if variable.name.endswith("kernel"):
            depthwise = "depthwise" in variable.path or "conv_dw" in variable.path
            fan_in = np.prod(variable.shape[:2] if depthwise else variable.shape[:3])
            variable.assign(random.normal(0, np.sqrt(2 / fan_in), variable.shape).astype(np.float32))


def _caffe_scaling() -> Any:
    """RGB in [-1, 1] to BGR in 0 … 255 less ImageNet's means, as a convolution: a Lambda layer would be code."""
    kernel = 127.5 * np.eye(3, dtype=np.float32)[::-1].reshape(1, 1, 3, 3)
    layer = keras.layers.Conv2D(3, 1, name="to_caffe", trainable=False)
    layer.build((None, SIZE, SIZE, 3))
    layer.set_weights([kernel, (127.5 - np.array(_CAFFE_MEANS)).astype(np.float32)])
    return layer


def _sha256(backbone: Backbone, network: Any) -> str:
    digest = hashlib.sha256(_LAYOUT + backbone.encode())
    for value in network.get_weights():
        digest.update(str(value.shape).encode())
        digest.update(np.ascontiguousarray(value, np.float32).tobytes())
    return digest.hexdigest()


def build_head(params: FinetuneParams, width: int) -> Any:
    """Features (n, width) -> the probability of a car (n, 1), with weights by the seed."""
    seeds = iter(range(params.seed * 16, params.seed * 16 + 16))

    def dense(units: int, activation: str) -> Any:
        kernel = keras.initializers.GlorotUniform(seed=next(seeds))
        return keras.layers.Dense(units, activation=activation, kernel_initializer=kernel)

    layers = [keras.Input((width,), name="features")]
    if params.dropout:
        layers.append(keras.layers.Dropout(params.dropout, seed=next(seeds)))
    layers += [dense(units, "relu") for units in params.dense]
    layers += [dense(_LAST_DENSE, "sigmoid"), dense(1, "sigmoid")]
    return keras.Sequential(layers, name="head")


def join(base: Base, head: Any) -> Any:
    """One network of both, sharing their weights: pictures (n, 224, 224, 3) -> the probability of a car (n, 1)."""
    given = keras.Input((SIZE, SIZE, 3), name="image")
    return keras.Model(given, head(base.network(given)), name="car_classifier")


def unfreeze(base: Base, blocks: int) -> None:
    """Make the last `blocks` of the backbone trainable (see BLOCKS), and nothing else of it.

    Batch norms keep ImageNet's statistics, also in the unfrozen blocks: those of a batch of 32 pictures of two kinds
    are worse, and training would differ from inference.
    """
    learning = [prefix for block in _prefixes(base.backbone)[BLOCKS[base.backbone] - blocks :] for prefix in block]
    base.inner.trainable = blocks > 0
    for layer in base.inner.layers if blocks else ():
        normalises = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = not normalises and f"{layer.name}_".startswith(tuple(learning))


def _prefixes(backbone: Backbone) -> list[tuple[str, ...]]:
    """Prefixes of the layer names of each block, from the first block to the last."""
    if backbone == "mobilenet_0_25":
        return [(f"conv_dw_{block}_", f"conv_pw_{block}_") for block in range(1, BLOCKS[backbone] + 1)]
    stages = {2: 3, 3: 4, 4: 6, 5: 3}  # ResNet50: blocks of each stage (He et al. 2015, table 1)
    return [(f"conv{stage}_block{block}_",) for stage, count in stages.items() for block in range(1, count + 1)]
