"""Generated OpenPose outputs for people with known keypoints."""

import numpy as np
from numpy.typing import NDArray

from models.decoders.openpose import CHANNELS, FIELDS, HEATMAPS, LIMBS, PARTS
from models.types import KEYPOINT_NAMES

CELL_PX, ORIGIN_PX = 8, 3.5
SPREAD_CELLS, LIMB_CELLS, TOP = 0.875, 1.0, 0.9  # as in training: sigma of 7 px, limbs one cell to each side

Outputs = dict[str, NDArray[np.float32]]


def make_outputs(people: NDArray[np.float64], cells: tuple[int, int]) -> Outputs:
    """Return the outputs of a perfect OpenPose for `people`, (n, 17, 2) x, y in pixels; cells: the maps' (h, w).

    NaN = out of sight. The neck is in the middle of the shoulders.
    """
    place = np.moveaxis(np.mgrid[: cells[0], : cells[1]][::-1], 0, -1)  # (h, w, 2) x, y
    maps = {name: np.zeros((channels, *cells)) for name, channels in CHANNELS.items()}
    for person in people:
        parts = _parts((person - ORIGIN_PX) / CELL_PX)
        for number, part in enumerate(parts):
            distance2 = ((place - part) ** 2).sum(axis=-1)
            bell = TOP * np.exp(-distance2 / (2 * SPREAD_CELLS**2))
            maps[HEATMAPS][number] = np.fmax(maps[HEATMAPS][number], bell)
        for start, end, channel in LIMBS:
            _draw_limb(maps[FIELDS][channel : channel + 2], parts[start], parts[end], place)
    maps[HEATMAPS][-1] = 1 - maps[HEATMAPS][:-1].max(axis=0)
    return {name: values[None].astype(np.float32) for name, values in maps.items()}


def _parts(keypoints: NDArray[np.float64]) -> NDArray[np.float64]:
    """(18, 2) from COCO's (17, 2)."""
    named = dict(zip(KEYPOINT_NAMES, keypoints, strict=True))
    named["neck"] = (named["left_shoulder"] + named["right_shoulder"]) / 2
    return np.array([named[part] for part in PARTS])


def _draw_limb(
    field: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64], place: NDArray[np.intp]
) -> None:
    vector = end - start
    length = np.hypot(*vector)
    if not length > 0:
        return
    unit = vector / length
    along, aside = (place - start) @ unit, (place - start) @ np.array([-unit[1], unit[0]])
    inside = (along > -LIMB_CELLS) & (along < length + LIMB_CELLS) & (abs(aside) < LIMB_CELLS)
    field[:, inside] = unit[:, None]


def noise(seed: int, cells: tuple[int, int], share: float = 0.2) -> Outputs:
    """Random outputs that reach every branch of a decoder. share: of high values in the heatmaps."""
    rng = np.random.default_rng(seed)
    heatmaps = rng.uniform(-0.05, 1.1, (CHANNELS[HEATMAPS], *cells)) * (
        rng.random((CHANNELS[HEATMAPS], *cells)) < share
    )
    coarse = rng.normal(0, 0.5, (CHANNELS[FIELDS], 1, 1)) + rng.normal(0, 0.15, (CHANNELS[FIELDS], *cells))
    return {HEATMAPS: heatmaps[None].astype(np.float32), FIELDS: coarse[None].astype(np.float32)}
