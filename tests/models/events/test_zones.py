"""Visits and crossings of paths: against plain loops, in any chunks, and in the cases that users would try."""

import io
from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray

from models.events.courses import Course, read_courses, write_courses
from models.events.feet import Feet, feet_of
from models.events.geometry import distance_to, inside_polygon, net_crossings
from models.events.zone_params import ZoneParams
from models.events.zones import Zone, ZoneWatcher, inside
from models.types import KEYPOINT_NAMES, Crossing, Visit, ZoneRows
from tests.models.events.paths import SIZE, feet, plainly, together

DOOR = Zone("polygon", ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)))  # x 160 to 480, y 120 to 360
STAR = Zone("polygon", ((0.1, 0.1), (0.5, 0.4), (0.9, 0.1), (0.6, 0.5), (0.9, 0.9), (0.5, 0.6), (0.1, 0.9), (0.4, 0.5)))
GATE = Zone("line", ((0.5, 0.1), (0.5, 0.9)))  # downwards at x = 320: left of it is the right part of the picture
BENT = Zone("line", ((0.2, 0.2), (0.5, 0.5), (0.8, 0.2)))
# A closed polygon's edge as a line, clockwise in the picture: its inside is on the right.
EDGE = Zone("line", (*DOOR.points, DOOR.points[0]))
ALL = (DOOR, STAR, GATE, BENT, EDGE, Zone(DOOR.shape, DOOR.points, 1.0, 3.0))


def watch(zones: tuple[Zone, ...], rows: Feet, params: ZoneParams | None = None) -> ZoneRows:
    return in_chunks(zones, rows, [], params)


def in_chunks(zones: tuple[Zone, ...], rows: Feet, cuts: list[int], params: ZoneParams | None = None) -> ZoneRows:
    """Watch rows cut at these frames, each part by a new watcher that continues from the state of the one before."""
    state: bytes | None = None
    found = ZoneRows([], [])
    edges = np.searchsorted(rows.frame, sorted(cuts))
    for start, stop in zip([0, *edges], [*edges, len(rows)], strict=True):
        watcher = ZoneWatcher(zones, SIZE, params, state)
        add(found, watcher.push(rows[start:stop]))
        state = watcher.checkpoint()
    add(found, ZoneWatcher(zones, SIZE, params, state).finish())
    return ZoneRows(sorted(found.visits), sorted(found.crossings))


def add(found: ZoneRows, more: ZoneRows) -> None:
    found.visits.extend(more.visits)
    found.crossings.extend(more.crossings)


@st.composite
def walks(draw: st.DrawFn) -> Feet:
    """Up to three people who wander through the picture, are lost for a while, and sometimes stand on an edge."""
    people = []
    for track in range(1, draw(st.integers(1, 3)) + 1):
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        count = draw(st.integers(1, 120))
        steps = rng.normal(0, draw(st.sampled_from([1.0, 8.0, 40.0])), (count, 2))
        places = rng.uniform((100, 60), (540, 420)) + np.cumsum(steps, axis=0)
        gaps = rng.choice([1, 1, 1, 1, 2, 40, 130], count)
        people.append(feet(places, 12.5, track, rng.uniform(20, 200), np.cumsum(gaps).tolist()))
    return together(*people)


@settings(max_examples=40)
@given(walks(), st.lists(st.integers(0, 3000), max_size=6))
def test_chunks_and_checkpoints_change_nothing_and_plain_loops_agree(rows: Feet, cuts: list[int]) -> None:
    params = ZoneParams(inertia_s=0.3, standing_s=2.0)
    found = in_chunks(ALL, rows, cuts, params)
    visits, crossings = plainly(ALL, rows, params)
    assert found.visits == visits
    assert found.crossings == crossings


@settings(max_examples=30)
@given(walks())
def test_crossings_of_a_closed_edge_alternate_and_enclose_the_visits(rows: Feet) -> None:
    found = watch((DOOR, EDGE), rows)
    for track in np.unique(rows.track):
        times = rows.t_s[rows.track == track]
        for start, stop in unbroken(times, ZoneParams().lost_s):
            ways = [one.direction for one in found.crossings if one.track == track and start <= one.at_s <= stop]
            assert all(a != b for a, b in pairwise(ways))
    entered = {(one.track, one.frame) for one in found.crossings if one.direction == "left_to_right"}
    begun = {(one.track, one.entered_frame) for one in found.visits}
    assert entered <= begun  # a visit of somebody who appeared inside has no crossing


def unbroken(times: NDArray, lost_s: float) -> list[tuple[float, float]]:
    parts = np.split(times, np.flatnonzero(np.diff(times) > lost_s) + 1)
    return [(part[0], part[-1]) for part in parts]


