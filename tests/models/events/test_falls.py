"""The shipped rule `fall` over rendered people, whose falls are known."""

import pytest

from models.synthetic.video import Actor, Camera, Scene
from models.types import Poses
from tests.models.events.falls import ACTS_S, DURATION_S, FPS, SIZE, actor, events_of, poses_of, scenes

FRAMES = round(DURATION_S * FPS)


def falls(scene: Scene) -> list[float]:
    """Return the times at which falls begin."""
    return [event.from_s for event in events_of(poses_of(scene), "fall", FRAMES)]


@pytest.mark.parametrize("heading_deg", [0, 90, 180])
def test_a_fall_begins_when_the_person_is_down(heading_deg: int) -> None:
    found = falls(Scene(7, (actor("fall", heading_deg, 4.5),), SIZE))
    assert len(found) == 1
    assert ACTS_S < found[0] < ACTS_S + 1.5


def test_somebody_who_is_not_found_any_more_after_a_sudden_drop_has_fallen() -> None:
    scene = Scene(7, (actor("fall", 90, 4.5),), SIZE)
    assert len(events_of(_until(poses_of(scene), ACTS_S + 0.9), "fall", FRAMES)) == 1


def test_somebody_who_leaves_has_not_fallen() -> None:
    towards = Actor("walk", z_m=5.0, speed_m_s=1.3)
    aside = Actor("walk", x_m=-0.5, heading_deg=90, speed_m_s=1.3)
    for leaving in (towards, aside):
        for camera in (Camera(), Camera(height_m=2.4, pitch_deg=18)):
            assert falls(Scene(7, (leaving,), SIZE, camera)) == []


@pytest.mark.parametrize("action", ["bend", "sit", "squat"])
def test_somebody_who_is_hidden_while_bending_or_sitting_has_not_fallen(action: str) -> None:
    """Half a second without the person, who is seen in the same posture afterwards."""
    poses = poses_of(Scene(7, (actor(action, 90, 4.5),), SIZE))
    hidden = (poses.t_s > ACTS_S + 0.8) & (poses.t_s < ACTS_S + 1.3)
    assert events_of(_where(poses, ~hidden), "fall", FRAMES) == []


@pytest.mark.slow
def test_at_least_19_of_20_falls_are_found() -> None:
    """Of people who stand and of people who walk."""
    found = [(name, falls(scene)) for speed_m_s in (0.0, 0.8) for name, scene in scenes("fall", speed_m_s)]
    missed = [name for name, begins in found if not begins]
    assert len(missed) <= 0.05 * len(found), missed
    assert all(ACTS_S < begins[0] < ACTS_S + 1.5 for _, begins in found if begins)


@pytest.mark.slow
@pytest.mark.parametrize("action", ["bend", "sit", "squat"])
def test_bending_sitting_down_and_squatting_are_no_falls(action: str) -> None:
    assert [name for name, scene in scenes(action, distances_m=(5.0,)) if falls(scene)] == []


def _until(poses: Poses, t_s: float) -> Poses:
    return _where(poses, poses.t_s <= t_s)


def _where(poses: Poses, kept: object) -> Poses:
    names = ("frame", "person", "t_s", "scores", "keypoints", "keypoint_scores")
    return Poses(*(getattr(poses, name)[kept] for name in names))
