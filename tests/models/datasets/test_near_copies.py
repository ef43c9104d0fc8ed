"""The perceptual hash, and the search for near-duplicates compared with a pairwise search."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.datasets.near_copies import BITS, WITHIN, fingerprint, near_duplicates
from models.datasets.picture import Picture, read_picture
from tests.models.picture_files import scene


def brute_force(fingerprints: NDArray[np.uint8], within: int) -> list[list[int]]:
    bits = np.unpackbits(fingerprints, axis=2)
    pairs = []
    for i in range(len(bits)):
        for j in range(i + 1, len(bits)):
            distance = min(int((bits[i, 0] != bits[j, side]).sum()) for side in (0, 1))
            if distance <= within:
                pairs.append([i, j, distance])
    return pairs


@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(0, 60))
@settings(max_examples=60)
def test_near_duplicates_equal_those_of_a_pairwise_comparison(seed: int, count: int, within: int) -> None:
    """A few originals, and copies of them with up to 80 flipped bits, every second one mirrored."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (4, 2, BITS), np.uint8)[rng.integers(0, 4, count)]
    bits[::2] = bits[::2, ::-1]
    for row in bits:
        row[:, rng.permutation(BITS)[: rng.integers(0, 81)]] ^= 1
    fingerprints = np.packbits(bits, axis=2)
    assert near_duplicates(fingerprints, within).tolist() == brute_force(fingerprints, within)


def test_pairs_are_found_across_blocks_of_a_large_set() -> None:
    fingerprints = np.random.default_rng(0).integers(0, 256, (1500, 2, 32), np.uint8)
    fingerprints[1400] = fingerprints[3]
    fingerprints[1100, 1] = fingerprints[600, 0]  # from one of the two: the other's mirror image
    fingerprints[1499, 0, 0] = fingerprints[1498, 0, 0] ^ 0b111
    fingerprints[1499, 0, 1:] = fingerprints[1498, 0, 1:]
    assert near_duplicates(fingerprints).tolist() == [[3, 1400, 0], [600, 1100, 0], [1498, 1499, 3]]


def test_a_fingerprint_is_the_sign_of_horizontal_differences() -> None:
    ramp = np.repeat(np.linspace(0, 255, 340)[None, :, None], 160, axis=0).repeat(3, axis=2).astype(np.uint8)
    plain, mirrored = np.unpackbits(fingerprint(ramp), axis=1)
    assert plain.all()
    assert not mirrored.any()


@pytest.mark.parametrize("seed", range(5))
def test_a_mirror_image_exchanges_the_halves_of_the_fingerprint(seed: int) -> None:
    image = scene(seed, 170, 255)
    np.testing.assert_array_equal(fingerprint(image[:, ::-1]), fingerprint(image)[::-1])


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3, 2)])
def test_tiny_pictures_have_a_fingerprint(shape: tuple[int, int]) -> None:
    assert fingerprint(np.zeros((*shape, 3), np.uint8)).shape == (2, 32)


def recompressed(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    content = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))[1]
    return np.ascontiguousarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)


@pytest.mark.real_data
def test_copies_of_real_pictures_are_found_with_two_similar_pairs(data: Path) -> None:
    """105 grey cars from the side and 89 motorbikes: very similar pictures."""
    folders = [data / "cars/caltech256" / name for name in ("252.car-side-101", "145.motorbikes-101")]
    images = [read_picture(Picture(path, True, "")) for folder in folders for path in sorted(folder.iterdir())]
    prints = np.array([fingerprint(image) for image in images])
    names = [path.name for folder in folders for path in sorted(folder.iterdir())]
    found = [(names[one], names[other]) for one, other, _ in near_duplicates(prints)]
    assert found == [("145_0001.jpg", "145_0002.jpg"), ("145_0073.jpg", "145_0074.jpg")]  # sister models in one pose

    changes = {
        "recompressed": lambda image: recompressed(image, 30),
        "halved": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        "mirrored": lambda image: recompressed(image[:, ::-1], 80),
    }
    for change in changes.values():
        pairs = [np.stack([print_, fingerprint(change(image))]) for print_, image in zip(prints, images, strict=True)]
        share = np.mean([len(near_duplicates(pair, WITHIN)) for pair in pairs])
        assert share >= 0.97
