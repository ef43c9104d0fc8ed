"""Heads are hidden where people were found: rendered people, whose heads are known, are the oracle."""

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from models.drawing.faces import head_of, hide_faces
from models.synthetic.body import POINT
from models.synthetic.frame import SceneParams, _draw_frame, truth_of
from tests.models.posenet_scenes import STANDING

PIXELS = 256
HEAD_M = 0.11  # half the height of a rendered head


def rendered_faces() -> list[tuple[NDArray[np.float32], NDArray[np.float64], float]]:
    """Keypoints, centre and radius of the heads of people of whom a keypoint of the face is visible."""
    found = []
    for seed in range(24):
        canvas, people = _draw_frame(np.random.default_rng(seed), PIXELS, SceneParams())
        visible = truth_of(cv2.extractChannel(canvas, 3), people).visibility == 2
        for person, seen in zip(people, visible, strict=True):
            keypoints = person.body.xy[:17].astype(np.float32)
            keypoints[~seen] = np.nan
            head = POINT["head"]
            if seen[:5].any():
                found.append((keypoints, person.body.xy[head], HEAD_M * person.body.scale[head]))
    return found


def covered(centre: NDArray[np.float64], radius: float, of: NDArray[np.float64], of_radius: float) -> float:
    """Share of the second disc that is inside of the first."""
    steps = np.linspace(-1, 1, 41)
    places = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    disc = of + of_radius * places[np.linalg.norm(places, axis=1) <= 1]
    return float((np.linalg.norm(disc - centre, axis=1) <= radius).mean())


def test_the_circle_covers_rendered_heads_and_little_more() -> None:
    shares, sizes = [], []
    for keypoints, place, size in rendered_faces():
        estimate = head_of(keypoints)
        assert estimate is not None
        shares.append(covered(*estimate, place, size))
        sizes.append(estimate[1] / size)
    assert len(shares) > 30
    assert np.percentile(shares, 5) > 0.8
    assert np.median(shares) == 1
    assert max(sizes) < 3


def noise(width: int = 200, height: int = 160) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


def test_inside_no_detail_is_left_and_outside_nothing_changes() -> None:
    person = (STANDING * 70 + (100, 80)).astype(np.float32)
    before = noise()
    after = hide_faces(before.copy(), person[None])
    head = head_of(person)
    assert head is not None
    (x, y), radius = head
    rows, columns = np.mgrid[:160, :200]
    distance = np.hypot(columns - x, rows - y)
    inside, outside = distance < radius - 2, distance > radius + 1
    assert inside.sum() > 100
    assert (after[outside] == before[outside]).all()
    details = [cv2.Laplacian(image, cv2.CV_64F)[inside].std() for image in (before, after)]
    assert details[1] < 0.02 * details[0]


def test_a_person_without_a_face_is_hidden_above_the_shoulders() -> None:
    person = (STANDING * 70 + (100, 80)).astype(np.float32)
    known = head_of(person)
    person[:5] = np.nan
    found = head_of(person)
    assert known is not None
    assert found is not None
    assert np.linalg.norm(found[0] - known[0]) < known[1]


def test_nobody_is_hidden_without_keypoints() -> None:
    before = noise()
    assert (hide_faces(before.copy(), np.full((1, 17, 2), np.nan, np.float32)) == before).all()
    legs = np.full((17, 2), np.nan, np.float32)
    legs[13:] = 50
    assert head_of(legs) is None


@given(
    people=arrays(np.float32, (2, 17, 2), elements=st.floats(width=32)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_no_keypoints_stop_the_drawing(people: NDArray[np.float32], size: tuple[int, int]) -> None:
    picture = noise(*size)
    hidden = hide_faces(picture.copy(), people)
    assert (hidden.shape, hidden.dtype) == (picture.shape, picture.dtype)
    if all(head_of(person) is None for person in people):
        assert np.array_equal(hidden, picture)
