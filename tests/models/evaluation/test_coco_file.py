"""Annotation files of other tools: the same figure after a repair, or a refusal with a reason."""

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pycocotools.mask
import pytest

from models.conversion.convert import convert
from models.conversion.spec import ConvertSpec
from models.decoders.openpose import OpenPoseParams
from models.evaluation.coco import CocoError, CocoSet, coco_figures
from models.evaluation.coco_file import read_coco
from models.evaluation.protocol import Evaluated, Protocol, evaluate, find_people, plan_evaluation, surest
from models.inference.pipeline import DECODERS
from models.inference.runtime import OpenVinoRuntime
from models.manifest import Manifest
from models.types import KEYPOINT_NAMES, FramePoses
from tests.coco_files import write_set
from tests.conftest import ROOT
from tests.oks import coco_mini

Dataset = dict[str, Any]
Written = tuple[Dataset, Path]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Rendered people in COCO's form: the annotations, and the folder of 12 images."""
    file, images = write_set(tmp_path_factory.mktemp("coco"))
    return json.loads(file.read_text()), images


def read(dataset: Dataset, images: Path, folder: Path) -> CocoSet:
    (folder / "a.json").write_text(json.dumps(dataset))
    return read_coco(folder / "a.json", images)


def figures(coco: CocoSet) -> tuple[float, ...]:
    """Detections that are off by this many pixels in each image, with nobody in the third."""
    noise = np.random.default_rng(6).normal(0, 3, (12, 17, 2))
    found = {}
    for number, image in enumerate(coco.images):
        people = [one.keypoints + noise[number] for one in image.people if number != 2]
        xy = np.array(people, np.float32).reshape(-1, 17, 2)
        scores = xy.sum(axis=(1, 2)) % 97 / 97  # the same for a person in any order
        found[image.image_id] = FramePoses(scores, xy, np.ones((len(xy), 17), np.float32))
    return coco_figures(coco.dataset, found)


def copy(dataset: Dataset) -> Dataset:
    return json.loads(json.dumps(dataset))


def of_category(number: Any) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        dataset["categories"][0]["id"] = number
        for annotation in dataset["annotations"]:
            annotation["category_id"] = number

    return change


def without(*names: str) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        for annotation in dataset["annotations"]:
            for name in names:
                annotation.pop(name, None)

    return change


def numbered(numbers: Callable[[int], int | None]) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        for number, annotation in enumerate(dataset["annotations"]):
            annotation["id"] = numbers(number)

    return change


def with_dogs(dataset: Dataset) -> None:
    dataset["categories"].insert(0, {"id": 7, "name": "dog", "keypoints": ["nose", "tail"]})
    dog = {"category_id": 7, "bbox": [0, 0, 9, 9], "area": 50, "keypoints": [5, 5, 2, 6, 6, 2], "num_keypoints": 2}
    dataset["annotations"] += [{**dog, "id": image["id"], "image_id": image["id"]} for image in dataset["images"]]


def of_strange_images(dataset: Dataset) -> None:
    """Annotations of images that another file lists."""
    dataset["annotations"] += [{**dataset["annotations"][0], "image_id": 99_999}]


def with_image_ids(new: Callable[[int], Any]) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        for image in dataset["images"]:
            image["id"] = new(image["id"])
        for annotation in dataset["annotations"]:
            annotation["image_id"] = new(annotation["image_id"])

    return change


def in_another_order(dataset: Dataset) -> None:
    order = list(range(17))
    random.Random(1).shuffle(order)
    dataset["categories"][0]["keypoints"] = [KEYPOINT_NAMES[place] for place in order]
    for annotation in dataset["annotations"]:
        rows = np.array(annotation["keypoints"]).reshape(17, 3)
        annotation["keypoints"] = rows[order].ravel().tolist()


def unnamed(dataset: Dataset) -> None:
    dataset["categories"][0].pop("keypoints")
    dataset["categories"][0]["name"] = "worker"


def shuffled(dataset: Dataset) -> None:
    random.Random(2).shuffle(dataset["annotations"])


