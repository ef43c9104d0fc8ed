"""Scores of an exported classifier on pictures, computed like in a nightly batch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.datasets.picture import Picture, read_picture
from models.inference.preprocess import preprocess
from models.inference.runtime import OpenVinoRuntime
from models.manifest import Manifest


def ir_scores(folder: Path, manifest: Manifest, pictures: Sequence[Picture]) -> NDArray[np.float32]:
    """Return (n,) float32 probabilities of the second label, one per picture, by the IR on the CPU in f32.

    folder: of model.xml and model.bin
    Raises RuntimeFault where the IR cannot be run, PictureError for a file that is not a picture.
    """
    runtime = OpenVinoRuntime(folder, manifest)
    scores = np.empty(len(pictures), np.float32)
    for begin in range(0, len(pictures), runtime.slots):
        group = pictures[begin : begin + runtime.slots]
        for slot, picture in enumerate(group):
            runtime.start(slot, _tensor(picture, manifest))
        for slot in range(len(group)):
            (values,) = runtime.wait(slot).values()
            scores[begin + slot] = values.reshape(-1)[0]
    return scores


def _tensor(picture: Picture, manifest: Manifest) -> NDArray[np.uint8]:
    size = (manifest.input.width, manifest.input.height)
    return preprocess(read_picture(picture), size, manifest.input.resize, "RGB")[0][None]
