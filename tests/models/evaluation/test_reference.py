"""The figures of the published models: one file, with the recommended ones, as `nightjar evaluate` measures them."""

from pathlib import Path

import pytest

from models.conversion.spec import POSENET_SIZE
from models.evaluation.coco_file import read_coco
from models.evaluation.reference import RECOMMENDED, Purpose, advice, read_reference
from models.inference.sizes import parse_size
from storage.objects.downloads import PUBLISHED
from tests.benchmarks import compare_models

MODELS = {(model.model, model.size): model for model in read_reference().models}


def test_each_model_and_size_has_one_row_of_plausible_figures() -> None:
    assert len(MODELS) == len(read_reference().models) > 10
    for (name, size), model in MODELS.items():
        assert name in PUBLISHED
        assert str(parse_size(size)) == size
        assert 0 < model.ap < model.mean_oks < 1
        assert model.frames_per_s > 1
        assert model.cpu_ms > 0.1
    assert set(MODELS) == set(compare_models.MEASURED)


@pytest.mark.parametrize("purpose", ["PC", "stick"])
def test_no_model_is_better_and_cheaper_than_the_recommended_one(purpose: Purpose) -> None:
    """MoveNet does not run on a stick, OpenPose at 2 frames/s in the seed article."""
    taken = MODELS[RECOMMENDED[purpose]]
    for model in MODELS.values():
        possible = purpose == "PC" or model.model.startswith("posenet-")
        assert not (possible and model.ap > taken.ap and model.cpu_ms < taken.cpu_ms), model


def test_each_purpose_is_in_the_table_and_in_the_advice() -> None:
    purposes = {model.purpose for model in MODELS.values()} - {""}
    assert purposes == set(RECOMMENDED)
    for sentence, (name, size) in zip(advice(), RECOMMENDED.values(), strict=True):
        assert f"nightjar convert {name} --size {size}" in sentence


@pytest.mark.parametrize("name", ["posenet-050", "posenet-075"])
def test_posenets_default_size_finds_far_more_than_the_articles(name: str) -> None:
    default, article = MODELS[name, str(POSENET_SIZE)], MODELS[name, "224"]
    assert default.ap > 2 * article.ap
    assert default.mean_oks > 1.3 * article.mean_oks


@pytest.mark.slow
@pytest.mark.real_data
def test_the_figures_are_measured_again(data: Path, tmp_path: Path) -> None:
    """One model, measured by the program that wrote them. The tests of MoveNet compare its figures."""
    model = MODELS["posenet-050", "224"]
    coco = read_coco(next((data / "coco_mini/annotations").glob("*.json")), data / "coco_mini/train2017")
    subject = compare_models.opened(model.model, model.size, tmp_path, data)
    accuracy, several, _ = compare_models.measure_accuracy(coco, subject)
    assert accuracy == pytest.approx((model.ap, model.mean_oks, model.single_mean_oks), abs=0.002)
    reference = read_reference()
    assert (several.truth_sha256, several.images_sha256) == (reference.truth_sha256, reference.images_sha256)