def with_loose_keypoints(dataset: Dataset) -> None:
    """Unlabelled keypoints with a position, as some tools write them."""
    for annotation in dataset["annotations"]:
        for at in range(0, 51, 3):
            if annotation["keypoints"][at + 2] == 0:
                annotation["keypoints"][at : at + 2] = [500, 500]


def in_annotations(**changes: Callable[[Any], Any]) -> Callable[[Dataset], None]:
    """Write some values of the annotations differently from the rest of the file."""

    def change(dataset: Dataset) -> None:
        for annotation in dataset["annotations"]:
            annotation.update({name: write(annotation.get(name)) for name, write in changes.items()})

    return change


def as_texts(dataset: Dataset) -> None:
    for annotation in dataset["annotations"]:
        annotation["keypoints"] = [str(value) for value in annotation["keypoints"]]
        annotation["bbox"] = [str(value) for value in annotation["bbox"]]
        annotation["area"] = str(annotation["area"])


SAME = {
    "image ids as texts in annotations": in_annotations(image_id=str),
    "image ids as texts in images": lambda dataset: (
        [image.update(id=str(image["id"])) for image in dataset["images"]] and None
    ),
    "image ids as decimals in images": lambda dataset: (
        [image.update(id=float(image["id"])) for image in dataset["images"]] and None
    ),
    "image ids with zeros before them": in_annotations(image_id=lambda number: f"{number:012d}"),
    "image ids as decimals": in_annotations(image_id=float),
    "categories as texts in annotations": in_annotations(category_id=str),
    "categories as decimals and texts": lambda dataset: (
        dataset.update(categories=[])
        or ([a.update(category_id=[1, "1", 1.0][n % 3]) for n, a in enumerate(dataset["annotations"])] and None)
    ),
    "iscrowd in words": in_annotations(iscrowd=lambda _: "false"),
    "iscrowd as text": in_annotations(iscrowd=lambda _: "0"),
    "numbers as texts": as_texts,
    "category 3": of_category(3),
    "category 0": of_category(0),
    "category by text": of_category("person-1"),
    "all ids the same": numbered(lambda _: 1),
    "ids from 0": numbered(lambda number: number),
    "no ids": numbered(lambda _: None),
    "no num_keypoints": without("num_keypoints"),
    "wrong num_keypoints": lambda dataset: [a.update(num_keypoints=0) for a in dataset["annotations"]] and None,
    "no iscrowd": without("iscrowd"),
    "no category_id": without("category_id"),
    "no categories": lambda dataset: dataset.update(categories=[]),
    "dogs first": with_dogs,
    "annotations of other images": of_strange_images,
    "image ids from 1000": with_image_ids(lambda number: number + 1000),
    "image ids as texts": with_image_ids(lambda number: f"frame-{number:03d}"),
    "keypoints in another order": in_another_order,
    "a category without keypoint names": unnamed,
    "annotations in another order": shuffled,
    "unlabelled keypoints with a place": with_loose_keypoints,
    "folders that are not there": lambda dataset: (
        [image.update(file_name=f"train/{image['file_name']}") for image in dataset["images"]] and None
    ),
    "backslashes": lambda dataset: (
        [image.update(file_name=f"x\\{image['file_name']}") for image in dataset["images"]] and None
    ),
    "no sizes": lambda dataset: [(image.pop("width"), image.pop("height")) for image in dataset["images"]] and None,
}


@pytest.mark.parametrize("case", SAME)
def test_repaired_files_have_the_same_figures(written: Written, tmp_path: Path, case: str) -> None:
    dataset, images = written
    expected = figures(read(dataset, images, tmp_path))
    assert 0.3 < expected[0] < 1, "a figure that can change"
    changed = copy(dataset)
    SAME[case](changed)
    found = read(changed, images, tmp_path)
    assert figures(found) == expected
    people = [len(image.people) for image in read(dataset, images, tmp_path).images]
    assert [len(image.people) for image in found.images] == people
    assert bool(found.notes) == (case in ("dogs first", "annotations of other images"))


