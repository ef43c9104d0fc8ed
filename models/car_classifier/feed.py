"""Heavy: the batches of a fine-tuning: of cached features, or of pictures streamed by tf.data.

A feed's order and its augmentation follow from the seed and the epoch alone, so that a resumed training gets the
same batches.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from models.car_classifier.features import tensor_of
from models.car_classifier.network import SIZE
from models.datasets.picture import Picture, read_picture
from models.heavy.tensorflow import tf
from models.inference.preprocess import preprocess

Image = NDArray[np.uint8]

_SMALLEST_CROP = 0.8  # of each side
_BRIGHTNESS = 0.25  # largest change, darker or brighter


class Feed(Protocol):
    """The pictures of one split as tf.data's datasets of batches (inputs, cars).

    inputs: (n, width) features or (n, 224, 224, 3) in [-1, 1], float32; cars: (n, 1) float32, 1 = a car
    sizes: pictures of each batch
    """

    sizes: list[int]

    def epoch(self, number: int) -> Any:
        """Yield the pictures in the epoch's shuffled order."""

    def in_order(self) -> Any:
        """Yield the pictures in their order, without augmentation."""


def _truth(pictures: Sequence[Picture]) -> NDArray[np.float32]:
    return np.array([[picture.car] for picture in pictures], np.float32).reshape(-1, 1)


def _sizes(count: int, batch_size: int) -> list[int]:
    return [min(batch_size, count - begin) for begin in range(0, count, batch_size)]


def _shuffled(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(count)


class FeatureFeed:
    """Batches of features. features: (n, width), one row per picture"""

    def __init__(self, pictures: Sequence[Picture], features: NDArray[np.float32], batch_size: int, seed: int) -> None:
        self.features, self.cars = features, _truth(pictures)
        self.batch_size, self.seed, self.sizes = batch_size, seed, _sizes(len(pictures), batch_size)

    def epoch(self, number: int) -> Any:
        return self._batches(_shuffled(len(self.cars), self.seed, number))

    def in_order(self) -> Any:
        return self._batches(np.arange(len(self.cars)))

    def _batches(self, order: NDArray[np.int64]) -> Any:
        rows = (self.features[order], self.cars[order])
        return tf.data.Dataset.from_tensor_slices(rows).batch(self.batch_size)


class PictureFeed:
    """Batches of pictures, decoded in parallel to the training, a few in memory at a time."""

    def __init__(self, pictures: Sequence[Picture], batch_size: int, seed: int, augment: bool) -> None:
        self.pictures, self.cars = pictures, _truth(pictures)
        self.batch_size, self.seed, self.augment = batch_size, seed, augment
        self.sizes = _sizes(len(pictures), batch_size)

    def epoch(self, number: int) -> Any:
        return self._batches(_shuffled(len(self.cars), self.seed, number), number if self.augment else None)

    def in_order(self) -> Any:
        return self._batches(np.arange(len(self.cars)), None)

    def _batches(self, order: NDArray[np.int64], epoch: int | None) -> Any:
        """epoch: of the augmentation, None = without"""

        def read(row: NDArray[np.int64]) -> Image:
            picture = self.pictures[int(row)]
            if epoch is None:
                return tensor_of(picture)
            changed = augmented(read_picture(picture), np.random.default_rng((self.seed, epoch, int(row))))
            return preprocess(changed, (SIZE, SIZE), "stretch", "RGB")[0]

        def load(row: Any, car: Any) -> tuple[Any, Any]:
            # Not stateful: TensorFlow would run stateful functions one after the other to keep their order.
            pixels = tf.numpy_function(read, [row], tf.uint8, stateful=False)
            return tf.cast(tf.ensure_shape(pixels, (SIZE, SIZE, 3)), tf.float32) / 127.5 - 1.0, car

        rows = tf.data.Dataset.from_tensor_slices((order, self.cars[order]))
        loaded = rows.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return loaded.batch(self.batch_size).prefetch(2)


def augmented(image: Image, random: np.random.Generator) -> Image:
    """Crop at least 0.8 of each side, mirror, and change the brightness by up to a quarter, all at random.

    image: (h, w, 3) uint8; the result is a smaller copy
    """
    height, width = image.shape[:2]
    rows, columns = (max(1, round(side * random.uniform(_SMALLEST_CROP, 1.0))) for side in (height, width))
    top, left = int(random.integers(height - rows + 1)), int(random.integers(width - columns + 1))
    part = image[top : top + rows, left : left + columns]
    mirrored = cv2.flip(part, 1) if random.random() < 0.5 else part
    return np.asarray(cv2.convertScaleAbs(mirrored, alpha=1 + random.uniform(-_BRIGHTNESS, _BRIGHTNESS)), np.uint8)
