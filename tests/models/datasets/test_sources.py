"""The data sets' own layouts in small copies, and the real devkit and folders."""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from models.datasets.picture import PictureError, read_picture
from models.datasets.sources import (
    CALTECH_CARS,
    CALTECH_NEITHER,
    caltech256,
    named_splits,
    plain_folders,
    stanford_cars,
)
from tests.models.picture_files import encoded, put, scene

Box = tuple[int, int, int, int]


def write_devkit(folder: Path, train: dict[str, Box], test: dict[str, Box]) -> Path:
    """Write the two .mat files as published: a 1 x n struct array; the test's has no class. Boxes from 1, inclusive."""
    folder.mkdir(parents=True)
    edges = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"]
    for name, rows, fields in (("train", train, [*edges, "class", "fname"]), ("test", test, [*edges, "fname"])):
        annotations = np.empty((1, len(rows)), [(field, object) for field in fields])
        for at, (file, box) in enumerate(rows.items()):
            annotations[0, at] = (*box, *([np.uint8(7)] if name == "train" else []), file)
        savemat(folder / f"cars_{name}_annos.mat", {"annotations": annotations})
    return folder


def make_files(folder: Path, *names: str) -> Path:
    for name in names:
        put(folder / name, b"never opened")
    return folder


def test_stanford_cars_splits_may_share_file_names(tmp_path: Path) -> None:
    boxes = {"00001.jpg": (1, 1, 10, 20), "00002.jpg": (5, 6, 7, 8)}
    devkit = write_devkit(tmp_path / "devkit", boxes, {"00001.jpg": (2, 3, 300, 400)})
    images = make_files(
        tmp_path / "cars",
        "cars_test/00001.jpg",
        "cars_train/cars_train/00001.jpg",  # nested as in a well-known archive
        "cars_train/00009.jpg",
        "cars_train/._00002.jpg",
        "00002.jpg",
    )
    pictures, notes, _ = stanford_cars(images, devkit, crop=True)
    assert [(str(p.path.relative_to(images)), p.split, p.box, p.car, p.source) for p in pictures] == [
        ("cars_train/cars_train/00001.jpg", "train", (0, 0, 10, 20), True, "stanford-cars"),
        ("cars_test/00001.jpg", "test", (1, 2, 300, 400), True, "stanford-cars"),
    ]
    assert notes == ("stanford-cars: 1 of 2 train pictures are missing",)
    assert [p.box for p in stanford_cars(images, devkit).pictures] == [None, None]
    assert [p.split for p in stanford_cars(images / "cars_test", devkit).pictures] == ["test"]


def test_a_crop_is_the_annotated_box_with_its_last_row_and_column(tmp_path: Path) -> None:
    devkit = write_devkit(tmp_path / "devkit", {"00001.jpg": (3, 2, 5, 9)}, {"00001.jpg": (1, 1, 9999, 9999)})
    for split in ("train", "test"):
        put(tmp_path / f"cars_{split}/00001.jpg", encoded(scene(0)))
    train, test = stanford_cars(tmp_path, devkit, crop=True).pictures
    np.testing.assert_array_equal(read_picture(train), scene(0)[1:9, 2:5])
    np.testing.assert_array_equal(read_picture(test), scene(0))


def test_a_repeated_stanford_picture_is_refused(tmp_path: Path) -> None:
    devkit = write_devkit(tmp_path / "devkit", {"00001.jpg": (1, 1, 2, 2)}, {})
    images = make_files(tmp_path / "cars", "cars_train/00001.jpg", "cars_train_old/00001.jpg")
    with pytest.raises(PictureError, match=r"cars_train_old/00001.jpg are both the train picture"):
        stanford_cars(images, devkit)


def test_a_missing_stanford_archive_is_named(tmp_path: Path) -> None:
    devkit = write_devkit(tmp_path / "devkit", {"00001.jpg": (1, 1, 2, 2)}, {})
    images = make_files(tmp_path / "cars", "cars_train/x.jpg")
    with pytest.raises(PictureError, match=r"such as cars_train/00001\.jpg\. Unpack"):
        stanford_cars(images, devkit)
    with pytest.raises(PictureError, match=r"annotations .*cars_train_annos.mat do not exist\. Unpack car_devkit.tgz"):
        stanford_cars(images, images)
    with pytest.raises(PictureError, match="gone is not a folder"):
        stanford_cars(tmp_path / "gone", devkit)