@pytest.mark.parametrize("area", [0, None, -5, float("nan"), "large"])
def test_an_invalid_area_is_computed_from_the_box_and_reported(written: Written, tmp_path: Path, area: Any) -> None:
    dataset = copy(written[0])
    for annotation in dataset["annotations"]:
        annotation["area"] = area
    coco = read(dataset, written[1], tmp_path)
    assert coco.notes == (f"{len(dataset['annotations'])} × area computed from the box",)
    box = dataset["annotations"][0]["bbox"]
    assert coco.dataset["annotations"][0]["area"] == pytest.approx(0.53 * box[2] * box[3])
    assert figures(coco)[0] > 0.3


@pytest.mark.parametrize("kind", ["polygon", "two polygons", "runs", "runs as pycocotools writes them"])
def test_a_missing_area_is_computed_from_the_outline(written: Written, tmp_path: Path, kind: str) -> None:
    """pycocotools' own area of the same mask is the oracle."""
    dataset = copy(written[0])
    mask = np.zeros((240, 320), np.uint8)
    mask[40:100, 30:90] = 1
    mask[120:130, 200:205] = kind != "polygon"
    packed = pycocotools.mask.encode(np.asfortranarray(mask))
    polygons = [[30, 40, 90, 40, 90, 100, 30, 100], [200, 120, 205, 120, 205, 130, 200, 130]]
    runs = np.diff(np.flatnonzero(np.diff(mask.ravel("F"), prepend=0, append=0)), prepend=0).tolist()
    outlines = {
        "polygon": polygons[:1],
        "two polygons": polygons,
        "runs": {"size": [240, 320], "counts": runs},
        "runs as pycocotools writes them": {"size": [240, 320], "counts": packed["counts"].decode()},
    }
    in_annotations(area=lambda _: None, segmentation=lambda _: outlines[kind])(dataset)
    coco = read(dataset, written[1], tmp_path)
    assert coco.notes == (f"{len(dataset['annotations'])} × area computed from the outline",)
    assert coco.dataset["annotations"][0]["area"] == float(pycocotools.mask.area(packed))


@pytest.mark.parametrize("outline", [[], {}, {"counts": "\x00"}, [["x"]], [[1, 2, 3]], 7, {"counts": [1, None]}, [[]]])
def test_an_invalid_outline_is_replaced_by_the_box(written: Written, tmp_path: Path, outline: Any) -> None:
    dataset = copy(written[0])
    in_annotations(area=lambda _: 0, segmentation=lambda _: outline)(dataset)
    assert "area computed from the box" in read(dataset, written[1], tmp_path).notes[0]


def test_a_crowd_does_not_count_as_a_person(written: Written, tmp_path: Path) -> None:
    dataset = copy(written[0])
    dataset["annotations"][0]["iscrowd"] = "1"
    before, after = (sum(len(i.people) for i in read(d, written[1], tmp_path).images) for d in (written[0], dataset))
    assert after == before - 1


def test_a_missing_box_is_computed_from_the_keypoints(written: Written, tmp_path: Path) -> None:
    dataset = copy(written[0])
    without("bbox", "area")(dataset)
    person = read(dataset, written[1], tmp_path).dataset["annotations"][0]
    rows = np.array(person["keypoints"]).reshape(17, 3)
    labelled = rows[rows[:, 2] > 0]
    assert person["bbox"] == pytest.approx([*labelled[:, :2].min(0), *np.ptp(labelled[:, :2], axis=0)])


def two_categories(dataset: Dataset) -> None:
    dataset["categories"] = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]


def fourteen_keypoints(dataset: Dataset) -> None:
    for annotation in dataset["annotations"]:
        annotation["keypoints"] = annotation["keypoints"][:42]


def as_shares(dataset: Dataset) -> None:
    for annotation in dataset["annotations"]:
        rows = np.array(annotation["keypoints"], float).reshape(17, 3)
        rows[:, :2] /= 2000
        annotation["keypoints"] = rows.ravel().tolist()