@settings(max_examples=30)
@given(
    st.floats(180, 460), st.floats(140, 340), st.floats(0, 2 * np.pi), st.floats(3, 25), st.sampled_from([5, 12.5, 30])
)
def test_a_straight_path_through_a_zone_is_one_visit(
    x: float, y: float, angle: float, speed: float, fps: float
) -> None:
    """The path begins and ends 600 pixels outside; its time inside follows from the distance between two edges."""
    way = np.array([np.cos(angle), np.sin(angle)])
    times = np.arange(0, 1200 / (speed * 10), 1 / fps)
    places = np.array([x, y]) + (times[:, None] * speed * 10 - 600) * way
    found = watch((DOOR,), feet(places, fps))
    sides = zip((x, y), way, (160, 120), (480, 360), strict=True)
    spans = [sorted([(low - at) / step, (high - at) / step]) for at, step, low, high in sides if abs(step) > 1e-9]
    true_s = (min(end for _, end in spans) - max(start for start, _ in spans)) / (speed * 10)
    if true_s > 0.4 + 2 / fps and deep((x, y), way):
        assert len(found.visits) == 1
        assert found.visits[0].left_s - found.visits[0].entered_s == pytest.approx(true_s, abs=1 / fps + 1e-6)
    elif true_s < 0.4 - 1 / fps:
        assert not found.visits


def deep(place: tuple[float, float], way: NDArray) -> bool:
    """Return whether the path gets more than a tenth of a body into the zone."""
    places = np.array(place) + np.linspace(-600, 600, 2000)[:, None] * way
    corners = np.array(DOOR.points) * SIZE
    return bool((distance_to(places, corners, True)[inside_polygon(places, corners)] > 12).any())


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(3, 9))
def test_membership_and_distance_are_those_of_opencv_and_matplotlib(seed: int, corners: int) -> None:
    rng = np.random.default_rng(seed)
    points, places = rng.uniform(0, 500, (corners, 2)), rng.uniform(-50, 550, (200, 2))
    expected = np.array([cv2.pointPolygonTest(points.astype(np.float32), place.tolist(), True) for place in places])
    clear = np.abs(expected) > 0.01
    distance = distance_to(places, points, closed=True)
    assert distance == pytest.approx(np.abs(expected), abs=0.01)
    if convex(points):
        assert (inside_polygon(places, points) == Polygon(points).contains_points(places))[clear].all()
    assert (inside_polygon(places, points) == (expected > 0))[clear].all()


def convex(points: NDArray) -> bool:
    return len(cv2.convexHull(points.astype(np.float32))) == len(points)


@pytest.mark.parametrize("fps", [2, 5, 12.5, 30])
@pytest.mark.parametrize("seed", range(5))
def test_nobody_flickers_on_the_line(fps: float, seed: int) -> None:
    found = watch((DOOR, EDGE), feet(stand_on_the_edge(round(60 * fps), seed), fps))
    assert len(found.visits) == len(found.crossings) == 1
    assert found.crossings[0].direction == "left_to_right"


def test_without_inertia_the_same_person_would_flicker() -> None:
    found = watch((DOOR,), feet(stand_on_the_edge(300, seed=1)), ZoneParams(inertia_s=0, margin=0))
    assert len(found.visits) > 20


def stand_on_the_edge(frames: int, seed: int) -> NDArray:
    """Somebody of 100 pixels comes, stands on the edge with an error of 2 pixels, and goes in."""
    stands = np.random.default_rng(seed).normal((480, 240), 2, (frames, 2))
    return np.concatenate([[(600, 240)] * 5, stands, [(300, 240)] * 20])


def test_the_sides_of_a_line_are_those_of_somebody_who_looks_along_it() -> None:
    """GATE runs downwards, so that somebody who walks to the right in the picture comes from its right."""
    to_the_right = np.column_stack([np.linspace(100, 500, 100), np.full(100, 240)])
    crossing = watch((GATE,), feet(to_the_right)).crossings
    assert crossing == [Crossing(0, 1, 55, 55 / 25, "right_to_left")]
    assert to_the_right[54, 0] < 320 < to_the_right[55, 0]
    back = watch((GATE,), feet(to_the_right[::-1])).crossings
    assert [one.direction for one in back] == ["left_to_right"]


def test_a_walk_around_the_end_of_a_line_is_no_crossing() -> None:
    around = np.concatenate([np.linspace((250, 240), (250, 470), 40), np.linspace((250, 470), (400, 470), 40)])
    assert not watch((GATE,), feet(around)).crossings


def test_a_way_through_a_corner_of_a_bent_line_is_one_crossing() -> None:
    for x in (320.0, 320.0000001, 319.9):
        way = np.column_stack([np.full(60, x), np.linspace(150, 350, 60)])
        assert [one.direction for one in watch((BENT,), feet(way)).crossings] == ["left_to_right"]
    assert net_crossings(np.array([[320.0, 150]]), np.array([[320.0, 350]]), np.array(BENT.points) * SIZE) == [1]


def test_a_short_loss_does_not_end_a_visit_and_a_long_one_does() -> None:
    stays = np.full((10, 2), 300.0)
    short = [*range(5), *range(100, 105)]  # 3.8 s
    assert [visit[2:] for visit in watch((DOOR,), feet(stays, frames=short)).visits] == [(0, 104, 0.0, 4.16)]
    long = [*range(5), *range(200, 205)]
    assert [visit[2:4] for visit in watch((DOOR,), feet(stays, frames=long)).visits] == [(0, 4), (200, 204)]


