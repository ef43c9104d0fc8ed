"""Measures of tracking against a truth: IDF1, HOTA and MOTA. No tracking, no files.

Sources: IDF1, Ristani et al., Performance measures and a data set for multi-target, multi-camera tracking (2016);
MOTA, Bernardin and Stiefelhagen, Evaluating multiple object tracking performance (2008); HOTA, Luiten et al., HOTA: a
higher order metric for evaluating multi-object tracking (IJCV 2021). Where the papers leave a choice, it is
that of TrackEval, by which MOTChallenge is scored.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]

LEAST_SIMILARITY = 0.5
"""Of a person of the truth and a sighting of the same person, for IDF1 and MOTA."""

_ALPHAS = np.arange(0.05, 0.99, 0.05)  # HOTA is the mean over these least similarities
_EPSILON = np.finfo(np.float64).eps
_STAYS = 1000.0  # a pair of the frame before outweighs any similarity


class ComparedFrame(NamedTuple):
    """One frame of the truth and of the tracks.

    truth: (t,) int64, numbers of people; found: (f,) int64, numbers of tracks; none twice
    similarity: (t, f) float64, 0 to 1
    """

    truth: Numbers
    found: Numbers
    similarity: Array


class TrackFigures(NamedTuple):
    """Figures of tracks.

    idf1: share of the sightings whose track is that of their person, one track per person (F1)
    hota: geometric mean of the accuracies of detection and association, deta and assa, over the similarities
    mota: 1 less the misses, false sightings and switches per person and frame
    switches: changes of a person's track
    people, tracks: numbers of those in the truth and of those found
    """

    idf1: float
    hota: float
    mota: float
    deta: float
    assa: float
    switches: int
    people: int
    tracks: int

    def lines(self) -> dict[str, str]:
        """Describe the values: label -> text."""
        shares = {"IDF1": self.idf1, "HOTA": self.hota, "MOTA": self.mota, "DetA": self.deta, "AssA": self.assa}
        counts = {"switches": self.switches, "people": self.people, "tracks": self.tracks}
        return {name: f"{value:.3f}" for name, value in shares.items()} | {n: f"{v:,}" for n, v in counts.items()}


def track_figures(frames: Sequence[ComparedFrame]) -> TrackFigures:
    """Compare the tracks of one recording with its truth. Without truth and tracks every share is 0."""
    people, frames = _renumbered(frames, "truth")
    tracks, frames = _renumbered(frames, "found")
    hota, deta, assa = _hota(frames, people, tracks)
    mota, switches = _mota(frames, people)
    return TrackFigures(_idf1(frames, people, tracks), hota, mota, deta, assa, switches, people, tracks)


def gathered(parts: Sequence[Sequence[ComparedFrame]]) -> list[ComparedFrame]:
    """Put recordings behind each other, as if all people and tracks were different ones."""
    together: list[ComparedFrame] = []
    people = tracks = 0
    for frames in parts:
        together += [one._replace(truth=one.truth + people, found=one.found + tracks) for one in frames]
        people += 1 + max((int(one.truth.max(initial=0)) for one in frames), default=0)
        tracks += 1 + max((int(one.found.max(initial=0)) for one in frames), default=0)
    return together


def _renumbered(frames: Sequence[ComparedFrame], side: str) -> tuple[int, list[ComparedFrame]]:
    """Return how many people or tracks there are, and the frames with these numbered from 0 without holes."""
    numbers = [getattr(one, side) for one in frames]
    known, place = np.unique(np.concatenate([np.empty(0, np.int64), *numbers]), return_inverse=True)
    parts = np.split(place, np.cumsum([len(some) for some in numbers])[:-1]) if numbers else []
    return len(known), [one._replace(**{side: part}) for one, part in zip(frames, parts, strict=True)]


def _idf1(frames: Sequence[ComparedFrame], people: int, tracks: int) -> float:
    """Twice the sightings of the best pairing of people and tracks, by all sightings of either side."""
    together = np.zeros((people, tracks))
    total = 0
    for one in frames:
        total += len(one.truth) + len(one.found)
        together[np.ix_(one.truth, one.found)] += one.similarity >= LEAST_SIMILARITY
    rows, columns = linear_sum_assignment(together, maximize=True)
    return float(2 * together[rows, columns].sum() / max(1, total))


def _mota(frames: Sequence[ComparedFrame], people: int) -> tuple[float, int]:
    """(MOTA, number of switches). A pair of the frame before is kept as long as it is similar enough."""
    last, before = np.full(people, -1), np.full(people, -1)
    annotated = errors = switches = 0
    for one in frames:
        kept = before[one.truth][:, None] == one.found
        score = np.where(one.similarity >= LEAST_SIMILARITY - _EPSILON, _STAYS * kept + one.similarity, 0.0)
        rows, columns = linear_sum_assignment(score, maximize=True)
        matched = score[rows, columns] > _EPSILON
        person, track = one.truth[rows[matched]], one.found[columns[matched]]
        switches += int(((last[person] >= 0) & (last[person] != track)).sum())
        last[person] = track
        before = np.full(people, -1)
        before[person] = track
        annotated += len(one.truth)
        errors += len(one.truth) + len(one.found) - 2 * len(person)
    return 1 - (errors + switches) / annotated if annotated else 0.0, switches


def _hota(frames: Sequence[ComparedFrame], people: int, tracks: int) -> tuple[float, float, float]:
    """(HOTA, DetA, AssA), each the mean over the least similarities."""
    jaccard, frames_of_person, frames_of_track = _alignment(frames, people, tracks)
    matches = np.zeros((len(_ALPHAS), people, tracks))
    for one in frames:
        score = jaccard[np.ix_(one.truth, one.found)] * one.similarity
        rows, columns = linear_sum_assignment(score, maximize=True)
        similar = one.similarity[rows, columns] >= _ALPHAS[:, None] - _EPSILON
        matches[:, one.truth[rows], one.found[columns]] += similar
    found = matches.sum(axis=(1, 2))
    either = frames_of_person[:, None] + frames_of_track
    association = (matches * matches / np.maximum(1, either - matches)).sum(axis=(1, 2)) / np.maximum(1, found)
    detection = found / np.maximum(1, frames_of_person.sum() + frames_of_track.sum() - found)
    hota = np.sqrt(detection * association)
    return float(hota.mean()), float(detection.mean()), float(association.mean())


def _alignment(frames: Sequence[ComparedFrame], people: int, tracks: int) -> tuple[Array, Array, Array]:
    """(people, tracks) overall similarity, and how many frames each person and each track has."""
    together = np.zeros((people, tracks))
    frames_of_person, frames_of_track = np.zeros(people), np.zeros(tracks)
    for one in frames:
        either = one.similarity.sum(axis=0) + one.similarity.sum(axis=1)[:, None] - one.similarity
        share = np.divide(one.similarity, either, out=np.zeros_like(either), where=either > _EPSILON)
        together[np.ix_(one.truth, one.found)] += share
        frames_of_person[one.truth] += 1
        frames_of_track[one.found] += 1
    return (
        together / np.maximum(_EPSILON, frames_of_person[:, None] + frames_of_track - together),
        (frames_of_person),
        frames_of_track,
    )