REFUSED = {
    "shares of the picture": (as_shares, "All keypoints lie between 0 and 1"),
    "no person among several": (two_categories, "The categories are cat, dog, and none is called person"),
    "unnamed categories": (
        lambda dataset: (dataset.update(categories=[]), dataset["annotations"][0].update(category_id=2)),
        "of 2 categories and the file names none",
    ),
    "14 keypoints": (fourteen_keypoints, "Annotation 1 has 42 values as keypoints, not 51"),
    "keypoints of another body": (
        lambda dataset: dataset["categories"][0].update(keypoints=["head_top", "thorax"]),
        "has the 2 keypoints head_top, thorax",
    ),
    "keypoints in words": (
        lambda dataset: dataset["annotations"][0].update(keypoints="none"),
        "has 'none' as keypoints",
    ),
    "image ids that repeat": (with_image_ids(lambda number: number // 2), "6 image ids are used more than once"),
    "an image twice": (
        lambda dataset: dataset["images"].append({**dataset["images"][0], "id": 77}),
        r"Several images of the file are 000\.png",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_ambiguous_files_are_refused(written: Written, tmp_path: Path, case: str) -> None:
    change, words = REFUSED[case]
    dataset = copy(written[0])
    change(dataset)
    with pytest.raises(CocoError, match=words):
        read(dataset, written[1], tmp_path)


def test_equal_names_in_two_folders_are_distinguished(written: Written, tmp_path: Path) -> None:
    """By path if the folders exist; refused if there is only one file of that name."""
    dataset = copy(written[0])
    for number, image in enumerate(dataset["images"]):
        image["file_name"] = f"cam{number % 2}/{number // 2:03d}.png"
        target = tmp_path / "deep" / image["file_name"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((written[1] / f"{number:03d}.png").read_bytes())
    coco = read(dataset, tmp_path / "deep", tmp_path)
    assert figures(coco) == figures(read(written[0], written[1], tmp_path))
    with pytest.raises(CocoError, match=r"Several images are called 000\.png .*Keep the images in the folders"):
        read(dataset, written[1], tmp_path)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[OpenVinoRuntime, Manifest]:
    folder = tmp_path_factory.mktemp("demo") / "ir"
    manifest = convert(ROOT / "models/data/posenet-demo/model.json", ConvertSpec("posenet-demo"), folder)
    return OpenVinoRuntime(folder, manifest), manifest


def measured(
    coco: CocoSet, demo: tuple[OpenVinoRuntime, Manifest], mode: Any = "multi", limit: int | None = None
) -> Any:
    runtime, manifest = demo
    plan = plan_evaluation(coco, manifest, runtime, mode, limit)
    return plan.protocol, evaluate(plan, runtime)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda content: content[: len(content) // 2],
    "the rest is zeros": lambda content: content[:2000] + bytes(len(content) - 2000),
    "empty": lambda content: b"",
    "a web page": lambda content: b"<html>sign in</html>",
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_picture_is_skipped_and_counted(
    written: Written, tmp_path: Path, case: str, demo: tuple[OpenVinoRuntime, Manifest]
) -> None:
    dataset = copy(written[0])
    for image in dataset["images"]:
        pixels = cv2.imread(str(written[1] / image["file_name"]))
        image["file_name"] = image["file_name"].replace("png", "jpg")
        cv2.imwrite(str(tmp_path / image["file_name"]), pixels)
    whole, _ = measured(read(dataset, tmp_path, tmp_path), demo)
    (tmp_path / "003.jpg").write_bytes(DAMAGE[case]((tmp_path / "003.jpg").read_bytes()))
    coco = read(dataset, tmp_path, tmp_path)
    protocol, found = measured(coco, demo)
    assert (whole.images, whole.notes, protocol.images) == (12, "", 11)
    assert "1 × image left out (" in protocol.notes
    assert "003.jpg" in protocol.notes
    rest = copy(dataset)
    rest["images"] = [image for image in rest["images"] if image["file_name"] != "003.jpg"]
    assert found.figures == measured(read(rest, tmp_path, tmp_path), demo)[1].figures
    first, _ = measured(coco, demo, limit=5)
    assert first.images == 5, "skipped images do not count towards the limit"


def test_stored_protocols_without_the_later_fields_keep_their_hash(written: Written, tmp_path: Path, demo: Any) -> None:
    protocol, _ = measured(read(written[0], written[1], tmp_path), demo)
    earlier = {name: value for name, value in dataclasses.asdict(protocol).items() if name not in ("notes", "outside")}
    assert Protocol(**earlier).to_json() == json.dumps(earlier, sort_keys=True)
    assert json.loads(protocol.to_json()) == {**json.loads(json.dumps(earlier)), "outside": "edge"}


def test_evaluated_people_stay_inside_their_image(
    written: Written, tmp_path: Path, demo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = np.full((1, 17, 2), (-900, 900), np.float32)
    someone = FramePoses(np.ones(1, np.float32), far, np.ones((1, 17), np.float32))
    monkeypatch.setitem(DECODERS, "posenet", lambda params: lambda outputs: [someone] * len(outputs))
    runtime, manifest = demo
    plan = plan_evaluation(read(*written, tmp_path), manifest, runtime, "multi", 2)
    for image, found in zip(plan.images, find_people(plan, runtime), strict=True):
        height = image.read().shape[0]
        assert np.all(found.keypoints == (0, height - 1))


def test_single_takes_openposes_person_with_the_highest_score(
    written: Written, tmp_path: Path, demo: tuple[OpenVinoRuntime, Manifest]
) -> None:
    runtime, manifest = demo
    openpose = dataclasses.replace(manifest, decoder="openpose", decode_params=dataclasses.asdict(OpenPoseParams()))
    protocol = plan_evaluation(read(*written, tmp_path), openpose, runtime, "single", None).protocol
    assert (protocol.mode, protocol.resize) == ("single", "stretch")
    assert protocol.decode_params["pose_score_threshold"] == 0
    poses = FramePoses(np.array([0.9, 0.4], np.float32), np.zeros((2, 17, 2), np.float32), np.ones((2, 17), np.float32))
    assert [len(values) for values in surest(poses)] == [1, 1, 1]
    assert surest(poses).scores[0] == np.float32(0.9)


@pytest.mark.real_data
def test_single_mode_evaluates_the_published_openpose(data: Path, tmp_path: Path) -> None:
    source = data / "openpose/human-pose-estimation-0001-FP16-INT8"
    manifest = convert(source, ConvertSpec("openpose"), tmp_path / "ir")
    found = measured(coco_mini(data), (OpenVinoRuntime(tmp_path / "ir", manifest), manifest), "single")
    assert (found[0].images, found[0].people) == (6, 6)
    assert found[1].figures.mean_oks == pytest.approx(0.866, abs=0.01)


# The cases of ../shared/cases/coco


@pytest.mark.cases
@pytest.mark.parametrize(
    "name", ["base", "category_3", "ids_same", "dogs_too", "no_num_keypoints", "two_folders", "one_broken", "area_0"]
)
def test_the_cases(cases: Path, tmp_path: Path, name: str, demo: tuple[OpenVinoRuntime, Manifest]) -> None:
    folder = cases / "coco"
    images = folder / "images"
    if name == "one_broken":
        images = tmp_path
        for path in (folder / "images").iterdir():
            (tmp_path / path.name).symlink_to(folder / "broken" / path.name if path.name == "000003.jpg" else path)
    if name == "two_folders":
        images = tmp_path
        for number in range(24):
            target = tmp_path / f"cam{1 + number // 12}" / f"{number % 12:06d}.jpg"
            target.parent.mkdir(exist_ok=True)
            target.symlink_to(folder / "images" / f"{number:06d}.jpg")
        with pytest.raises(CocoError, match=r"Several images are called 000000\.jpg"):
            read_coco(folder / "two_folders.json", folder / "flat")
    protocol, found = measured(read_coco(folder / f"{name}.json", images), demo)
    expected = {"area_0": (0.461, 24, "area computed from the box"), "one_broken": (0.428, 23, "image left out")}
    ap, count, note = expected.get(name, (0.421, 24, ""))
    assert found.figures.ap == pytest.approx(ap, abs=0.001)
    assert protocol.images == count
    assert note in protocol.notes
    assert isinstance(found, Evaluated)
