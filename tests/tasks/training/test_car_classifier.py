"""The pictures of a training: splits by folders, the order of folders, skipped files."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from models.car_classifier.params import FinetuneSpec, PictureSources
from models.datasets.picture import PictureError, pictures_sha256
from models.spec import build
from models.types import NightjarError
from tasks.model.early_checks import check_pictures
from tasks.training.car_classifier import Data, folder_lines, gather_pictures
from tests.models.picture_files import encoded, put, scene


def make(folder: Path, *names: str) -> Path:
    """Three different pictures of noise in each of these folders."""
    for name in names:
        for number in range(3):
            put(folder / name / f"{number}.png", encoded(scene(crc32(f"{folder.name} {name} {number}".encode()))))
    return folder


def gather(*folders: Path, random_splits: bool = False) -> Data:
    overrides = {"own_splits": False} if random_splits else {}
    return gather_pictures(FinetuneSpec(sources=PictureSources(folders=tuple(map(str, folders))), overrides=overrides))


def splits(data: Data) -> set[tuple[str, str | None]]:
    return {(str(one.path), one.split) for one in data.pictures}


def test_the_order_of_folders_has_no_effect(tmp_path: Path) -> None:
    folders = [make(tmp_path / name, "car", "not_car") for name in ("one", "two", "three")]
    put(folders[0] / "car" / "copy.png", (folders[1] / "car" / "0.png").read_bytes())
    found = [gather(*order) for order in itertools.permutations(folders)]
    assert len({pictures_sha256(data.pictures) for data in found}) == 1
    assert all(data.pictures == found[0].pictures for data in found)
    assert all(data.table == found[0].table for data in found)


@pytest.mark.parametrize("names", [("valid", "Test", "training"), ("car/test", "not_car/test", "car/train")])
def test_own_test_pictures_are_never_trained_on_by_default(tmp_path: Path, names: Sequence[str]) -> None:
    folders = [name if "car" in name else f"{name}/{kind}" for name in names for kind in ("car", "not_car")]
    root = make(tmp_path / "mine", *folders)
    tested = {path for path, split in splits(gather(root)) if split == "test"}
    assert tested == {str(path) for path in root.rglob("*.png") if "test" in str(path.relative_to(root)).lower()}
    drawn = gather(root, random_splits=True)
    assert {path for path, split in splits(drawn) if split == "test"} != tested
    assert any(f"{Path(next(iter(tested))).parent}: 3 " in line for line in folder_lines(gather(root).pictures))


def test_random_splits_override_partly_recognised_splits(tmp_path: Path) -> None:
    root = make(tmp_path / "mine", "train/car", "train/not_car", "tset/car", "tset/not_car")
    with pytest.raises(PictureError, match=r"6 pictures of .* are in folders of splits, .* and 6 are in none"):
        gather(root)
    assert len(gather(root, random_splits=True).pictures) == 12


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"name": "run-7"}, "'run-7'.* names a training run"),
        ({"name": "12"}, "'12'.* names a training run"),
        ({"folders": (os.fsdecode("K\xe4fer".encode("latin-1")),)}, r"K\\udce4fer is not valid UTF-8"),
    ],
)
def test_reserved_names_and_unsupported_folders_are_refused(tmp_path: Path, named: dict[str, Any], words: str) -> None:
    with pytest.raises(NightjarError, match=words):
        check_pictures(build(FinetuneSpec, {"folders": [str(tmp_path)], **named}))
    check_pictures(build(FinetuneSpec, {"folders": [str(tmp_path)], "name": "run-7-again"}))
