"""Tiny generated pictures for the tests of fine-tuning."""

import hashlib
from pathlib import Path

import cv2
import numpy as np

from models.datasets.picture import SPLITS, Picture


def make_pictures(folder: Path, a_split: int = 6) -> list[Picture]:
    """`a_split` pictures of noise in each split, every second one "a car": reddish, the others bluish."""
    random = np.random.default_rng(0)
    made = []
    for split in SPLITS:
        for number in range(a_split):
            car = number % 2 == 0
            path = folder / f"{split}-{number}.png"
            noise = random.integers(0, 90, (48, 64 + number, 3))
            noise[..., 2 if car else 0] += 150
            cv2.imwrite(str(path), noise.astype(np.uint8))
            made.append(Picture(path, car, "made", split, None, hashlib.sha256(path.read_bytes()).hexdigest()))
    return made
