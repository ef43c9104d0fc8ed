"""Reading a whole set once: used and skipped pictures, with reasons."""

import hashlib
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.datasets.near_copies import fingerprint
from models.datasets.picture import PictureError, read_picture
from models.datasets.sources import caltech256, stanford_cars
from models.datasets.splits import check_classes
from models.datasets.survey import BOTH_CLASSES, left_out_lines, survey
from tests.models.picture_files import encoded, put, scene


def test_usable_pictures_have_the_hash_and_fingerprint_of_their_box(tmp_path: Path) -> None:
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


def test_bad_files_are_skipped_with_their_reason(tmp_path: Path) -> None:
    good = put(tmp_path / "good.png", encoded(scene(0)))
    cut = put(tmp_path / "cut.jpg", encoded(scene(1), ".jpg")[:-50])
    page = put(tmp_path / "page.jpg", b"<html>")
    boxed = put(tmp_path / "boxed.png", encoded(scene(2)), box=(100, 100, 120, 120))
    result = survey([cut, good, page, boxed])
    assert [p.path.name for p in result.pictures] == ["good.png"]
    assert result.fingerprints.shape == (1, 2, 32)
    reasons = {skipped.picture.path.name: skipped.reason for skipped in result.skipped}
    assert "cut.jpg is a JPEG that is truncated or damaged" in reasons["cut.jpg"]
    assert "page.jpg starts with b'<html>', which is not a JPEG" in reasons["page.jpg"]
    assert "outside" in reasons["boxed.png"]
    assert len(reasons) == 3


def test_one_of_equal_files_is_kept_preferably_a_test_picture(tmp_path: Path) -> None:
    content = encoded(scene(0))
    train, test, undrawn = (put(tmp_path / f"{s}.png", content, split=s) for s in ("train", "test", None))
    other_box = put(tmp_path / "box.png", content, box=(0, 0, 9, 9))
    result = survey([train, undrawn, other_box, test])
    assert [p.path.name for p in result.pictures] == ["box.png", "test.png"]
    assert [skipped.picture.path.name for skipped in result.skipped] == ["train.png", "None.png"]
    assert result.skipped[0].reason == f"{train.path} is a copy of {test.path}, which is used"


def test_equal_files_in_both_classes_are_skipped(tmp_path: Path) -> None:
    content = encoded(scene(0))
    car, again, not_car = (put(tmp_path / f"{n}.png", content, n != "c") for n in "abc")
    result = survey([car, put(tmp_path / "d.png", encoded(scene(1))), again, not_car])
    assert [p.path.name for p in result.pictures] == ["d.png"]
    assert [skipped.picture.path.name for skipped in result.skipped] == ["a.png", "b.png", "c.png"]
    same = "{} is the same picture as {}, which is of the other class. Leave one out."
    assert result.skipped[0].reason == same.format(car.path, not_car.path)
    assert result.skipped[2].reason == same.format(not_car.path, car.path)


def jpeg(image: np.ndarray, quality: int) -> bytes:
    return encoded(image, ".jpg", cv2.IMWRITE_JPEG_QUALITY, quality)


def test_a_resaved_copy_in_the_other_class_is_skipped_and_named(tmp_path: Path) -> None:
    big = [scene(seed, 300, 400) for seed in range(4)]
    mirrored = np.ascontiguousarray(big[1][:, ::-1])
    copies = [jpeg(big[0], 75), jpeg(mirrored, 60), encoded(cv2.resize(big[2], (200, 150)))]
    cars = [put(tmp_path / f"car{n}.png", encoded(image)) for n, image in enumerate(big)]
    others = [put(tmp_path / f"other{n}.jpg", content, False) for n, content in enumerate(copies)]
    result = survey([*cars, *others])
    assert [p.path.name for p in result.pictures] == ["car3.png"]
    assert {skipped.cause for skipped in result.skipped} == {BOTH_CLASSES}
    lines = left_out_lines(result.skipped, 0)
    assert lines[0] == "left out: 6 in both classes"
    assert (
        sum(
            f"{others[1].path} is the same picture as {cars[1].path}, which is of the other class" in line
            for line in lines
        )
        == 1
    )


def test_a_fixed_view_with_and_without_a_car_is_no_copy(tmp_path: Path) -> None:
    street = scene(1, 300, 400)
    with_car = street.copy()
    with_car[200:225, 100:140] = scene(9, 25, 40)
    empty, car = put(tmp_path / "empty.jpg", jpeg(street, 80), False), put(tmp_path / "car.jpg", jpeg(with_car, 80))
    result = survey([empty, car])
    assert [p.path for p in result.pictures] == [empty.path, car.path]
    assert [(one.path, other.path) for one, other in result.alike] == [(empty.path, car.path)]


def test_the_whole_picture_and_its_box_in_different_classes_are_a_contradiction(tmp_path: Path) -> None:
    content = encoded(scene(0))
    boxed, whole = put(tmp_path / "a.png", content, box=(0, 0, 30, 30)), put(tmp_path / "b.png", content, False)
    assert survey([boxed, whole]).pictures == []


def ftyp(major: bytes, *compatible: bytes) -> bytes:
    body = b"ftyp" + major + bytes(4) + b"".join(compatible)
    return (len(body) + 4).to_bytes(4, "big") + body + bytes(40)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (encoded(scene(0), ".tiff"), "TIFF"),
        (encoded(scene(0), ".avif"), "AVIF"),
        (ftyp(b"mif1", b"mif1", b"avif"), "AVIF"),
        (ftyp(b"heic", b"mif1"), "HEIC"),
        (ftyp(b"mif1", b"heic"), "HEIC"),
        (b"\xff\x0a" + bytes(20), "JPEG XL"),
        (encoded(scene(0), ".jp2"), "JPEG 2000"),
    ],
)
def test_unsupported_formats_are_named(tmp_path: Path, content: bytes, found: str) -> None:
    [skipped] = survey([put(tmp_path / "a.jpg", content)]).skipped
    assert skipped.cause == found
    assert f"as {found} does, which is not supported. Convert it to JPEG or PNG." in skipped.reason
    with pytest.raises(PictureError, match=rf"none of car \(left out: 1 {found}; see the log\)"):
        check_classes([], left_out=[skipped])


def test_reasons_with_names_other_than_utf8_can_be_stored(tmp_path: Path) -> None:
    name = os.fsdecode("Käfer.jpg".encode("latin-1"))
    content = encoded(scene(0))
    given = [put(tmp_path / f"{n}{name}", c) for n, c in enumerate([content, content, b"\xff\xd8\xff", b"x", b""])]
    for skipped in survey([*given, put(tmp_path / f"no{name}", content, False)]).skipped:
        assert "K\\udce4fer.jpg" in skipped.reason
        skipped.reason.encode()


def test_a_set_without_pictures_is_an_empty_survey() -> None:
    result = survey([])
    assert (result.pictures, result.skipped, result.fingerprints.shape) == ([], [], (0, 2, 32))


@pytest.mark.real_data
def test_the_real_pictures_contain_one_copy(data: Path) -> None:
    cars = stanford_cars(data / "cars" / "stanford_train", data / "cars" / "devkit")
    result = survey([*cars.pictures, *caltech256(data / "cars" / "caltech256").pictures])
    assert len(result.pictures) == 681
    assert [skipped.picture.path.name for skipped in result.skipped] == ["224_0095.jpg"]
    assert "224_0004.jpg, which is used" in result.skipped[0].reason
