"""Features of a frozen backbone equal Keras's, are computed once, and stay cached after errors."""

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from models.car_classifier import features as module
from models.car_classifier.features import features, tensor_of
from models.car_classifier.network import Base, build_base
from models.car_classifier.params import FinetuneError
from models.datasets.picture import Picture, PictureError
from models.heavy.openvino import ov
from models.inference.preprocess import preprocess
from tests.models.car_pictures import make_pictures


@pytest.fixture(scope="module")
def base() -> Base:
    """MobileNet 0.25 with random weights."""
    return build_base("mobilenet_0_25", None, 3)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Picture]:
    """12 pictures."""
    return make_pictures(tmp_path, 4)


class Computed(list[tuple[int, int]]):
    """The arguments of all calls of `on_progress`."""

    def __call__(self, done: int, total: int) -> None:
        self.append((done, total))


def test_features_equal_those_of_keras(base: Base, pictures: list[Picture], tmp_path: Path) -> None:
    found = features(base, pictures, tmp_path / "cache")
    tensors = np.stack([tensor_of(picture) for picture in pictures]).astype(np.float32) / 127.5 - 1
    expected = base.network(tensors, training=False).numpy()
    assert found.shape == (12, 256)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_a_picture_is_resized_as_in_the_nightly_batch(pictures: list[Picture]) -> None:
    frame = cv2.imread(str(pictures[0].path))
    assert np.array_equal(tensor_of(pictures[0]), preprocess(frame, (224, 224), "stretch", "BGR")[0])


def test_cached_features_are_not_computed_again(base: Base, pictures: list[Picture], tmp_path: Path) -> None:
    first, again, more = Computed(), Computed(), Computed()
    some = features(base, pictures[:8], tmp_path / "cache", first)
    assert np.array_equal(features(base, pictures[7::-1], tmp_path / "cache", again), some[::-1])
    everything = features(base, [*pictures, pictures[0]], tmp_path / "cache", more)
    assert np.array_equal(everything[:8], some)
    assert np.array_equal(everything[12], some[0])
    assert (first, again, more) == ([(8, 8)], [], [(4, 4)])


def test_features_depend_on_box_and_base(base: Base, pictures: list[Picture], tmp_path: Path) -> None:
    whole = pictures[0]
    cut = dataclasses.replace(whole, box=(5, 5, 40, 30))
    found = features(base, [whole, cut], tmp_path / "cache")
    assert not np.allclose(found[0], found[1])
    told = Computed()
    features(build_base("mobilenet_0_25", None, 4), [whole], tmp_path / "cache", told)
    assert told == [(1, 1)]


def test_features_before_a_broken_picture_stay_cached(
    base: Base, pictures: list[Picture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PART_PICTURES", 5)
    pictures[11].path.write_bytes(b"no picture")
    with pytest.raises(PictureError, match=pictures[11].path.name):
        features(base, pictures, tmp_path / "cache")
    told = Computed()
    features(base, pictures[:11], tmp_path / "cache", told)
    assert told == [(1, 1)]


def test_no_request_runs_when_a_picture_ends_the_work(
    base: Base, pictures: list[Picture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the queue would go while they run, which corrupts memory."""
    running = [0]

    class CountingQueue(ov.AsyncInferQueue):  # type: ignore[misc]
        def start_async(self, *given: Any) -> None:
            running.append(running[-1] + 1)
            super().start_async(*given)

        def wait_all(self) -> None:
            super().wait_all()
            running.append(0)

    monkeypatch.setattr(ov, "AsyncInferQueue", CountingQueue)
    pictures[11].path.write_bytes(b"no picture")
    with pytest.raises(PictureError):
        features(base, pictures, tmp_path / "cache")
    assert max(running) == 11
    assert running[-1] == 0


@pytest.mark.slow
def test_a_damaged_cache_file_is_computed_again(base: Base, pictures: list[Picture], tmp_path: Path) -> None:
    found = features(base, pictures, tmp_path / "cache")
    (part,) = (tmp_path / "cache").rglob("*.npz")
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 0xFF
    part.write_bytes(content)
    (part.parent / ".half-written").write_bytes(b"of a process that was killed")
    assert np.array_equal(features(base, pictures, tmp_path / "cache"), found)
    assert [path.name for path in part.parent.glob("*.npz")] == [part.name]


def test_a_picture_without_a_hash_is_refused(base: Base, pictures: list[Picture], tmp_path: Path) -> None:
    with pytest.raises(FinetuneError, match="no sha256"):
        features(base, [dataclasses.replace(pictures[0], sha256="")], tmp_path)