def test_a_devkit_truncated_anywhere_is_a_picture_error(tmp_path: Path) -> None:
    devkit = write_devkit(tmp_path / "devkit", {f"{n:05}.jpg": (1, 1, n, 300) for n in range(1, 9)}, {})
    images = make_files(tmp_path / "cars", "cars_train/00001.jpg")
    mat = devkit / "cars_train_annos.mat"
    whole = mat.read_bytes()
    for length in [*range(0, 200), *range(200, len(whole) - 1, 37)]:
        mat.write_bytes(whole[:length])
        with pytest.raises(PictureError, match=r"cars_train_annos\.mat is damaged, or not the devkit's"):
            stanford_cars(images, devkit)
    savemat(mat, {"something": 1})
    with pytest.raises(PictureError, match="is damaged, or not the devkit's annotations"):
        stanford_cars(images, devkit)


def test_caltech_256_classes_follow_folder_names(tmp_path: Path) -> None:
    make_files(
        tmp_path,
        "252.car-side-101/252_0001.jpg",
        "178.school-bus/178_0001.jpg",
        "031.car-tire/031_0001.jpg",
        "031.car-tire/031_0002.jpg",
        "257.clutter/257_0001.jpg",
        "056.dog/056_0001.JPG",
        "056.dog/greg/vision309/056_0002.jpg",
        "198.spider/RENAME2",
        "not one/001.jpg",
    )
    pictures, notes, _ = caltech256(tmp_path)
    assert [(p.path.name, p.car, p.split, p.source) for p in pictures] == [
        ("056_0001.JPG", False, None, "caltech-256"),
        ("056_0002.jpg", False, None, "caltech-256"),
        ("178_0001.jpg", False, None, "caltech-256"),
        ("252_0001.jpg", True, None, "caltech-256"),
    ]
    assert notes == (
        "caltech-256: car-tire left out, neither car nor not: 2 pictures",
        "caltech-256: clutter left out, neither car nor not: 1 pictures",
    )
    with pytest.raises(PictureError, match=r"no folders like 252\.car-side-101"):
        caltech256(tmp_path / "not one")


def test_plain_folders_are_read_at_any_depth(tmp_path: Path) -> None:
    make_files(
        tmp_path,
        "car/a.jpg",
        "Cars/berlin/2020/b",
        "not_car/d.webp",
        "not_car/.hidden.jpg",
        "not_car/car/e.jpg",
        "Not-Car/f.jpg",
        "README.txt",
    )
    pictures, notes, published = plain_folders(tmp_path)
    assert {p.path.name: (p.car, p.split) for p in pictures} == {
        "a.jpg": (True, None),
        "b": (True, None),
        "d.webp": (False, None),
        "e.jpg": (True, None),
        "f.jpg": (False, None),
    }
    assert {p.source for p in pictures} == {tmp_path.name}
    assert (notes, published) == ((f"{tmp_path.name}: 1 files outside car and not_car: README.txt",), False)
    with pytest.raises(PictureError, match="no files in folders car or not_car"):
        plain_folders(tmp_path / "car")


SPELLINGS = {
    "train": ["train", "Train", "TRAIN", "training", "trainset", "train2017", "my_train", "TrainImages"],
    "validation": ["validation", "valid", "val", "Val", "dev", "val2017", "validation-set"],
    "test": ["test", "Test", "testing", "test_set", "TestSet", "cars_test", "tests"],
}


@given(st.data())
@settings(max_examples=60)
def test_own_splits_are_kept_in_any_spelling_at_any_level(drawn: st.DataObject) -> None:
    with TemporaryDirectory() as name:
        root, wanted = Path(name) / "pictures", {}
        for number in range(drawn.draw(st.integers(1, 8))):
            split = drawn.draw(st.sampled_from(sorted(SPELLINGS)))
            parts = [drawn.draw(st.sampled_from(["car", "not_car"])), *drawn.draw(st.sampled_from([[], ["berlin"]]))]
            parts.insert(drawn.draw(st.integers(0, len(parts))), drawn.draw(st.sampled_from(SPELLINGS[split])))
            wanted[make_files(root, "/".join([*parts, f"{number}.jpg"])) / "/".join([*parts, f"{number}.jpg"])] = split
        found = plain_folders(root).pictures
        assert {one.path: one.split for one in found} == wanted
        assert [one.split for one in plain_folders(root, own_splits=False).pictures] == [None] * len(wanted)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            ["train/car/a.jpg", "tset/car/b.jpg"],
            r"1 pictures .* are in folders of splits, such as .*train/car \(train\)",
        ),
        (["car/a.jpg", "not_car/b.jpg", "car/test/c.jpg"], r"and 2 are in none, such as .*car/a\.jpg"),
        (["train/car/a.jpg", "train/test/car/b.jpg"], "say test and train"),
        (["trainval/car/a.jpg", "test/car/b.jpg"], "trainval, which could be any split"),
        (["car/hold-out/a.jpg"], "holdout, which could be any split"),
    ],
)
def test_a_partly_recognised_folder_is_an_error(tmp_path: Path, files: list[str], words: str) -> None:
    root = make_files(tmp_path / "pictures", *files)
    with pytest.raises(PictureError, match=words + r".*--random-splits"):
        plain_folders(root)
    assert {one.split for one in plain_folders(root, own_splits=False).pictures} == {None}


