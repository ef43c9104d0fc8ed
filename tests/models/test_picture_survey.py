"""Reading a whole set once: what is used, what is skipped and why."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from models.picture_copies import fingerprint
from models.picture_sets import caltech256, stanford_cars
from models.picture_survey import survey
from models.pictures import read_picture
from tests.models.picture_files import encoded, put, scene


def test_usable_pictures_come_back_with_hash_and_fingerprint_of_what_is_in_the_box(tmp_path: Path) -> None:
    given = [put(tmp_path / f"{n}.png", encoded(scene(n)), n % 2 == 0, split="train") for n in range(20)]
    given.append(put(tmp_path / "boxed.jpg", encoded(scene(20), ".jpg"), box=(4, 4, 60, 40)))
    told: list[int] = []
    result = survey(given, told.append)
    assert told == list(range(1, 22))
    assert result.skipped == []
    assert [p.path for p in result.pictures] == [p.path for p in given]
    assert [p.sha256 for p in result.pictures] == [hashlib.sha256(p.path.read_bytes()).hexdigest() for p in given]
    assert {p.split for p in result.pictures[:20]} == {"train"}
    np.testing.assert_array_equal(result.fingerprints, [fingerprint(read_picture(p)) for p in given])


def test_bad_files_are_skipped_with_their_reason_and_the_others_used(tmp_path: Path) -> None:
    good = put(tmp_path / "good.png", encoded(scene(0)))
    cut = put(tmp_path / "cut.jpg", encoded(scene(1), ".jpg")[:-50])
    page = put(tmp_path / "page.jpg", b"<html>")
    boxed = put(tmp_path / "boxed.png", encoded(scene(2)), box=(100, 100, 120, 120))
    result = survey([cut, good, page, boxed])
    assert [p.path.name for p in result.pictures] == ["good.png"]
    assert result.fingerprints.shape == (1, 2, 32)
    reasons = {skipped.picture.path.name: skipped.reason for skipped in result.skipped}
    assert "cut.jpg is a JPEG that is truncated or damaged" in reasons["cut.jpg"]
    assert "page.jpg starts with b'<html>', expected a JPEG" in reasons["page.jpg"]
    assert "outside" in reasons["boxed.png"]
    assert len(reasons) == 3


def test_of_equal_files_of_a_class_one_is_kept_and_a_test_picture_first(tmp_path: Path) -> None:
    content = encoded(scene(0))
    train, test, undrawn = (put(tmp_path / f"{s}.png", content, split=s) for s in ("train", "test", None))
    other_box = put(tmp_path / "box.png", content, box=(0, 0, 9, 9))
    result = survey([train, undrawn, other_box, test])
    assert [p.path.name for p in result.pictures] == ["box.png", "test.png"]
    assert [skipped.picture.path.name for skipped in result.skipped] == ["train.png", "None.png"]
    assert result.skipped[0].reason == f"{train.path} is a copy of {test.path}, which is used"


def test_the_same_bytes_in_both_classes_are_used_in_neither(tmp_path: Path) -> None:
    content = encoded(scene(0))
    car, again, not_car = (put(tmp_path / f"{n}.png", content, n != "c") for n in "abc")
    result = survey([car, put(tmp_path / "d.png", encoded(scene(1))), again, not_car])
    assert [p.path.name for p in result.pictures] == ["d.png"]
    assert [skipped.picture.path.name for skipped in result.skipped] == ["a.png", "b.png", "c.png"]
    assert result.skipped[0].reason == f"{car.path} is {not_car.path}, which is of the other class: leave one out"
    assert result.skipped[2].reason == f"{not_car.path} is {car.path}, which is of the other class: leave one out"


def test_a_set_without_pictures_is_an_empty_survey() -> None:
    result = survey([])
    assert (result.pictures, result.skipped, result.fingerprints.shape) == ([], [], (0, 2, 32))


@pytest.mark.real_data
def test_the_real_pictures_hold_one_copy(data: Path) -> None:
    cars = stanford_cars(data / "cars" / "stanford_train", data / "cars" / "devkit")
    result = survey([*cars.pictures, *caltech256(data / "cars" / "caltech256").pictures])
    assert len(result.pictures) == 681
    assert [skipped.picture.path.name for skipped in result.skipped] == ["224_0095.jpg"]
    assert "224_0004.jpg, which is used" in result.skipped[0].reason
