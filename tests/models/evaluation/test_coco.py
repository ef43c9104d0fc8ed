"""OKS, matching and reading of annotations, compared with pycocotools; refusal of other files."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from models.evaluation.coco import CocoError, Labelled, choose, coco_figures, match, oks
from models.evaluation.coco_file import read_coco
from models.types import FramePoses
from tests.coco_files import write_set

RANDOM = np.random.default_rng(5)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_set(tmp_path_factory.mktemp("coco"))


def person(area: float = 900.0) -> Labelled:
    return Labelled(RANDOM.uniform(0, 100, (17, 2)), RANDOM.random(17) < 0.7, area, 50.0)


def test_oks_equals_that_of_pycocotools(written: tuple[Path, Path]) -> None:
    coco = read_coco(*written)
    image = next(image for image in coco.images if len(image.people) > 1)
    found = np.stack([one.keypoints + RANDOM.normal(0, 4, (17, 2)) for one in image.people])
    rows = [
        {
            "image_id": image.image_id,
            "category_id": 1,
            "score": 1.0 - number / 10,
            "keypoints": np.concatenate([xy, np.ones((17, 1))], axis=1).ravel().tolist(),
        }
        for number, xy in enumerate(found)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = COCO()
        theirs.dataset = coco.dataset
        theirs.createIndex()
        evaluation = COCOeval(theirs, theirs.loadRes(rows), "keypoints")
        evaluation.evaluate()
    expected = evaluation.ious[image.image_id, 1][:, : len(image.people)]
    mine = np.stack([oks(found, one) for one in image.people], axis=1)
    np.testing.assert_allclose(mine, expected, atol=1e-6)


def test_a_missing_keypoint_counts_as_0() -> None:
    someone = Labelled(np.zeros((17, 2)), np.arange(17) < 4, 900.0, 50.0)
    found = np.zeros((1, 17, 2))
    found[0, [0, 5]] = np.nan  # one that counts, one that does not
    assert oks(found, someone) == pytest.approx([0.75])


def test_each_person_is_matched_once_with_the_best_total() -> None:
    people = [person(), person()]
    far = people[0].keypoints + 500
    who, similarity = match(np.stack([far, people[1].keypoints, people[0].keypoints]), people)
    assert who.tolist() == [2, 1]
    assert similarity.tolist() == [1.0, 1.0]
    who, similarity = match(people[1].keypoints[None], people)
    assert (who.tolist(), similarity.tolist()) == ([-1, 0], [0.0, 1.0])
    assert match(np.empty((0, 17, 2)), people)[0].tolist() == [-1, -1]


def test_only_images_in_the_folder_count(written: tuple[Path, Path], tmp_path: Path) -> None:
    annotations, images = written
    kept = sorted(images.iterdir())[:5]
    for path in kept:
        (tmp_path / path.name).symlink_to(path)
    coco = read_coco(annotations, tmp_path)
    assert ([image.path.name for image in coco.images], coco.in_file) == ([path.name for path in kept], 12)
    perfect = {
        image.image_id: FramePoses(
            np.ones(len(image.people), np.float32),
            np.array([one.keypoints for one in image.people], np.float32).reshape(-1, 17, 2),
            np.ones((len(image.people), 17), np.float32),
        )
        for image in coco.images
    }
    assert coco_figures(coco.dataset, perfect) == pytest.approx((1, 1, 1, 1))


def test_single_uses_images_with_exactly_one_annotated_person(tmp_path: Path) -> None:
    annotations, images = write_set(tmp_path, 3, (1, 1))
    dataset = json.loads(annotations.read_text())
    first, second, third = dataset["annotations"]
    crowd = {**first, "id": 99, "iscrowd": 1}
    second["keypoints"][2::3] = [0] * 17
    second["num_keypoints"] = 0
    annotations.write_text(json.dumps({**dataset, "annotations": [first, crowd, second, third]}))
    coco = read_coco(annotations, images)
    assert [len(image.people) for image in coco.images] == [1, 0, 1]
    assert [image.image_id for image in choose(coco.images, "single")] == [2]
    assert len(choose(coco.images, "multi")) == 3


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"images": [{"id": 1}], "annotations": []}', "\xff"])
def test_other_files_give_one_clear_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content, encoding="latin-1")
    with pytest.raises(CocoError, match="Name a file like person_keypoints"):
        read_coco(tmp_path / "a.json", tmp_path)


def test_a_folder_without_the_images_is_reported(written: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(CocoError, match=r"none of the 12 images .* such as 000.png\. Name their folder with --images"):
        read_coco(written[0], tmp_path)


def test_a_name_never_leads_outside_the_folder(written: tuple[Path, Path], tmp_path: Path) -> None:
    dataset: dict[str, Any] = json.loads(written[0].read_text())
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "images").mkdir()
    dataset["images"] = [{**dataset["images"][0], "file_name": "../secret.png"}]
    (tmp_path / "a.json").write_text(json.dumps(dataset))
    with pytest.raises(CocoError, match="contains none"):
        read_coco(tmp_path / "a.json", tmp_path / "images")


def test_an_image_of_another_size_is_refused(written: tuple[Path, Path], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "000.png"), np.zeros((10, 20, 3), np.uint8))
    [image] = read_coco(written[0], tmp_path).images
    with pytest.raises(CocoError, match="20x10 pixels, the annotations say 160x160"):
        image.read()
