"""A model is evaluated on annotated images; figures have their protocol and are measured once."""

import json
import re
from pathlib import Path
from typing import Any

import cv2
import pytest
from click.testing import CliRunner

from deployments.cli import main
from flows.convert_model import convert_model
from flows.evaluate_model import evaluate_model
from models.evaluation.protocol import Protocol
from models.types import NightjarError
from storage.sql.database import open_database
from storage.sql.query import query
from tasks.model import evaluate as evaluation
from tasks.site.settings import read_settings
from tests.flows.conftest import has_spot, register_tiny_model, spot, spot_picture
from tests.tiny_model import CELL

pytestmark = pytest.mark.usefixtures("prefect_server", "home")
FRAMES = 20


def ask(sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in query(open_database(read_settings().database), sql)[1]]


@pytest.fixture
def spots(tmp_path: Path, tiny_model: Path) -> tuple[str, str]:
    """The tiny model, and 20 images of its spots: a person, all of whose keypoints are in the bright cell's middle."""
    register_tiny_model(tiny_model)
    (tmp_path / "images").mkdir()
    annotations = []
    for number in range(FRAMES):
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), spot_picture(number))
        x, y = ((place + 0.5) * CELL for place in spot(number))
        person = {"bbox": [x - 50, y - 50, 100, 100], "area": 5000, "num_keypoints": 17, "keypoints": [x, y, 2] * 17}
        if has_spot(number):
            annotations.append({"id": number + 1, "image_id": number, "category_id": 1, "iscrowd": 0, **person})
    side = spot_picture(0).shape[0]
    images = [{"id": n, "file_name": f"{n}.png", "width": side, "height": side} for n in range(FRAMES)]
    categories = [{"id": 1, "name": "person"}]
    file = tmp_path / "spots.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return str(file), str(tmp_path / "images")


@pytest.mark.parametrize(("mode", "images"), [("multi", 20), ("single", 18)])
def test_exactly_found_people_have_perfect_figures(spots: tuple[str, str], mode: Any, images: int) -> None:
    measured = evaluate_model("tiny", *spots, mode)
    assert measured.figures.ap == pytest.approx(1)
    assert measured.figures.mean_oks > 0.99
    assert measured.figures.pck == 1
    [(protocol, *row)] = ask(
        "SELECT protocol, e.mode, images, people, ap > 0.99, inferences_per_s > 0, m.name"
        " FROM evaluations AS e JOIN model_versions AS m USING (model_version_id)"
    )
    assert row == [mode, images, 18, 1, 1, "tiny"]
    assert Protocol(**json.loads(protocol)) == measured.protocol
    assert measured.protocol.device.startswith("CPU (")
    assert measured.protocol.decode_params["origin_px"] == CELL // 4
    assert cv2.imread(measured.url) is not None


def test_an_evaluation_is_not_repeated_and_missed_people_count(
    spots: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluate_model("tiny", *spots)
    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "measure", lambda *_: pytest.fail("it was measured again"))
        assert evaluate_model("tiny", *spots) == first
    dataset = json.loads(Path(spots[0]).read_text())
    for person in dataset["annotations"][:9]:
        person["keypoints"] = [1000, 1000, 2] * 17
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text(json.dumps(dataset))
    second = evaluate_model("tiny", str(elsewhere), spots[1])
    assert second.figures.pck == 0.5
    assert second.figures.mean_oks == pytest.approx(0.5, abs=0.01)
    assert ask("SELECT count(*) FROM evaluations") == [(2,)]


def test_the_command_prints_figures_with_their_protocol(spots: tuple[str, str]) -> None:
    arguments = ["evaluate", "tiny", "--coco", spots[0], "--images", spots[1], "--limit", "7"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    for words in (
        "AP",
        "1.0000",
        "the first 7 by id, all of the 20",
        "224x224 pixels, stretch",
        "nms_radius_px 40",
        "f32",
    ):
        assert words in result.output
    [address] = re.findall(r"best and the worst images: (\S+)", result.output)
    assert cv2.imread(address) is not None


def test_wrong_parameters_give_one_clear_error(spots: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(NightjarError, match="Model 'other' does not exist"):
        evaluate_model("other", *spots)
    with pytest.raises(NightjarError, match="Give --images a path that exists"):
        evaluate_model("tiny", spots[0], str(tmp_path / "none"))
    for path in Path(spots[1]).iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(
        NightjarError, match=r"The 0 images for multi have no person to count.*0\.png is not a complete picture"
    ):
        evaluate_model("tiny", *spots)
    assert ask("SELECT count(*) FROM evaluations") == [(0,)]


def test_a_damaged_image_is_skipped_and_reported(spots: tuple[str, str]) -> None:
    Path(spots[1], "3.png").write_bytes(b"no picture")
    measured = evaluate_model("tiny", *spots)
    assert (measured.protocol.images, measured.figures.pck) == (19, 1)
    assert "3.png is not a complete picture" in measured.lines()["left out, repaired"]


@pytest.mark.slow
@pytest.mark.real_data
def test_the_reference_figures_are_reached(data: Path) -> None:
    """Figure of an independent implementation: mean OKS 0.6815 at 257 by the single-person protocol."""
    convert_model("posenet-050", str(data / "posenet/tfjs_graph_uint16_050/model-stride16.json"), size=257)
    coco = (str(data / "coco_mini/annotations/person_keypoints_train2017.json"), str(data / "coco_mini/train2017"))
    single = evaluate_model("posenet-050", *coco, "single")
    assert (single.protocol.images, single.protocol.people) == (6, 6)
    assert single.figures.mean_oks == pytest.approx(0.6815, abs=0.005)
    multi = evaluate_model("posenet-050", *coco)
    assert (multi.protocol.images, multi.protocol.people) == (80, 86)
    assert multi.figures.mean_oks == pytest.approx(0.293, abs=0.01)
    assert multi.figures.ap == pytest.approx(0.089, abs=0.01)
