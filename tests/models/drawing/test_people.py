"""People are drawn at their positions, in the colours of their sides; unusual input does not stop the drawing."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.drawing.people import LEFT, PAPER, RIGHT, contact_sheet, draw_poses, track_color
from models.types import KEYPOINT_NAMES
from tests.models.posenet_scenes import STANDING


def grey(width: int, height: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 128, np.uint8)


def someone(width: int, height: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    keypoints = (STANDING * height * 0.45 + (width / 2, height / 2)).astype(np.float32)[None]
    return keypoints, np.ones((1, 17), np.float32)


def nobody() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return np.empty((0, 17, 2), np.float32), np.empty((0, 17), np.float32)


@pytest.mark.parametrize(("width", "height"), [(160, 120), (640, 480), (480, 640), (1768, 994)])
def test_each_side_is_drawn_in_its_colour_at_its_joints(width: int, height: int) -> None:
    image = grey(width, height)
    keypoints, scores = someone(width, height)
    assert draw_poses(image, keypoints, scores) is image
    for name, color in (("left_wrist", LEFT), ("right_wrist", RIGHT), ("left_ankle", LEFT), ("right_hip", RIGHT)):
        x, y = keypoints[0, KEYPOINT_NAMES.index(name)].round().astype(int)
        np.testing.assert_allclose(image[y, x], color, atol=3, err_msg=name)
    left_thigh = (keypoints[0, 11] + keypoints[0, 13]) / 2
    x, y = left_thigh.round().astype(int)
    assert (
        abs(image[y, x - 8 : x + 9].astype(int) - LEFT).max(axis=1).min() < 40
    )  # a thin line never has exactly its colour
    assert (image[: height // 50] == 128).all()


def test_a_picture_without_people_is_unchanged() -> None:
    image = grey(64, 48)
    draw_poses(image, *nobody())
    draw_poses(image, np.full((2, 17, 2), np.nan, np.float32), np.full((2, 17), np.nan, np.float32))
    assert (image == 128).all()


def test_lines_to_missing_keypoints_are_not_drawn() -> None:
    keypoints, scores = someone(640, 480)
    keypoints[:, :13] = keypoints[:, 14:] = scores[:, :13] = scores[:, 14:] = np.nan
    image = draw_poses(grey(640, 480), keypoints, scores)
    rows, columns = np.nonzero((image != 128).any(axis=2))
    x, y = keypoints[0, 13]
    assert len(rows)
    assert abs(np.stack([columns - x, rows - y])).max() < 10


@pytest.mark.parametrize("far", [-1e9, 1e9, np.inf, 3e4])
def test_coordinates_far_outside_are_ignored(far: float) -> None:
    keypoints, scores = someone(640, 480)
    keypoints[0, 9] = far, 240
    keypoints[0, 10] = 320, -far
    drawn = draw_poses(grey(640, 480), keypoints, scores)
    assert (drawn != grey(640, 480)).any(), "the rest of the person is still drawn"


def test_a_person_with_a_track_has_its_colour_and_its_number() -> None:
    keypoints, scores = someone(640, 480)
    image = draw_poses(grey(640, 480), keypoints, scores, tracks=np.array([7], np.int32))
    for name in ("left_wrist", "right_wrist"):
        x, y = keypoints[0, KEYPOINT_NAMES.index(name)].round().astype(int)
        np.testing.assert_allclose(image[y, x], track_color(7), atol=3, err_msg=name)
    above = image[: int(keypoints[0, :, 1].min()) - 4]
    assert (above == track_color(7)).all(axis=2).sum() > 30, "the number's strip"
    other = draw_poses(grey(640, 480), keypoints, scores, tracks=np.array([8], np.int32))
    untracked = draw_poses(grey(640, 480), keypoints, scores, tracks=np.array([0], np.int32))
    assert (image != other).any()
    assert (untracked == draw_poses(grey(640, 480), keypoints, scores)).all()


def test_successive_tracks_have_different_colours() -> None:
    colors = np.array([track_color(track) for track in range(1, 9)], int)
    apart = abs(colors[:, None] - colors[None]).sum(axis=2)
    assert apart[np.triu_indices(8, 1)].min() > 60


@pytest.mark.parametrize("place", [(-1e6, -1e6), (1e6, 1e6), (0, 0), (3, 2)])
@pytest.mark.parametrize("size", [(8, 8), (640, 480)])
def test_a_number_stays_inside_any_picture(place: tuple[float, float], size: tuple[int, int]) -> None:
    keypoints = np.full((2, 17, 2), np.nan, np.float32)
    keypoints[0] = place
    tracks = np.array([2**31 - 1, 3], np.int32)
    assert draw_poses(grey(*size), keypoints, np.ones((2, 17), np.float32), tracks=tracks).shape == (*size[::-1], 3)


@pytest.mark.parametrize(("width", "height"), [(160, 120), (1768, 994), (100, 1000)])
def test_a_caption_is_at_the_bottom_of_any_size(width: int, height: int) -> None:
    image = draw_poses(grey(width, height), *nobody(), "frame 123456   62:05.9   12 people")
    assert (image[: height // 2] == 128).all()
    assert (image[-2:, :2] < 128).all()
    assert image.max() > 160, "light letters"


def test_a_caption_fits_a_tiny_picture() -> None:
    assert draw_poses(grey(8, 8), *nobody(), "frame 1").shape == (8, 8, 3)


def test_a_contact_sheet_shows_every_picture_completely() -> None:
    colors = [(10, 20, 200), (20, 200, 10), (200, 10, 20), (150, 150, 150), (90, 0, 90)]
    shapes = [(480, 640), (640, 480), (100, 1000), (30, 40), (994, 1768)]
    images = [np.full((*shape, 3), color, np.uint8) for shape, color in zip(shapes, colors, strict=True)]
    sheet = contact_sheet(images, columns=2, width_px=800)
    assert sheet.shape[1:] == (800, 3)
    tile_height = sheet.shape[0] // 3
    for number, (color, shape) in enumerate(zip(colors, shapes, strict=True)):
        row, column = divmod(number, 2)
        tile = sheet[row * tile_height : (row + 1) * tile_height, column * 400 : (column + 1) * 400]
        rows, columns = np.nonzero((tile == color).all(axis=2))
        assert np.ptp(columns) / np.ptp(rows) == pytest.approx(shape[1] / shape[0], rel=0.05)
    assert (sheet[0, 0] == PAPER).all()
    assert contact_sheet(images[:1], columns=4, width_px=400).shape[0] < 400


def test_a_contact_sheet_that_is_too_small_is_refused() -> None:
    for images, columns, width_px in (([], 3, 800), ([grey(4, 4)], 0, 800), ([grey(4, 4)] * 90, 90, 100)):
        with pytest.raises(ValueError, match="do not fit into"):
            contact_sheet(images, columns, width_px)


def test_a_contact_sheet_has_a_name_above_each_picture_only() -> None:
    images = [np.full((90, 120, 3), 120, np.uint8)] * 3
    names = ["Hof/Süd 2026.mp4", "x" * 300 + ".mkv", "\x1b[2J\n.mp4"]
    sheet, plain = contact_sheet(images, 2, 640, names), contact_sheet(images, 2, 640)
    light = (sheet > 200).all(axis=2)
    assert not (plain > 200).all(axis=2).any()
    lines = [(slice(4, 16), slice(4, 320)), (slice(4, 16), slice(324, 636))]
    assert all(light[rows, columns].sum() > 30 for rows, columns in lines)
    assert not light[20:240].any(), "a name covers no picture"
