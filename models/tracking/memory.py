"""All that tracking remembers from one chunk of rows to the next, and the same as arrays for a checkpoint."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.checkpoints import Arrays, Layout
from models.tracking.affinity import End
from models.tracking.chains import Chain, Encounter
from models.tracking.types import Sightings
from models.types import KEYPOINTS

_END = [("row", "<i8"), ("t_s", "<f8"), ("velocity", "<f8", (2,)), ("place", "<f8", (2,)), ("length", "<f8")]
_NONE = -1
_FARTHEST = 1e50  # pixels or seconds: squares of these are numbers
# Chains refer to each other by their place in the table.
_CHAINS = np.dtype(
    [
        *((name, "<i8") for name in ("number", "first", "last", "count", "track", "before", "beside")),
        *((name, "<f8") for name in ("first_s", "last_s", "best_score")),
        *((name, "u1") for name in ("closed", "settled", "continued", "has_end", "kept")),
        *((name, _END) for name in ("end", "beside_end")),
    ]
)
_ENCOUNTERS = np.dtype([("chain", "<i8"), ("other", "<i8"), ("row", "<i8"), ("end", _END), ("other_end", _END)])
LAYOUT: Layout = {
    "counts": ("<i8", ()),
    "clock_s": ("<f8", ()),
    "seen_frame": ("<i8", ()),
    "seen_t_s": ("<f8", ()),
    "seen_scores": ("<f8", ()),
    "seen_boxes": ("<f8", (4,)),
    "seen_centres": ("<f8", (2,)),
    "seen_lengths": ("<f8", ()),
    "past_keypoints": ("<f4", (KEYPOINTS, 2)),
    "owner": ("<i8", ()),
    "chains": (_CHAINS, ()),
    "encounters": (_ENCOUNTERS, ()),
}


@dataclass
class Memory:
    """Sightings on which later decisions depend, and the chains that they belong to.

    seen: the sightings of the rounds so far; new: those that came later
    owner: (seen,) number of each sighting's chain, -1 = not assigned yet
    done: kept sightings that are assigned to chains; given: kept sightings whose tracks are given out
    clock_s: latest time so far, None = no sighting yet
    chains: by number; born: number of chains so far; tracks: number of tracks so far
    """

    seen: Sightings | None = None
    new: list[Sightings] = field(default_factory=list)
    owner: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    done: int = 0
    given: int = 0
    clock_s: float | None = None
    chains: dict[int, Chain] = field(default_factory=dict)
    encounters: list[Encounter] = field(default_factory=list)
    born: int = 0
    tracks: int = 0

    def all_seen(self) -> Sightings | None:
        """Return the kept and the new sightings."""
        parts = ([] if self.seen is None else [self.seen]) + self.new
        return Sightings.joined(parts) if parts else None

    def open_chains(self) -> list[Chain]:
        """Return the chains that are not closed, the oldest first."""
        return [chain for chain in self.chains.values() if not chain.closed]

    def drop(self, seen: Sightings, rows: int) -> None:
        """Forget the first rows of the kept sightings, and the closed chains that have ended in them."""
        self.seen, self.owner = seen[rows:], self.owner[rows:]
        self.done -= rows
        self.given -= rows
        self.encounters = [one._replace(row=one.row - rows) for one in self.encounters]
        for chain in list(self.chains.values()):
            chain.first, chain.last = chain.first - rows, chain.last - rows
            chain.rows = [row - rows for row in chain.rows if row >= rows]
            if chain.closed and chain.last < 0:
                del self.chains[chain.number]
                chain.end = chain.beside = None  # others may still refer to the chain


def to_arrays(memory: Memory) -> Arrays:
    """Return the memory without the keypoints of sightings whose tracks are not given out: the tracker holds these."""
    table = _table(memory)
    seen = memory.all_seen() or _no_sightings()
    past = np.zeros(len(seen), bool)
    past[: memory.given] = True
    past[[chain.last for chain in table if chain.last >= 0]] = False
    counts = (memory.done, memory.given, memory.born, memory.tracks)
    return {
        "counts": np.array(counts, np.int64),
        "clock_s": np.array([] if memory.clock_s is None else [memory.clock_s], np.float64),
        "seen_frame": seen.frame,
        "seen_t_s": seen.t_s,
        # Of those behind, only the ends of chains are compared with others.
        "seen_scores": np.where(past, 0.0, seen.scores),
        "seen_boxes": np.where(past[:, None], 0.0, seen.boxes),
        "seen_centres": seen.centres,
        "seen_lengths": seen.lengths,
        "past_keypoints": np.where(past[:, None, None], np.float32(np.nan), seen.keypoints)[: memory.given],
        "owner": memory.owner,
        "chains": _chain_rows(memory, table),
        "encounters": _encounter_rows(memory.encounters, table),
    }


def from_arrays(arrays: Arrays, waiting_keypoints: NDArray[np.float32]) -> Memory:
    """Return the memory of to_arrays. waiting_keypoints: those of the sightings whose tracks are not given out

    Raises ValueError where numbers do not fit each other.
    """
    seen = _seen(arrays, waiting_keypoints)
    owner, clock = arrays["owner"], arrays["clock_s"].tolist()
    if (
        len(arrays["counts"]) != 4
        or clock[1:]
        or not all(seen.t_s.max(initial=-np.inf) <= t_s < np.inf for t_s in clock)
    ):
        raise ValueError("The checkpoint has too many or too few counts, or a clock that is behind.")
    done, given, born, tracks = arrays["counts"].tolist()
    if not (0 <= given <= done <= len(owner) <= len(seen) and min(born, tracks) >= 0):
        raise ValueError("The checkpoint counts more sightings than it has.")
    if given != len(arrays["past_keypoints"]):
        raise ValueError("The checkpoint counts other sightings as given out than it has.")
    chains = _chains(arrays["chains"], born, tracks, len(seen))
    kept = {chain.number: chain for chain, kept in zip(chains, arrays["chains"]["kept"], strict=True) if kept}
    _take_rows(owner, done, kept)
    if not all(_has_its_ends(chain, seen.t_s, done) for chain in kept.values()):
        raise ValueError("The checkpoint has chains that begin or end elsewhere than their sightings.")
    return Memory(
        seen[: len(owner)] if len(owner) else None,
        [seen[len(owner) :]] if len(seen) > len(owner) else [],
        owner,
        *(done, given),
        clock[0] if clock else None,
        kept,
        _encounters(arrays["encounters"], chains, range(given, done)),
        *(born, tracks),
    )


def _no_sightings() -> Sightings:
    none = np.empty(0)
    return Sightings(np.empty(0, np.int64), none, none, none.reshape(0, 4), none.reshape(0, 2), none, _NO_KEYPOINTS)


_NO_KEYPOINTS = np.empty((0, KEYPOINTS, 2), np.float32)


def _table(memory: Memory) -> list[Chain]:
    """Return the kept chains, and those that they refer to."""
    found = {id(chain): chain for chain in memory.chains.values()}
    linked = [chain.before for chain in memory.chains.values()]
    linked += [chain.beside[0] for chain in memory.chains.values() if chain.beside is not None]
    linked += [chain for one in memory.encounters for chain in (one.chain, one.other)]
    found.update({id(chain): chain for chain in linked if chain is not None})
    return list(found.values())


def _chain_rows(memory: Memory, table: list[Chain]) -> NDArray[np.void]:
    place = {id(chain): row for row, chain in enumerate(table)}
    rows = np.zeros(len(table), _CHAINS)
    for row, chain in zip(rows, table, strict=True):
        for name in ("number", "first", "last", "count", "track", "first_s", "last_s", "best_score"):
            row[name] = getattr(chain, name)
        for name in ("closed", "settled", "continued"):
            row[name] = getattr(chain, name)
        row["before"] = _NONE if chain.before is None else place.get(id(chain.before), _NONE)
        row["has_end"], row["kept"] = chain.end is not None, memory.chains.get(chain.number) is chain
        row["end"] = _end_row(chain.end)
        row["beside"], row["beside_end"] = _NONE, _end_row(None)
        if chain.beside is not None:
            row["beside"], row["beside_end"] = place.get(id(chain.beside[0]), _NONE), _end_row(chain.beside[1])
    return rows


def _encounter_rows(encounters: Iterable[Encounter], table: list[Chain]) -> NDArray[np.void]:
    place = {id(chain): row for row, chain in enumerate(table)}
    rows = [
        (place[id(one.chain)], place[id(one.other)], one.row, _end_row(one.end), _end_row(one.other_end))
        for one in encounters
    ]
    return np.array(rows, _ENCOUNTERS)


def _end_row(end: End | None) -> tuple[Any, ...]:
    return (0, 0.0, (0.0, 0.0), (0.0, 0.0), 0.0) if end is None else tuple(end)


def _end(row: NDArray[np.void]) -> End:
    numbers = np.array([row["t_s"], *row["velocity"], *row["place"], row["length"]])
    if not (np.abs(numbers) < _FARTHEST).all() or row["length"] <= 0:
        raise ValueError("The checkpoint has the end of a chain without a place.")
    (velocity_x, velocity_y), (x, y) = row["velocity"].tolist(), row["place"].tolist()
    return End(int(row["row"]), float(row["t_s"]), (velocity_x, velocity_y), (x, y), float(row["length"]))


def _seen(arrays: Arrays, waiting_keypoints: NDArray[np.float32]) -> Sightings:
    columns = {name: arrays[f"seen_{name}"] for name in ("frame", "t_s", "scores", "boxes", "centres", "lengths")}
    seen = Sightings(**columns, keypoints=np.concatenate([arrays["past_keypoints"], waiting_keypoints]))
    if {len(column) for column in columns.values()} != {len(seen.keypoints)}:
        raise ValueError("The checkpoint has sightings that are not complete.")
    if not all((np.abs(column) < _FARTHEST).all() for column in columns.values()) or (seen.lengths < 1).any():
        raise ValueError("The checkpoint has sightings without a place.")
    if (np.diff(seen.frame) < 0).any() or (np.diff(seen.t_s) < 0).any():
        raise ValueError("The checkpoint has sightings that are not in the order of their frames.")
    return seen


def _chains(rows: NDArray[np.void], born: int, tracks: int, stop: int) -> list[Chain]:
    """Return the chains of a table, linked with each other. stop: number of kept sightings"""
    within = [rows[name] < len(rows) for name in ("before", "beside")]
    within += [rows["number"] < born, rows["track"] <= tracks, rows["first"] <= rows["last"], rows["last"] < stop]
    within += [rows[name] >= 0 for name in ("number", "count", "track")]
    if not np.all(within):
        raise ValueError("The checkpoint has chains that do not fit its sightings.")
    chains = [_chain(row) for row in rows]
    for chain, row in zip(chains, rows, strict=True):
        chain.before = chains[row["before"]] if row["before"] >= 0 else None
        if chain.before is not None and chain.before.number >= chain.number:
            raise ValueError("The checkpoint has chains that continue later ones.")
        if row["has_end"] and row["beside"] >= 0:
            chain.beside = chains[row["beside"]], _end(row["beside_end"])
    return chains


def _chain(row: NDArray[np.void]) -> Chain:
    first, last = (int(row[name]) for name in ("first", "last"))
    first_s, last_s, best_score = (float(row[name]) for name in ("first_s", "last_s", "best_score"))
    chain = Chain(int(row["number"]), first, first_s, last, last_s, int(row["count"]), best_score)
    chain.track, chain.end = int(row["track"]), _end(row["end"]) if row["has_end"] else None
    chain.closed, chain.settled, chain.continued = (bool(row[name]) for name in ("closed", "settled", "continued"))
    return chain


def _take_rows(owner: NDArray[np.int64], done: int, kept: dict[int, Chain]) -> None:
    """Give each chain its rows."""
    if not {*owner[:done].tolist()} <= kept.keys() or (owner[done:] != _NONE).any():
        raise ValueError("The checkpoint has sightings of unknown chains.")
    for row, number in enumerate(owner[:done].tolist()):
        kept[number].rows.append(row)


def _has_its_ends(chain: Chain, t_s: NDArray[np.float64], done: int) -> bool:
    """Return whether the first and the last row of a chain are its own. The last may not be assigned yet."""
    if not chain.rows or chain.last < 0 or chain.last_s != t_s[chain.last]:
        return False
    if chain.first < 0:
        begins = chain.settled and chain.first_s <= t_s[0]
    else:
        begins = chain.first == chain.rows[0] and chain.first_s == t_s[chain.first]
    ends = chain.last == chain.rows[-1] if chain.last < done else not chain.closed
    return bool(begins and ends)


def _encounters(rows: NDArray[np.void], chains: list[Chain], here: range) -> list[Encounter]:
    for name in ("chain", "other"):
        if not ((rows[name] >= 0) & (rows[name] < len(chains))).all():
            raise ValueError("The checkpoint has encounters of unknown chains.")
    if not all(row in here for row in rows["row"].tolist()):
        raise ValueError("The checkpoint has encounters in unknown sightings.")
    return [
        Encounter(chains[row["chain"]], chains[row["other"]], _end(row["other_end"]), _end(row["end"]), int(row["row"]))
        for row in rows
    ]
