"""Pieces of a video's frames, and series that are thinned."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from storage.sql.browse.player.series import Extent, SeriesRows
from tasks.browse.player.pieces import MOST_SERIES_ROWS, PIECE_FRAMES, piece_frames, series_frames, thinned


@given(st.integers(1, 5000))
def test_pieces_cover_each_frame_once(frames: int) -> None:
    pieces = [piece_frames(number, frames) for number in range(12)]
    assert [frame for start, stop in pieces for frame in range(start, stop)] == list(range(frames))
    assert piece_frames(2**31 - 1, frames)[0] == piece_frames(2**31 - 1, frames)[1]
    assert all(stop - start in (0, PIECE_FRAMES) for start, stop in pieces[:-1] if stop < frames)


@given(st.integers(1, 10**7), st.integers(0, 10**6), st.floats(0.01, 1))
def test_a_series_has_at_most_so_many_rows(frames: int, first: int, density: float) -> None:
    rows = max(1, int(frames * density))
    wanted = series_frames(Extent(rows, first, first + frames - 1))
    assert (wanted.start, wanted.stop) == (first, first + frames)
    assert (rows if wanted.step == 1 else 2 * len(wanted)) <= MOST_SERIES_ROWS


@given(st.data(), st.integers(1, 300), st.integers(2, 40), st.integers(0, 1000))
def test_thinning_keeps_the_extremes_of_every_column(data: st.DataObject, rows: int, step: int, first: int) -> None:
    steps = data.draw(hnp.arrays(np.int32, rows, elements=st.integers(1, 30)))
    frame = first + np.cumsum(steps, dtype=np.int32) - steps[0]
    floats = st.floats(-100, 100, width=32) | st.just(np.nan)
    values = data.draw(hnp.arrays(np.float32, (rows, 2), elements=floats))
    whole = SeriesRows(frame, frame / 25, values[:, 0] > 0, values)
    thin = thinned(whole, range(first, int(frame[-1]) + 1, step))
    group = (frame - first) // step
    assert len(thin.frame) == 2 * len(np.unique(group))
    for number, one in enumerate(np.unique(group)):
        mine, pair = group == one, slice(2 * number, 2 * number + 2)
        assert thin.frame[pair].tolist() == [frame[mine][0], frame[mine][-1]]
        assert thin.filled[pair].all() == whole.filled[mine].all()
        for column in range(2):
            known = values[mine, column][~np.isnan(values[mine, column])]
            expected = [known.min(), known.max()] if len(known) else [np.nan, np.nan]
            np.testing.assert_array_equal(thin.values[pair, column], np.float32(expected))
