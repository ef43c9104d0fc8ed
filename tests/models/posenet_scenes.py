"""Generated PoseNet outputs for people with known keypoints."""

import numpy as np
from numpy.typing import NDArray

from models.decoders.skeleton import PART_CHAIN

STRIDE_PX = 16
PEAK_LOGIT, FLOOR_LOGIT, SPREAD_PX = 4.0, -6.0, 14.0

STANDING = np.array(
    [
        [0, -0.9],
        *([0.05, -0.95], [-0.05, -0.95], [0.1, -0.92], [-0.1, -0.92]),
        *([0.22, -0.7], [-0.22, -0.7], [0.33, -0.4], [-0.33, -0.4], [0.36, -0.1], [-0.36, -0.1]),
        *([0.14, -0.05], [-0.14, -0.05], [0.16, 0.45], [-0.16, 0.45], [0.17, 0.92], [-0.17, 0.92]),
    ]
)
"""(17, 2) x, y of somebody standing, from -1 (head) to 1 (feet)."""


def make_outputs(people: NDArray[np.float64], cells: tuple[int, int]) -> dict[str, NDArray[np.float32]]:
    """Return the outputs of a perfect PoseNet for `people`, (n, 17, 2) x, y in pixels; cells: the maps' (h, w).

    As PersonLab trains it: every vector starts at the cell itself and ends at the keypoint of the nearest person.
    """
    height, width = cells
    place = np.moveaxis(np.mgrid[:height, :width], 0, -1) * STRIDE_PX
    to = people[:, :, ::-1] - place[:, :, None, None]  # (h, w, person, 17, 2) y, x
    if not len(people):
        to = np.full((height, width, 1, 17, 2), 1e6)
    distance2 = (to**2).sum(axis=-1)
    nearest = distance2.argmin(axis=2)  # (h, w, 17)

    def vectors(source: int, target: int) -> NDArray[np.float64]:
        return np.take_along_axis(to[:, :, :, target], nearest[:, :, source, None, None], axis=2)[:, :, 0]

    def field(pairs: list[tuple[int, int]]) -> NDArray[np.float64]:
        return np.stack([vectors(*pair) for pair in pairs], axis=-1)  # (h, w, 2, pairs): y values, then x values

    maps = {
        "heatmap": np.maximum(PEAK_LOGIT - distance2.min(axis=2) / SPREAD_PX**2, FLOOR_LOGIT),
        "offset_2": field([(k, k) for k in range(17)]),
        "displacement_fwd_2": field(list(PART_CHAIN)),
        "displacement_bwd_2": field([(child, parent) for parent, child in PART_CHAIN]),
    }
    return {name: values.reshape(1, height, width, -1).astype(np.float32) for name, values in maps.items()}


def standing_people(count: int, cells: tuple[int, int], seed: int = 0) -> NDArray[np.float64]:
    """(count, 17, 2) x, y in pixels: people side by side, all different."""
    rng = np.random.default_rng(seed)
    height, width = cells[0] * STRIDE_PX, cells[1] * STRIDE_PX
    centres = np.stack([(np.arange(count) + 1) * width / (count + 1), np.full(count, height / 2)], axis=-1)
    return centres[:, None] + STANDING * height * 0.3 + rng.normal(0, 2, (count, 17, 2))


def crowd(count: int, cells: tuple[int, int], seed: int = 0) -> NDArray[np.float64]:
    """(count, 17, 2): small people at random positions, some overlapping."""
    rng = np.random.default_rng(seed)
    size = np.array([cells[1], cells[0]]) * STRIDE_PX
    centres = rng.uniform(0.1, 0.9, (count, 1, 2)) * size
    return centres + STANDING * size[1] * 0.1 + rng.normal(0, 1, (count, 17, 2))


def noise(seed: int, cells: tuple[int, int], logit_mean: float = -1.0) -> dict[str, NDArray[np.float32]]:
    """Random outputs that reach every branch of a decoder."""
    rng = np.random.default_rng(seed)
    spread = {"heatmap": 2.0, "offset_2": 15.0, "displacement_fwd_2": 40.0, "displacement_bwd_2": 40.0}
    channels = {"heatmap": 17, "offset_2": 34, "displacement_fwd_2": 32, "displacement_bwd_2": 32}
    maps = {name: rng.normal(0, spread[name], (*cells, channels[name])) for name in channels}
    maps["heatmap"] += logit_mean
    return {name: values.astype(np.float32) for name, values in maps.items()}
