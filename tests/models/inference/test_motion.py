"""Only regions in which two frames differ are found."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.decoders.region_spec import RegionSpec
from models.inference.motion import frames_before, moving_regions, shrink, smallest_side
from models.inference.preprocess import cut_region, plan_cuts
from models.types import Region

SIZE = (640, 360)


def street(*boxes: tuple[int, int, int, int], light: int = 0, noise: int = 0) -> np.ndarray:
    """A grey frame with a gradient and darker boxes (left, top, width, height), at some brightness."""
    picture = np.tile(np.linspace(90, 160, SIZE[0]), (SIZE[1], 1))
    for left, top, width, height in boxes:
        picture[top : top + height, left : left + width] = 20
    picture = picture + light + np.random.default_rng(1).normal(0, noise, picture.shape)
    return np.repeat(np.clip(picture, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def found(before: np.ndarray, now: np.ndarray, most: int = 3) -> list[Region]:
    return moving_regions(shrink(before), shrink(now), SIZE, most)


def test_a_box_that_moved_is_inside_its_region() -> None:
    (region,) = found(street((100, 100, 80, 60)), street((130, 110, 80, 60)))
    assert region.left <= 100
    assert region.top <= 100
    assert region.left + region.width >= 210
    assert region.top + region.height >= 170
    assert region.width == region.height < 150


def test_two_objects_are_two_regions_the_larger_first() -> None:
    now = street((40, 40, 60, 40), (400, 150, 160, 120))
    larger, smaller = found(street(), now)
    assert larger.left > 300 > 200 > smaller.left
    assert found(street(), now, most=1) == [larger]


@pytest.mark.parametrize("change", [{"light": 40}, {"light": -15}, {"noise": 8}])
def test_changes_of_light_and_noise_are_not_movement(change: dict[str, int]) -> None:
    assert found(street((100, 100, 80, 60)), street((100, 100, 80, 60), **change)) == []


@given(
    st.tuples(st.integers(0, 639), st.integers(0, 359), st.integers(1, 640), st.integers(1, 360)),
    st.sampled_from([(640, 360), (360, 640), (17, 9), (4000, 100), (1, 1)]),
)
@settings(max_examples=40)
def test_every_region_is_a_square_inside_the_frame(box: tuple[int, int, int, int], size: tuple[int, int]) -> None:
    width, height = size
    before = np.full((height, width, 3), 200, np.uint8)
    now = before.copy()
    left, top = box[0] % width, box[1] % height
    now[top : top + box[3], left : left + box[2]] = 10
    for region in moving_regions(shrink(before), shrink(now), size, 5):
        assert region.width == region.height >= smallest_side(size)
        assert min(region) >= 0
        assert region.left + region.width <= width
        assert region.top + region.height <= height


def test_the_earlier_frame_is_found_by_time() -> None:
    times = np.array([0.0, 0.1, 0.2, 0.3, 1.0, 1.1])
    assert frames_before(times, np.arange(6), 0.25).tolist() == [0, 0, 0, 0, 3, 3]
    assert frames_before(times, np.array([3, 5]), 0.1).tolist() == [2, 4]


def test_a_frame_is_read_as_small_as_its_regions_allow() -> None:
    assert plan_cuts((3840, 2160), RegionSpec(moving=0, levels=(0.5,)), (224, 224)).read_size == (796, 448)
    assert plan_cuts((3840, 2160), RegionSpec(moving=0), (224, 224)).read_size == (398, 224)
    assert plan_cuts((320, 240), RegionSpec(), (224, 224)).read_size == (320, 240)


@pytest.mark.parametrize("reduced", [1, 2])
def test_a_region_is_cropped_at_its_position(reduced: int) -> None:
    picture = np.zeros((120, 160, 3), np.uint8)
    picture[40:80, 60:100] = 255
    tensor = np.zeros((16, 16, 3), np.uint8)
    small = picture[::reduced, ::reduced]
    cut_region(small, Region(60, 40, 40, 40), (160, 120), tensor)
    assert (tensor == 255).all()
    cut_region(small, Region(0, 0, 40, 40), (160, 120), tensor)
    assert not tensor.any()
