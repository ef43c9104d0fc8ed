"""Intervals of true rows: against a plain loop, and for any division into chunks."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.events.intervals import Interval, IntervalParams, Intervals, RowsOfKeys

FRAME_S = 0.04
PARAMS = IntervalParams(frame_s=FRAME_S)


def rows_of(values: list[tuple[int, int, bool, float]]) -> RowsOfKeys:
    """Rows from (frame, key, holds, score), in this order."""
    frame, key, holds, score = zip(*values, strict=True) if values else ((),) * 4
    frames = np.array(frame, np.int64)
    return RowsOfKeys(
        np.array(key, np.int64), frames, frames * FRAME_S, np.array(holds, bool), np.array(score, np.float64)
    )


def plain(rows: RowsOfKeys, params: IntervalParams) -> list[Interval]:
    """The same by a loop over the rows of each key: an oracle."""
    made = []
    for key in sorted(set(rows.key.tolist())):
        mine = np.flatnonzero(rows.key == key).tolist()
        groups: list[list[int]] = []
        for place, row in enumerate(mine):
            if not rows.holds[row]:
                continue
            gap_s = rows.t_s[row] - rows.t_s[groups[-1][-1]] if groups else np.inf
            follows = groups and place and mine[place - 1] == groups[-1][-1]
            if gap_s <= params.bridge_gap_s + 1e-6 or (follows and gap_s <= 1.5 * (params.frame_s or 0) + 1e-6):
                groups[-1].append(row)
            else:
                groups.append([row])
        ended_s = -np.inf
        for group in groups:
            first, last, peak = group[0], group[-1], max(group, key=lambda row: (rows.score[row], -row))
            if rows.t_s[last] - rows.t_s[first] < params.min_duration_s - 1e-6:
                continue
            if rows.t_s[first] - ended_s < params.cool_down_s - 1e-6:
                continue
            ended_s = rows.t_s[last]
            places = [(float(rows.t_s[row]), int(rows.frame[row])) for row in (first, last, peak)]
            made.append(Interval(key, *places[0], *places[1], *places[2], float(rows.score[peak])))
    return sorted(made, key=lambda one: (one.to_s, one.key))


@st.composite
def some_rows(draw: st.DrawFn) -> RowsOfKeys:
    """Up to three keys, rows missing anywhere; each key's frames ascend."""
    frames = draw(st.lists(st.integers(1, 12), max_size=40).map(lambda steps: np.cumsum(steps).tolist()))
    values = [
        (frame, key, draw(st.booleans()), draw(st.sampled_from([0.0, 0.5, 1.0])))
        for frame in frames
        for key in draw(st.sets(st.integers(0, 2), max_size=3).map(sorted))
    ]
    return rows_of(values)


SECONDS = st.sampled_from([0.0, 0.04, 0.08, 0.2, 1.0])
SOME_PARAMS = st.builds(
    IntervalParams,
    min_duration_s=SECONDS,
    bridge_gap_s=SECONDS,
    cool_down_s=SECONDS,
    frame_s=st.sampled_from([None, FRAME_S, 0.2]),
)


@given(some_rows(), SOME_PARAMS, st.lists(st.integers(0, 120), max_size=8), st.booleans())
def test_intervals_are_those_of_a_plain_loop_for_any_chunks(
    rows: RowsOfKeys, params: IntervalParams, cuts: list[int], through_bytes: bool
) -> None:
    stream, found = Intervals(params), []
    for start, stop in pairwise(sorted({0, *(min(cut, len(rows.key)) for cut in cuts), len(rows.key)})):
        found += stream.push(rows.taken(slice(start, stop)))
        if through_bytes:
            stream = Intervals(params, stream.checkpoint())
    found += stream.finish()
    assert sorted(found, key=lambda one: (one.to_s, one.key)) == plain(rows, params)


def held(frames: list[int], total: int = 60) -> RowsOfKeys:
    return rows_of([(frame, 1, frame in frames, 1.0 + frame) for frame in range(total)])


def spans(rows: RowsOfKeys, **changes: float) -> list[tuple[int, int]]:
    stream = Intervals(replace(PARAMS, **changes))
    return [(one.from_frame, one.to_frame) for one in [*stream.push(rows), *stream.finish()]]


def test_a_false_row_ends_an_interval_unless_the_gap_is_bridged() -> None:
    rows = held([1, 2, 3, 5, 6])
    assert spans(rows) == [(1, 3), (5, 6)]
    assert spans(rows, bridge_gap_s=0.08) == [(1, 6)]


def test_missing_rows_are_a_gap_like_any_other() -> None:
    rows = rows_of([(frame, 1, True, 0.0) for frame in (1, 2, 3, 5, 6)])
    assert spans(rows) == [(1, 3), (5, 6)]
    assert spans(rows, bridge_gap_s=0.08) == [(1, 6)]


def test_every_second_frame_is_no_gap_where_so_many_are_processed() -> None:
    rows = rows_of([(frame, 1, True, 0.0) for frame in range(0, 50, 5)])
    assert spans(rows, frame_s=0.2) == [(0, 45)]
    assert len(spans(rows)) == 10


def test_short_intervals_and_those_of_the_cool_down_are_left_out() -> None:
    rows = held([*range(0, 11), *range(13, 18), *range(40, 50)])
    assert spans(rows, min_duration_s=0.36) == [(0, 10), (40, 49)]
    assert spans(rows, cool_down_s=1.0) == [(0, 10), (40, 49)]
    assert spans(rows, cool_down_s=2.0) == [(0, 10)]


def test_the_peak_is_the_first_highest_score() -> None:
    rows = rows_of([(frame, 1, True, score) for frame, score in enumerate([0.0, 3.0, 1.0, 3.0])])
    [found] = [*(stream := Intervals(PARAMS)).push(rows), *stream.finish()]
    assert (found.peak_frame, found.score) == (1, 3.0)


def test_an_interval_is_given_out_when_no_row_can_join_it() -> None:
    stream = Intervals(replace(PARAMS, bridge_gap_s=0.4))
    assert stream.push(held([0, 1, 2], 10)) == []
    assert stream.push(rows_of([]), now_s=0.5) != []


@pytest.mark.parametrize("state", [b"", b"no array", Intervals(PARAMS).checkpoint()[:-20]])
def test_a_damaged_state_is_refused(state: bytes) -> None:
    with pytest.raises(ValueError, match="Make the events again"):
        Intervals(PARAMS, state)
