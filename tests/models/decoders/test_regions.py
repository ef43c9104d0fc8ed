"""Regions cover a frame, and its label follows from the best of them."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.decoders.classifier import ClassifyParams, classify, classify_regions, score_region
from models.decoders.region_spec import RegionSpec
from models.decoders.regions import MOST_PER_SIDE, RegionScore, best_of, plan_tiles
from models.types import Region

CAR = ClassifyParams(("not_car", "car"), 0.6, RegionSpec())
SPECS = st.builds(
    RegionSpec,
    levels=st.lists(st.floats(0.1, 1), min_size=1, max_size=3).map(tuple),
    overlap=st.floats(0, 0.8),
)


@given(SPECS, st.integers(1, 120), st.floats(1, 30), st.booleans())
@settings(max_examples=50)
def test_tiles_cover_the_frame_and_stay_inside(spec: RegionSpec, shorter: int, ratio: float, upright: bool) -> None:
    longer = int(shorter * ratio)
    size = (shorter, longer) if upright else (longer, shorter)
    covered = np.zeros(size[::-1], bool)
    tiles = plan_tiles(size, RegionSpec(spec.levels[:1], spec.overlap))
    assert tiles[0] == (0, 0, *size)
    for left, top, width, height in tiles[1:]:
        assert left >= 0
        assert top >= 0
        assert left + width <= size[0]
        assert top + height <= size[1]
        covered[top : top + height, left : left + width] = True
    assert covered.all() or len(tiles) == 1  # a square frame is its own largest tile
    assert len(set(tiles)) == len(tiles)
    assert set(tiles) <= set(plan_tiles(size, spec))


def test_the_plan_of_a_wide_frame() -> None:
    tiles = plan_tiles((768, 432), RegionSpec(levels=(0.5, 1.0), overlap=0.5))
    assert tiles[:4] == ((0, 0, 768, 432), (0, 0, 432, 432), (168, 0, 432, 432), (336, 0, 432, 432))
    assert tiles[4] == (0, 0, 216, 216)
    assert len(tiles) == 1 + 3 + 7 * 3


def test_a_very_long_frame_has_few_tiles() -> None:
    assert len(plan_tiles((60_000, 16), RegionSpec(levels=(0.1,), overlap=0.9))) <= MOST_PER_SIDE**2 + 1


def test_the_score_is_the_mean_of_the_best_regions_and_the_best_is_named() -> None:
    regions = [Region(n, 0, 8, 8) for n in range(4)]
    scores = [RegionScore(p, region) for p, region in zip((0.1, 0.7, 0.9, 0.2), regions, strict=True)]
    assert best_of(scores, 2) == (pytest.approx(0.8), regions[2])
    assert best_of(scores, 9) == (pytest.approx(0.475), regions[2])
    assert classify_regions(scores, CAR) == ("car", 0.9, regions[2])
    low = [RegionScore(0.25, region) for region in regions]
    assert classify_regions(low, CAR) == ("not_car", 0.75, regions[0])


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=9))
def test_an_additional_region_never_lowers_the_probability(values: list[float]) -> None:
    scores = [RegionScore(value, Region(n, 0, 1, 1)) for n, value in enumerate(values)]
    assert best_of(scores, 1).probability == max(values) >= best_of(scores[:-1] or scores, 1).probability


@pytest.mark.parametrize("values", [[[0.8]], [[0.2, 0.8]]])
def test_the_second_label_is_read_from_one_value_or_two(values: list[list[float]]) -> None:
    outputs = {"any": np.array(values, np.float32)}
    region = Region(1, 2, 3, 4)
    assert score_region(outputs, CAR, region) == (pytest.approx(0.8), region)
    assert classify(outputs, dataclasses.replace(CAR, regions=None)).label == "car"


def test_parameters_survive_json_and_are_unchanged_without_regions() -> None:
    assert ClassifyParams(**json.loads(json.dumps(CAR.to_dict()))) == CAR
    assert dataclasses.replace(CAR, regions=None).to_dict() == {"labels": ("not_car", "car"), "threshold": 0.6}


@pytest.mark.parametrize(
    "bad",
    [
        {"moving": -1},
        {"gap_s": 0.0},
        {"levels": (0.5,) * 9},
        {"levels": (0.01,)},
        {"levels": (1.5,)},
        {"overlap": 1.0},
        {"best": 0},
        {"levels": (float("nan"),)},
    ],
)
def test_an_invalid_plan_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Give"):
        RegionSpec(**bad)


def test_regions_need_two_labels() -> None:
    with pytest.raises(ValueError, match="Give two labels"):
        ClassifyParams(("a", "b", "c"), regions=RegionSpec())