def test_folders_given_as_train_and_test_are_these_splits(tmp_path: Path) -> None:
    folders = [tmp_path / "my" / name for name in ("Train", "test", "more")]
    for folder in folders:
        make_files(folder, "car/a.jpg", "not_car/b.jpg")
    sets = named_splits(folders, [plain_folders(folder) for folder in folders])
    assert [{one.split for one in each.pictures} for each in sets] == [{"train"}, {"test"}, {None}]
    alone = named_splits(folders[1:], [plain_folders(folder) for folder in folders[1:]])
    assert {one.split for each in alone for one in each.pictures} == {None}, (
        "a single folder called test is not a split"
    )


def test_linked_folders_are_read_and_reported(tmp_path: Path) -> None:
    elsewhere = make_files(tmp_path / "elsewhere", "a.jpg", "deep/b.jpg")
    root = make_files(tmp_path / "pictures", "not_car/c.jpg")
    (root / "car").symlink_to(elsewhere)
    (root / "not_car" / "d.jpg").symlink_to(elsewhere / "a.jpg")
    (root / "not_car" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    pictures, notes, _ = plain_folders(root)
    assert {(str(one.path.relative_to(root)), one.car) for one in pictures} == {
        ("car/a.jpg", True),
        ("car/deep/b.jpg", True),
        ("not_car/c.jpg", False),
        ("not_car/d.jpg", False),
        ("not_car/gone.jpg", False),
    }
    assert notes == (f"1 links to folders were followed: {root / 'car'} to {elsewhere}",)


def test_circular_links_end_and_are_reported(tmp_path: Path) -> None:
    root = make_files(tmp_path / "pictures", "car/a.jpg", "not_car/b.jpg")
    (root / "car" / "up").symlink_to("..")
    (root / "car" / "self").symlink_to("self")
    for number in range(12):  # each links to all: 12! paths
        (root / f"maze{number}").mkdir()
        for other in range(12):
            (root / f"maze{number}" / f"to{other}").symlink_to(f"../maze{other}")
    pictures, notes, _ = plain_folders(root)
    assert {one.path.name for one in pictures} == {"a.jpg", "b.jpg", "self"}
    assert any("were not followed, because they lead in a circle: " in note for note in notes)


@pytest.mark.real_data
def test_the_published_devkit_and_pictures_are_read(data: Path) -> None:
    pictures, notes, _ = stanford_cars(data / "cars" / "stanford_train", data / "cars" / "devkit", crop=True)
    assert Counter((p.split, p.car) for p in pictures) == {("train", True): 200}
    assert pictures[0].path.name == "00001.jpg"
    assert pictures[0].box == (38, 115, 569, 375)
    assert notes == (
        "stanford-cars: 7944 of 8144 train pictures are missing",
        "stanford-cars: 8041 of 8041 test pictures are missing",
    )


@pytest.mark.real_data
def test_five_caltech_folders_are_read(data: Path) -> None:
    pictures, notes, _ = caltech256(data / "cars" / "caltech256")
    assert Counter((p.path.parent.name, p.car) for p in pictures) == {
        ("145.motorbikes-101", False): 89,
        ("178.school-bus", False): 89,
        ("224.touring-bike", False): 100,
        ("251.airplanes-101", False): 99,
        ("252.car-side-101", True): 105,
    }
    assert notes == ()


@pytest.mark.real_data
def test_every_listed_category_is_one_of_the_257(data: Path) -> None:
    names = (data / "cars" / "caltech256_categories.txt").read_text().split()
    categories = {name[4:].removesuffix("-101") for name in names}
    assert len(names) == 257
    assert categories >= CALTECH_CARS | CALTECH_NEITHER
    assert {name for name in categories if "car" in name.split("-")} <= CALTECH_CARS | CALTECH_NEITHER
