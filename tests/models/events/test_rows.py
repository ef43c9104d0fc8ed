"""Rows of people and of frames: the same for any chunks, lost people, local hours."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.events.columns import COLUMNS
from models.events.frame_rows import FrameClock, FrameRows, local_hours
from models.events.people_rows import LOST_S, PeopleStream, SeenPeople

STEP_S = 0.25


def seen(places: list[tuple[int, int]]) -> SeenPeople:
    """People at these (frame, track), whose score is their frame."""
    n = len(places)
    frame, track = (np.array([place[part] for place in places], np.int64) for part in (0, 1))
    nothing = np.full((n, 17, 2), np.nan)
    return SeenPeople(track, frame, np.zeros(n, bool), np.full((n, 15), 1.0), frame * 1.0, nothing, nothing[:, :, 0])


PLACES = st.sets(st.tuples(st.integers(0, 59), st.integers(1, 3))).map(sorted)


def rows_of(places: list[tuple[int, int]], cuts: list[int]) -> list[tuple]:
    """(frame, track, seen, score, frame seen last) of all rows, pushed in chunks that begin at these frames."""
    clock, stream, made = FrameClock(), PeopleStream((640, 480)), []
    for start, stop in pairwise(sorted({0, *cuts, 60})):
        people = seen([place for place in places if start <= place[0] < stop])
        frames = clock.push(np.arange(start, stop), STEP_S, people.frame, people.frame * STEP_S)
        rows = stream.push(people, frames, np.zeros(len(frames.frame)))
        columns = (*(rows.columns[name] for name in ("frame", "track", "seen", "score")), rows.seen_frame)
        made += list(zip(*(np.nan_to_num(values, nan=-1).tolist() for values in columns), strict=True))
        assert set(rows.columns) == set(COLUMNS["people"])
    return made


@given(PLACES, st.lists(st.integers(0, 60), max_size=5))
def test_people_have_lost_rows_for_three_seconds_in_any_chunks(places: list[tuple[int, int]], cuts: list[int]) -> None:
    expected = []
    for frame in range(60):
        for track in (1, 2, 3):
            before = [place[0] for place in places if place[1] == track and place[0] <= frame]
            if before and (frame - before[-1]) * STEP_S <= LOST_S:
                score = frame if before[-1] == frame else -1
                expected.append((frame, track, before[-1] == frame, score, before[-1]))
    assert rows_of(places, cuts) == expected


def test_frames_without_people_lie_between_their_neighbours() -> None:
    """People at frames 2 and 6 of a video whose real times are later than its mean rate says."""
    clock = FrameClock()
    clock.begin_video(0, 100.0)
    first = clock.push(np.arange(4), 1.0, np.array([2, 2]), np.array([103.0, 103.0]))
    second = clock.push(np.arange(4, 8), 1.0, np.array([6]), np.array([106.5]))
    assert first.t_s.tolist() == [100, 101, 103, 104]
    assert second.t_s.tolist() == [105, 106, 106.5, 107.5]
    assert [*first.people, *second.people] == [0, 0, 2, 0, 0, 0, 1, 0]
    backwards = clock.push(np.arange(8, 10), 1.0, np.array([9]), np.array([105.0]))
    assert (np.diff([*second.t_s, *backwards.t_s]) >= 0).all()


def test_a_frame_that_was_not_processed_counts_where_somebody_is() -> None:
    clock = FrameClock()
    assert isinstance(rows := clock.push(np.array([0, 4]), 1.0, np.array([2]), np.array([2.0])), FrameRows)
    assert rows.frame.tolist() == [0, 2, 4]


@pytest.mark.parametrize("day", [datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", None])
def test_local_hours_follow_daylight_saving(day: datetime, zone: str | None) -> None:
    seconds = np.arange(0, 86_400, 613.0)
    expected = []
    for second in seconds.tolist():
        local = (day + timedelta(seconds=second)).astimezone(ZoneInfo(zone) if zone else UTC)
        expected.append(local.hour + local.minute / 60 + local.second / 3600)
    np.testing.assert_allclose(local_hours(seconds, day, zone), expected, atol=1e-9)


def test_local_hours_are_unknown_without_a_clock() -> None:
    assert np.isnan(local_hours(np.arange(3.0), None, "Europe/Berlin")).all()
