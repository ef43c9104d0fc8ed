"""Zones in rendered scenes: entries and crossings are exact, and times within a frame of the true path's."""

from functools import cache
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.events.feet import ANKLES, Feet, feet_of
from models.events.zones import Zone, ZoneWatcher
from models.synthetic.draw import SUPERSAMPLING
from models.synthetic.video import Actor, Camera, Scene
from models.types import FramePoses, ZoneRows
from tests.models.events.paths import together
from tests.models.tracking.scenes import true_people

SIZE = (640, 480)
FPS = 12.5
DURATION_S = 6.0
FINE_S = 0.002  # between true places, of which every twentieth is computed and the others are interpolated
# On the floor in the middle of the picture, where both feet are in view, and a line across it from front to back.
RUG = Zone("polygon", ((0.3, 0.55), (0.7, 0.55), (0.75, 0.86), (0.25, 0.86)))
SILL = Zone("line", ((0.5, 0.99), (0.5, 0.4)))  # upwards in the picture: its right is the picture's right


def walk(x_m: float, z_m: float, heading_deg: float, speed_m_s: float = 1.1, **more: float) -> Actor:
    return Actor("walk", x_m=x_m, z_m=z_m, heading_deg=heading_deg, speed_m_s=speed_m_s, **more)  # type: ignore[arg-type]


SCENES = {
    "one to the right": (walk(-2.4, 4.2, 90),),
    "one to the left, and one who stands on the rug": (walk(2.6, 5.0, -90), Actor("stand", x_m=0.5, z_m=4.2)),
    "two who meet": (walk(-2.4, 4.2, 88), walk(2.4, 4.9, -90, 1.3)),
    "one turns back on the rug": (walk(-2.2, 4.4, 90, 1.0, turns_s=2.6),),
    "one comes nearer": (walk(0.1, 8.0, 0, 0.9),),
    "one goes away, one runs": (walk(0.3, 3.2, 175, 0.9), walk(-3.4, 5.0, 90, 3.0)),
    "one sits beside the rug": (Actor("sit", x_m=1.7, z_m=4.4), walk(2.2, 4.4, -90, 0.8)),
}


class Stay(NamedTuple):
    """A true visit. whole: it begins and ends in the scene"""

    track: int
    entered_s: float
    left_s: float
    begins: bool
    ends: bool


def scene_of(actors: tuple[Actor, ...]) -> Scene:
    return Scene(41, actors, SIZE, Camera(height_m=2.6, pitch_deg=18))


def found_rows(scene: Scene, noise_px: float = 0.0) -> tuple[ZoneRows, Feet]:
    """Watch the zones over the true keypoints of each frame."""
    rng, parts = np.random.default_rng(5), []
    for number, (people, poses) in enumerate(true_frames(scene)):
        n = len(people)
        keypoints = poses.keypoints + rng.normal(0, noise_px, poses.keypoints.shape) if noise_px else poses.keypoints
        times = np.full(n, number, np.int64), np.full(n, number / FPS)
        parts.append(feet_of(people.astype(np.int32), *times, keypoints, poses.keypoint_scores))
    rows = together(*parts)
    watcher = ZoneWatcher((RUG, SILL), SIZE)
    first, rest = watcher.push(rows), watcher.finish()
    return ZoneRows(sorted(first.visits + rest.visits), sorted(first.crossings + rest.crossings)), rows


@cache
def true_frames(scene: Scene) -> list[tuple[NDArray, FramePoses]]:
    return [true_people(scene, number / FPS) for number in range(round(DURATION_S * FPS))]


def true_path(scene: Scene, track: int, first_s: float, last_s: float) -> tuple[NDArray, NDArray]:
    """Return the times and places of a person's feet between two sightings, FINE_S apart."""
    known, path = true_places(scene)
    times = np.arange(first_s, last_s, FINE_S)
    return times, np.stack([np.interp(times, known, path[track][:, axis]) for axis in (0, 1)], axis=1)


@cache
def true_places(scene: Scene) -> tuple[NDArray, dict[int, NDArray]]:
    """Return 25 times per second, and the places of the feet of each person at these times."""
    times = np.arange(0, DURATION_S, 20 * FINE_S)
    present = [scene.present(float(t_s)) for t_s in times]
    feet = {
        person.number: np.array(
            [one.body.xy[ANKLES].mean(axis=0) for here in present for one in here if one.number == person.number]
        )
        for person in present[0]
    }
    return times, {number: places / SUPERSAMPLING for number, places in feet.items()}


def true_stays(track: int, times: NDArray, places: NDArray) -> list[Stay]:
    corners = (np.array(RUG.points) * SIZE).astype(np.float32)
    inside = np.array([cv2.pointPolygonTest(corners, place.tolist(), False) > 0 for place in places])
    edges = [0, *(np.flatnonzero(np.diff(inside)) + 1), len(times)]
    return [
        Stay(track, times[start], times[min(stop, len(times) - 1)], start > 0, stop < len(times))
        for start, stop in pairwise(edges)
        if inside[start] and times[stop - 1] - times[start] > 0.5
    ]


@pytest.mark.parametrize("noise_px", [0.0, 2.0])
@pytest.mark.parametrize("name", SCENES)
def test_entries_crossings_and_dwell_are_those_of_the_scene(name: str, noise_px: float) -> None:
    """With an error of 2 pixels in each keypoint, times may be off by one frame more."""
    scene = scene_of(SCENES[name])
    found, rows = found_rows(scene, noise_px)
    tolerance_s = (1.0 if noise_px == 0 else 2.0) / FPS + 2 * FINE_S
    stays, ways = [], []
    for track in np.unique(rows.track):
        seen = rows.t_s[rows.track == track]
        times, places = true_path(scene, int(track), float(seen[0]), float(seen[-1]))
        stays += true_stays(int(track), times, places)
        ways += [(int(track), float(times[n + 1]), bool(right)) for n, right in true_crossings(places)]
    assert [visit.track for visit in found.visits] == [stay.track for stay in stays]
    for visit, stay in zip(found.visits, stays, strict=True):
        assert visit.entered_s == pytest.approx(stay.entered_s, abs=tolerance_s)
        assert visit.left_s - visit.entered_s == pytest.approx(stay.left_s - stay.entered_s, abs=tolerance_s)
    assert [(one.track, one.direction == "left_to_right") for one in found.crossings] == [
        (track, right) for track, _, right in ways
    ]
    for crossing, (_, at_s, _) in zip(found.crossings, ways, strict=True):
        assert crossing.at_s == pytest.approx(at_s, abs=tolerance_s)


def true_crossings(places: NDArray) -> list[tuple[int, bool]]:
    """Return the steps in which a path crosses the vertical SILL, and whether to the right."""
    right = places[:, 0] > 0.5 * SIZE[0]
    steps = np.flatnonzero(np.diff(right))
    return [(int(n), bool(right[n + 1])) for n in steps if 0.4 < places[n, 1] / SIZE[1] < 0.99]


def test_the_scenes_have_visits_and_crossings_of_both_directions() -> None:
    found = [found_rows(scene_of(actors))[0] for actors in SCENES.values()]
    assert sum(len(rows.visits) for rows in found) >= 7
    assert {one.direction for rows in found for one in rows.crossings} == {"left_to_right", "right_to_left"}