def test_somebody_who_vanishes_right_behind_a_line_has_crossed_it() -> None:
    """As through a door: four sightings behind the line are fewer than the inertia."""
    path = np.column_stack([np.linspace(100, 350, 40), np.full(40, 240)])
    assert np.count_nonzero(path[:, 0] > 320) < 0.4 * 25
    assert len(watch((GATE,), feet(path)).crossings) == 1


def test_a_quick_step_over_the_edge_is_no_visit() -> None:
    path = np.array([(520, 240)] * 20 + [(400, 240)] * 5 + [(520, 240)] * 20)
    assert not watch((DOOR,), feet(path)).visits


def test_a_zone_holds_in_its_period_only() -> None:
    found = watch((Zone(DOOR.shape, DOOR.points, 1.0, 3.0),), feet(np.full((100, 2), 300.0)))
    assert found.visits == [Visit(0, 1, 25, 74, 1.0, 2.96)]


def test_memberships_are_those_of_the_visits() -> None:
    walk = np.column_stack([np.linspace(0, 640, 161), np.full(161, 240)])
    rows = together(feet(walk), feet(walk[::-1] + np.array([0, 10]), track=2), feet(np.full((161, 2), 5.0), track=3))
    visits = watch((DOOR, STAR), rows).visits
    order = np.random.default_rng(0).permutation(len(rows))
    belongs = inside(visits, 2, rows.track[order], rows.frame[order])
    where = inside_polygon(rows.places[order], np.array(DOOR.points) * SIZE)
    assert (belongs[:, 0] == where).all()
    assert belongs[:, 1].any()
    assert not belongs[rows.track[order] == 3].any()


def test_the_state_does_not_grow_with_the_recording() -> None:
    watcher = ZoneWatcher((DOOR, GATE), SIZE)
    lengths = []
    for part in range(30):
        places = np.column_stack([np.linspace(0, 640, 100), np.full(100, 240)])
        watcher.push(feet(places, track=part + 1, frames=range(part * 300, part * 300 + 100)))
        lengths.append(len(watcher.checkpoint()))
    assert max(lengths[1:]) < 1.2 * lengths[0]


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: b"",
        lambda state: state[: len(state) // 2],
        lambda state: b"PK" + b"\0" * 200,
        lambda state: state.replace(b"courses", b"coarses"),
        lambda state: pickled(),
    ],
)
def test_a_damaged_state_is_refused(damage: Callable[[bytes], bytes]) -> None:
    watcher = ZoneWatcher((DOOR,), SIZE)
    watcher.push(feet(np.full((5, 2), 300.0)))
    with pytest.raises(ValueError, match="Begin again without it"):
        ZoneWatcher((DOOR,), SIZE, state=damage(watcher.checkpoint()))


def test_a_state_with_places_that_are_not_numbers_is_refused() -> None:
    courses = {(0, 1): Course.of_first(0, 0.0, float("nan"), 1.0)}
    with pytest.raises(ValueError, match="not numbers"):
        read_courses(write_courses(courses, "zones"), "zones")


def pickled() -> bytes:
    content = io.BytesIO()
    np.savez(content, identity=np.zeros(32, np.uint8), courses=np.array([{}], object))
    return content.getvalue()


def test_a_state_of_other_zones_is_refused() -> None:
    state = ZoneWatcher((DOOR,), SIZE).checkpoint()
    for zones, size, params in (
        ((STAR,), SIZE, None),
        ((DOOR,), (640, 481), None),
        ((DOOR,), SIZE, ZoneParams(inertia_s=1)),
    ):
        with pytest.raises(ValueError, match="other parameters or another version"):
            ZoneWatcher(zones, size, params, state)


def test_frames_that_do_not_ascend_are_refused() -> None:
    with pytest.raises(ValueError, match="not ascending"):
        ZoneWatcher((DOOR,), SIZE).push(feet(np.zeros((2, 2)), frames=[1, 0]))


def test_people_stand_on_their_ankles_or_at_the_bottom_of_their_box() -> None:
    left, right = KEYPOINT_NAMES.index("left_ankle"), KEYPOINT_NAMES.index("right_ankle")
    keypoints = np.full((5, 17, 2), np.nan, np.float32)
    keypoints[:4, 0] = (50, 10)
    keypoints[:3, left], keypoints[:3, right] = (40, 100), (60, 110)
    scores = np.full((5, 17), 0.9, np.float32)
    scores[1, right] = 0.1
    scores[2, [left, right]] = 0.1
    track = np.array([1, 2, 3, 4, 5], np.int32)
    found = feet_of(track, np.zeros(5, np.int64), np.zeros(5), keypoints, scores)
    assert found.track.tolist() == [1, 2, 3, 4]  # nobody stands without a keypoint
    assert found.places.tolist() == [[50, 105], [40, 100], [50, 110], [50, 10]]
    assert found.heights.tolist() == [100, 100, 100, 0]
    track[:] = 0
    assert not len(feet_of(track, np.zeros(5, np.int64), np.zeros(5), keypoints, scores))
