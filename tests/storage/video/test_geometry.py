"""Display geometry: its inverse, and agreement of coordinates with pixels, for every combination."""

import dataclasses
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.video.geometry import (
    Crop,
    DisplayGeometry,
    check_geometry,
    geometry_of,
    moved,
    orientation,
    usable_aspect,
    usable_crop,
)
from storage.video.pixels import to_rgb
from tests.storage.samples import make_poses, make_video

SIDES = st.integers(8, 400)
ASPECTS = st.sampled_from([1.0, 2.0, 0.5, 4 / 3, 8 / 9, 64 / 45, 16 / 11])
TURNS = st.sampled_from([0, 90, 180, 270])
EDGES = st.integers(0, 3)


@st.composite
def geometries(draw: st.DrawFn) -> DisplayGeometry:
    """Every combination of size, crop, aspect, mirroring, rotation, and a frame of reference of another size."""
    return DisplayGeometry(
        draw(SIDES),
        draw(SIDES),
        draw(st.builds(Crop, EDGES, EDGES, EDGES, EDGES)),
        draw(ASPECTS),
        draw(st.booleans()),
        draw(TURNS),
        draw(st.none() | st.tuples(SIDES, SIDES)),
    )


@given(geometry=geometries(), places=st.lists(st.tuples(st.floats(-50, 500), st.floats(-50, 500)), min_size=1))
def test_the_inverse_restores_coordinates(geometry: DisplayGeometry, places: list[tuple[float, float]]) -> None:
    xy = np.array([*places, (np.nan, np.nan)])
    assert geometry.to_stored(geometry.to_shown(xy)) == pytest.approx(xy, abs=1e-6, nan_ok=True)
    assert geometry.to_shown(geometry.to_stored(xy)) == pytest.approx(xy, abs=1e-6, nan_ok=True)
    assert geometry.to_shown(xy.astype(np.float32)).dtype == np.float32


@given(geometry=geometries())
def test_displayed_pixels_fill_the_box_with_their_proportions(geometry: DisplayGeometry) -> None:
    left, top, right, bottom = geometry.crop
    edges = np.array(
        [
            (left - 0.5, top - 0.5),
            (geometry.stored_width - right - 0.5, geometry.stored_height - bottom - 0.5),
        ]
    )
    shown, box = geometry.to_shown(edges) + 0.5, geometry.box
    assert np.sort(shown, axis=0) == pytest.approx(
        np.array([(box.left, box.top), (box.left + box.width, box.top + box.height)]), abs=1e-6
    )
    own_width, own_height = geometry.own_size
    assert box.width / box.height == pytest.approx(own_width / own_height)
    assert box.left >= -1e-9
    assert box.top >= -1e-9
    assert min(box.left, box.top) == pytest.approx(0, abs=1e-9)


def spot(geometry: DisplayGeometry, at: tuple[int, int]) -> av.VideoFrame:
    """A black frame with a soft white spot around a stored pixel."""
    y, x = np.mgrid[: geometry.stored_height, : geometry.stored_width]
    level = 255 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 32)
    return av.VideoFrame.from_ndarray(np.repeat(level[..., None], 3, axis=2).astype(np.uint8), format="rgb24")


