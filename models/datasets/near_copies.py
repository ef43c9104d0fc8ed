"""Pictures that are nearly the same, found by a perceptual hash. No files, no splits.

The hash is the difference hash (dHash) of Krawetz, "Kind of Like That" (2013): a bit is set if a pixel of the shrunken
grey picture is brighter than its left neighbour. His 8 x 8 bits match any two motorbikes in front of a white wall;
16 x 16 do not.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 16
BITS = SIDE * SIDE
WITHIN = 20  # bits; measured, see docs/decisions/101: halved or recompressed copies match, few merely similar pairs do

THUMBNAIL = 24
SAME_LEVELS = 10
"""Of 256, in every cell of two thumbnails. It accepts re-saved copies (98 % at JPEG quality 75, 82 % at 30,
48 % when halved) and few pictures of one scene with a small car (2 % where it is 1/20 of the width).
"""

Pairs = NDArray[np.int64]


def fingerprint(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(2, 32) uint8: the packed bits of the picture and of its mirror image. image: (height, width, 3) RGB"""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA)
    both = np.stack([small, small[:, ::-1]])
    return np.packbits((both[..., 1:] > both[..., :-1]).reshape(2, BITS), axis=1)


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(24, 24, 3) uint8, stretched. image: (height, width, 3) RGB"""
    return np.asarray(cv2.resize(image, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA), np.uint8)


def same_pictures(thumbnails: NDArray[np.uint8], pairs: Pairs) -> NDArray[np.bool_]:
    """(pairs,) True where two pictures are the same photograph, mirrored or not, and not only the same scene.

    A fingerprint does not detect a car that enters the view of a fixed camera; thumbnails do.
    thumbnails: (n, 24, 24, 3) uint8; pairs: (pairs, 2 or more) indices in the first two columns
    """
    same = np.empty(len(pairs), bool)
    for start in range(0, len(pairs), 1024):
        one, other = (thumbnails[pairs[start : start + 1024, side]].astype(np.int16) for side in (0, 1))
        plain, mirrored = (np.abs(one - view).max(axis=(1, 2, 3)) for view in (other, other[:, :, ::-1]))
        same[start : start + 1024] = np.minimum(plain, mirrored) <= SAME_LEVELS
    return same


def near_duplicates(fingerprints: NDArray[np.uint8], within: int = WITHIN) -> Pairs:
    """(pairs, 3) int64: i < j of pictures that differ in at most `within` of 256 bits, mirrored or not; the difference.

    fingerprints: (n, 2, 32) uint8. Ordered by i, then j.
    """
    found = list(_pairs(fingerprints, within))
    return np.concatenate([np.empty((0, 3), np.int64), *found])


def _pairs(fingerprints: NDArray[np.uint8], within: int, at_once: int = 512) -> Iterator[Pairs]:
    """Compute distances as products of vectors of +1 and -1, exact in float32: 20,000 pictures take seconds."""
    signs = np.unpackbits(fingerprints, axis=2).astype(np.float32) * 2 - 1
    for start in range(0, len(signs), at_once):
        block = signs[start : start + at_once, 0]
        agreement = block @ signs[start:, 0].T
        np.maximum(agreement, block @ signs[start:, 1].T, out=agreement)
        near = np.flatnonzero(agreement >= BITS - 2 * within)  # much faster than nonzero
        row, column = np.unravel_index(near, agreement.shape)
        distance = (BITS - agreement[row, column]) / 2
        after = column > row
        yield np.stack([row + start, column + start, distance], axis=1)[after].astype(np.int64)
