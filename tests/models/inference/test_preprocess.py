"""Pictures are put into the tensor, and coordinates are mapped back."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.inference.preprocess import MAX_STRETCH, PAD_VALUE, Mode, plan_resize, preprocess

sizes = st.tuples(st.integers(1, 4000), st.integers(1, 4000))
modes = st.sampled_from(["letterbox", "corner", "stretch", "fit", "letterbox-114"])
points = st.lists(st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)), min_size=1, max_size=5).map(np.array)


@given(source=sizes, tensor=sizes, mode=modes, xy=points)
def test_the_inverse_restores_coordinates(
    source: tuple[int, int], tensor: tuple[int, int], mode: Mode, xy: NDArray[np.float64]
) -> None:
    resize = plan_resize(source, tensor, mode)
    np.testing.assert_allclose(resize.to_original(resize.to_tensor(xy)), xy, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(resize.to_tensor(resize.to_original(xy)), xy, rtol=1e-9, atol=1e-6)


@given(source=sizes, tensor=sizes, mode=modes)
def test_picture_corners_map_to_the_inner_corners(source: tuple[int, int], tensor: tuple[int, int], mode: Mode) -> None:
    resize = plan_resize(source, tensor, mode)
    left_top = resize.to_tensor(np.array([-0.5, -0.5]))
    right_bottom = resize.to_tensor(np.array(source) - 0.5)
    offset, inner = (resize.offset_x, resize.offset_y), (resize.inner_width, resize.inner_height)
    np.testing.assert_allclose(left_top + 0.5, offset, atol=1e-9)
    np.testing.assert_allclose(right_bottom + 0.5, np.add(offset, inner), rtol=1e-9)


@given(source=sizes, tensor=sizes)
def test_a_letterbox_fits_is_centred_and_keeps_proportions(source: tuple[int, int], tensor: tuple[int, int]) -> None:
    resize = plan_resize(source, tensor, "letterbox")
    inner, offset = np.array([resize.inner_width, resize.inner_height]), np.array([resize.offset_x, resize.offset_y])
    rest = tensor - offset - inner
    assert (offset >= 0).all()
    assert ((rest - offset >= 0) & (rest - offset <= 1)).all()
    assert (inner == tensor).any()
    exact = np.multiply(source, min(np.divide(tensor, source)))
    assert (abs(inner - np.maximum(exact, 1)) <= 0.5 + 1e-6).all()


@given(source=sizes, tensor=sizes)
def test_a_fit_is_a_centred_letterbox_that_stretches_into_its_bars(
    source: tuple[int, int], tensor: tuple[int, int]
) -> None:
    fit, letterbox = (plan_resize(source, tensor, mode) for mode in ("fit", "letterbox"))
    inner, plain = (np.array([each.inner_width, each.inner_height]) for each in (fit, letterbox))
    rest = tensor - np.array([fit.offset_x, fit.offset_y]) - inner
    assert ((rest - [fit.offset_x, fit.offset_y] >= 0) & (rest - [fit.offset_x, fit.offset_y] <= 1)).all()
    assert (inner >= plain).all()
    assert (inner == tensor).any()
    fills = np.divide(tensor, source)
    assert ((inner == tensor) | (fills > MAX_STRETCH * min(fills))).all()
    assert (inner <= np.maximum(np.ceil(np.multiply(source, MAX_STRETCH * min(fills))), 1)).all()


def test_a_wide_video_has_no_bars_in_a_tensor_of_nearly_its_proportions() -> None:
    for source in ((1920, 1080), (1280, 720), (768, 432), (1768, 994)):
        resize = plan_resize(source, (320, 192), "fit")
        assert (resize.inner_width, resize.inner_height) == (320, 192)
    assert plan_resize((640, 480), (320, 192), "fit").inner_width == 282
    tensor, _ = preprocess(np.full((480, 640, 3), 200, np.uint8), (320, 192), "fit")
    assert (tensor[:, :19] == 0).all(), "black, as MoveNet was trained"
    assert (tensor[:, 19:301] == 200).all()


@pytest.mark.parametrize("mode", ["letterbox", "corner", "stretch"])
@pytest.mark.parametrize("source", [(640, 360), (360, 640), (1768, 994), (100, 120), (224, 224)])
@pytest.mark.parametrize("tensor", [(224, 224), (257, 193)])
@pytest.mark.parametrize("where", [(0.15, 0.2), (0.5, 0.5), (0.85, 0.7)])
def test_a_dot_is_found_where_it_was_drawn(
    mode: Mode, source: tuple[int, int], tensor: tuple[int, int], where: tuple[float, float]
) -> None:
    x, y = (round(share * side) for share, side in zip(where, source, strict=True))
    picture = np.full((source[1], source[0], 3), PAD_VALUE, np.uint8)
    cv2.circle(picture, (x, y), max(source) // 25, (255, 255, 255), -1)
    pixels, resize = preprocess(picture, tensor, mode)
    weights = np.clip(pixels[..., 0].astype(float) - PAD_VALUE, 0, None)
    rows, columns = np.indices(weights.shape)
    centre = np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()
    off_by_tensor_px = abs(resize.to_original(centre) - (x, y)) * resize.scale
    assert (off_by_tensor_px < 0.1).all(), off_by_tensor_px  # it would be half a pixel without pixel centres


def test_nan_and_dtype_are_kept() -> None:
    resize = plan_resize((640, 480), (224, 224), "letterbox")
    keypoints = np.full((2, 17, 2), np.nan, np.float32)
    keypoints[0, 3] = 100, 80
    original = resize.to_original(keypoints)
    assert original.dtype == np.float32
    assert original.shape == (2, 17, 2)
    assert np.isfinite(original[0, 3]).all()
    assert np.isnan(original).sum() == 2 * 17 * 2 - 2
    assert resize.to_original(np.empty((0, 17, 2), np.float32)).shape == (0, 17, 2)


@pytest.mark.parametrize(("mode", "grey"), [("letterbox", PAD_VALUE), ("letterbox-114", 114)])
@pytest.mark.parametrize(("source", "top_rows", "left_columns"), [((640, 320), 56, 0), ((320, 640), 0, 56)])
def test_padding_is_grey_and_overwrites_old_pixels(
    source: tuple[int, int], top_rows: int, left_columns: int, mode: Mode, grey: int
) -> None:
    resize = plan_resize(source, (224, 224), mode)
    tensor = np.full((224, 224, 3), 77, np.uint8)
    resize.place(np.full((resize.inner_height, resize.inner_width, 3), 200, np.uint8), tensor)
    expected = np.full((224, 224, 3), grey, np.uint8)
    expected[top_rows : 224 - top_rows, left_columns : 224 - left_columns] = 200
    np.testing.assert_array_equal(tensor, expected)


def test_the_tensor_is_rgb_for_any_input() -> None:
    red_bgr = np.zeros((50, 50, 3), np.uint8)
    red_bgr[..., 2] = 255
    for picture, color in ((red_bgr, "BGR"), (red_bgr[..., ::-1], "RGB")):
        tensor, _ = preprocess(picture, (20, 10), "stretch", color)
        assert tensor.shape == (10, 20, 3)
        assert (tensor == [255, 0, 0]).all()
        assert tensor.flags.c_contiguous


def test_invalid_pictures_are_refused() -> None:
    for wrong in (np.zeros((5, 5), np.uint8), np.zeros((5, 5, 4), np.uint8), np.zeros((5, 5, 3), np.float32)):
        with pytest.raises(ValueError, match=r"Give \(h, w, 3\) uint8"):
            preprocess(wrong, (224, 224), "stretch")
    with pytest.raises(ValueError, match="Give positive"):
        preprocess(np.zeros((0, 5, 3), np.uint8), (224, 224), "stretch")
    with pytest.raises(ValueError, match="Give 'stretch', 'letterbox', 'letterbox-114', 'corner', 'fit'"):
        plan_resize((5, 5), (5, 5), "crop")  # type: ignore[arg-type]
    resize = plan_resize((640, 480), (224, 224), "letterbox")
    with pytest.raises(ValueError, match=r"resized picture is \(224, 224, 3\), not \(168, 224, 3\)"):
        resize.place(np.zeros((224, 224, 3), np.uint8), np.zeros((224, 224, 3), np.uint8))
    with pytest.raises(ValueError, match=r"tensor is \(3, 224, 224\)"):
        resize.place(np.zeros((168, 224, 3), np.uint8), np.zeros((3, 224, 224), np.uint8))