def found_at(rgb: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """x, y of the spot's centre of mass, within the frame's picture."""
    left, top, width, height = box
    level = rgb[top : top + height, left : left + width, 1].astype(float)
    y, x = np.mgrid[:height, :width]
    return np.array([(x * level).sum() / level.sum() + left, (y * level).sum() / level.sum() + top])


@given(geometry=geometries(), planar=st.booleans(), data=st.data())
@settings(max_examples=150)
def test_pixels_are_transformed_like_coordinates(geometry: DisplayGeometry, planar: bool, data: st.DataObject) -> None:
    """The oracle is the picture itself: a spot is found at the result of to_shown."""
    wide = dataclasses.replace(geometry, stored_width=geometry.stored_width + 60, stored_height=180)
    at = data.draw(st.integers(30, wide.stored_width - 31)), data.draw(st.integers(30, wide.stored_height - 31))
    size = wide.size[0] * 2 // 3 + 1, wide.size[1] * 2 // 3 + 1
    frame = spot(wide, at)
    rgb = to_rgb(frame.reformat(format="yuv420p") if planar else frame, size, wide)
    assert rgb.shape == (size[1], size[0], 3)
    left, top, width, height = box = wide.box_in(size)
    place = (wide.to_shown(np.array(at, float)) + 0.5 - wide.box[:2]) / wide.box[2:]
    expected = place * (width, height) + (left, top) - 0.5
    if min(width, height) >= 40:  # the centre of a spot in fewer pixels cannot be measured
        assert found_at(rgb, box) == pytest.approx(expected, abs=0.6)
    outside = np.ones(rgb.shape[:2], bool)
    outside[top : top + height, left : left + width] = False
    assert np.all(rgb[outside] == 127)


MATRICES = {
    (1, 0, 0, 1): (False, 0),
    (0, 1, -1, 0): (False, 90),
    (-1, 0, 0, -1): (False, 180),
    (0, -1, 1, 0): (False, 270),
    (-1, 0, 0, 1): (True, 0),
    (1, 0, 0, -1): (True, 180),
    (0, 1, 1, 0): (True, 270),
    (0, -1, -1, 0): (True, 90),
}


@pytest.mark.parametrize("entries", MATRICES)
def test_a_display_matrix_is_one_of_eight_orientations(entries: tuple[int, int, int, int]) -> None:
    """to_shown maps a step right and a step down like the matrix, even if that is slightly off."""
    a, b, c, d = entries
    matrix = struct.pack("=9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    assert orientation(matrix) == MATRICES[entries]
    geometry = DisplayGeometry(100, 100, Crop(), 1.0, *orientation(matrix))
    steps = geometry.to_shown(np.array([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]))
    assert steps[1] - steps[0] == pytest.approx([a, b])
    assert steps[2] - steps[0] == pytest.approx([c, d])
    tilted = struct.pack("=9i", *(entry * 65536 + 3000 for entry in (a, b, 0, c, d, 0, 0, 0)), 1 << 30)
    assert orientation(tilted) == MATRICES[entries]


@pytest.mark.parametrize("matrix", [None, b"", bytes(36), b"\xff" * 36])
def test_a_missing_or_invalid_matrix_is_no_rotation(matrix: bytes | None) -> None:
    assert orientation(matrix)[1] in (0, 90, 180, 270)
    assert DisplayGeometry(10, 10, Crop(), 1.0, *orientation(matrix)).size == (10, 10)


def test_impossible_values_are_ignored() -> None:
    assert [usable_aspect(aspect) for aspect in (None, Fraction(0, 1), Fraction(1, 10_000), Fraction(10_000))] == [
        1.0
    ] * 4
    assert usable_aspect(Fraction(64, 45)) == pytest.approx(64 / 45)
    assert usable_crop(Crop(80, 0, 80, 0), (480, 240)) == Crop(80, 0, 80, 0)
    assert usable_crop(Crop(240, 0, 240, 0), (480, 240)) == usable_crop(Crop(-1, 0, 0, 0), (480, 240)) == Crop()


def test_rows_are_converted_between_geometries_and_back() -> None:
    poses, plain = make_poses(0, 5), DisplayGeometry(160, 240)
    square = DisplayGeometry(160, 240, pixel_aspect=2.0)
    there = moved(poses, plain, square)
    assert there.keypoints[..., 0] == pytest.approx(poses.keypoints[..., 0] * 2 + 0.5, rel=1e-5, nan_ok=True)
    assert moved(there, square, plain).keypoints == pytest.approx(poses.keypoints, abs=1e-3, nan_ok=True)
    assert moved(poses, plain, plain) is poses


WRONG = [
    {"width": 641},
    {"crop_left": 640},
    {"crop_top": -1},
    {"pixel_aspect": 0.0},
    {"pixel_aspect": float("nan")},
    {"rotation": 45},
    {"stored_width": 1 << 40, "width": 1 << 40},
]


@pytest.mark.parametrize("fault", WRONG)
def test_a_contradictory_geometry_is_refused(fault: dict[str, float]) -> None:
    check_geometry(make_video())
    assert geometry_of(make_video()).size == (640, 480)
    with pytest.raises(ValueError, match="does not give the video's size"):
        check_geometry(dataclasses.replace(make_video(), **fault))
