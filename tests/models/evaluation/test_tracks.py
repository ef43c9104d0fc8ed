"""The measures of tracks: those of an independent implementation, and what they say of tracks made by hand."""

import json

import numpy as np
import pytest

from models.evaluation.tracks import ComparedFrame, gathered, track_figures
from tests.oracle import track_measures as oracle


def frame(truth: list[int], found: list[int], same: list[tuple[int, int]]) -> ComparedFrame:
    similarity = [[float((person, track) in same) for track in found] for person in truth]
    return ComparedFrame(np.array(truth), np.array(found), np.array(similarity).reshape(len(truth), len(found)))


@pytest.mark.parametrize("seed", range(oracle.RECORDINGS))
def test_the_figures_are_those_of_another_implementation(seed: int) -> None:
    theirs = json.loads(oracle.FIGURES.read_text())[seed]
    mine = track_figures([ComparedFrame(*one) for one in oracle.recording(seed)])
    assert (mine.idf1, mine.hota, mine.deta, mine.assa, mine.mota, mine.switches) == pytest.approx(
        tuple(theirs[name] for name in ("IDF1", "HOTA", "DetA", "AssA", "MOTA", "IDSW")), abs=1e-9
    )


def test_perfect_tracks() -> None:
    figures = track_figures([frame([1, 2], [7, 9], [(1, 9), (2, 7)])] * 10)
    assert figures[:5] == (1, 1, 1, 1, 1)
    assert (figures.switches, figures.people, figures.tracks) == (0, 2, 2)


def test_tracks_exchanged_half_way() -> None:
    before, after = frame([1, 2], [1, 2], [(1, 1), (2, 2)]), frame([1, 2], [1, 2], [(1, 2), (2, 1)])
    figures = track_figures([before] * 5 + [after] * 5)
    assert (figures.idf1, figures.switches, figures.mota, figures.deta) == (0.5, 2, 0.9, 1)


def test_a_track_that_nobody_is_in() -> None:
    figures = track_figures([frame([1], [1, 2], [(1, 1)])] * 4)
    assert figures.idf1 == pytest.approx(2 * 4 / (4 + 8))
    assert figures.mota == 0


def test_nothing_at_all() -> None:
    assert track_figures([]) == (0, 0, 0, 0, 0, 0, 0, 0)
    assert track_figures([frame([], [], [])] * 3)[:5] == (0, 0, 0, 0, 0)
    assert track_figures([frame([1], [], [])]).idf1 == 0
    assert track_figures([frame([], [3], [])]).tracks == 1


def test_recordings_behind_each_other_share_no_people_and_no_tracks() -> None:
    frames = [frame([1], [1], [(1, 1)])] * 3
    figures = track_figures(gathered([frames, frames]))
    assert (figures.people, figures.tracks, figures.idf1) == (2, 2, 1)
