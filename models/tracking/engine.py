"""The stages of tracking over a stream of sightings. No poses, no files: boxes or people."""

import math
from bisect import bisect_left, bisect_right
from dataclasses import replace
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from models.tracking.affinity import End, end_at, misfit
from models.tracking.chains import Chain, Encounter, assign, runs
from models.tracking.links import room, sure_links
from models.tracking.memory import Memory
from models.tracking.params import TrackParams
from models.tracking.rejoin import rejoin
from models.tracking.types import Columns, Rows, Sightings

Numbers = NDArray[np.int32]

_BLOCK = 8192  # sightings that are worth a round
_SHORT_GAP_FRAMES = 2.5
_LOOK_AHEAD_FRAMES = 5
_BESIDE = 0.6  # body lengths between two people of whom one may hide the other
_LEAST_GAIN = 2.0  # of a logarithm of a likelihood, for an exchange
_JUDGED_S = 1.0  # after an encounter, at most
_LATEST_S = 1e12  # 30,000 years: no time of a recording
_NONE = -1


class Engine:
    """Sightings in, numbers of tracks out, in the same order.

    Nothing here depends on how the sightings are cut: all decisions are made in the order of the frames, each from
    sightings within fixed times around it.
    """

    def __init__(
        self, params: TrackParams, size: tuple[int, int], frame_s: float | None, memory: Memory | None = None
    ) -> None:
        step = frame_s or 0.0
        self._params, self._size = params, size
        self._short_s = max(params.short_gap_s, _SHORT_GAP_FRAMES * step)
        self._look_s = max(params.look_ahead_s, self._short_s, _LOOK_AHEAD_FRAMES * step)
        self._velocity_s = max(params.velocity_s, _SHORT_GAP_FRAMES * step)
        self._longest_s = max(params.max_gap_s, self._short_s)
        self._kept_s = self._longest_s + self._velocity_s + self._short_s + 3 * self._look_s
        self._plain = Columns([], [], [], [], [], [], [], [])
        self.memory = memory or Memory()

    def push(self, seen: Sightings) -> Numbers:
        """Add the sightings of later frames. Returns the numbers that are final now, of the next sightings."""
        if len(seen):
            self.memory.new.append(self._on_one_clock(seen))
        if sum(map(len, self.memory.new)) < _BLOCK:
            return np.empty(0, np.int32)
        return self._round(last=False)

    def flush(self) -> Numbers:
        """Return all numbers that are final now."""
        return self._round(last=False) if self.memory.new else np.empty(0, np.int32)

    def finish(self) -> Numbers:
        """Return the numbers of the remaining sightings."""
        return self._round(last=True)

    def _on_one_clock(self, seen: Sightings) -> Sightings:
        """Let no time be earlier than the one before it. A time that is not a number is that before it."""
        known = np.where(np.abs(seen.t_s) < _LATEST_S, seen.t_s, np.nan)
        start = self.memory.clock_s if self.memory.clock_s is not None else np.nan_to_num(known[0])
        clock = np.fmax.accumulate(np.fmax(known, start))
        self.memory.clock_s = float(clock[-1])
        return replace(seen, t_s=clock)

    def _round(self, last: bool) -> Numbers:
        seen = self._take()
        if seen is None:
            return np.empty(0, np.int32)
        stop = len(seen) if last else _first_of_frame(seen, seen.t_s[-1] - self._look_s)
        self._plain = _plain(seen)
        if stop > self.memory.done:
            self._associate(seen, sure_links(seen, self._params, self._short_s), stop)
        if last:
            self._mend(len(seen), last)
        self._settle(last)
        numbers = self._give(len(seen))
        self._drop(seen)
        return numbers

    def _take(self) -> Sightings | None:
        """Put the new sightings behind the kept ones."""
        memory = self.memory
        seen = memory.all_seen()
        if seen is not None:
            unassigned = np.full(len(seen) - len(memory.owner), _NONE, np.int64)
            memory.owner = np.concatenate([memory.owner, unassigned])
        memory.seen, memory.new = seen, []
        return seen

    def _associate(self, seen: Sightings, successor: Rows, stop: int) -> None:
        """Assign the sightings up to `stop` to chains."""
        memory = self.memory
        earlier = np.flatnonzero(successor[: memory.done] >= memory.done)
        predecessor = dict(zip(successor[earlier].tolist(), earlier.tolist(), strict=True))
        starts: list[list[int]] = []
        for rows in runs(successor.tolist(), memory.done):
            if rows[0] >= stop:
                break
            if rows[0] in predecessor:
                self._extend(memory.chains[memory.owner.item(predecessor[rows[0]])], rows, stop)
            else:
                starts.append(rows)
        for together in self._by_frame(starts):
            self._appear(seen, together, stop)
        self._mend(stop)
        memory.done = stop

    def _by_frame(self, starts: list[list[int]]) -> list[list[list[int]]]:
        """Group runs by the frame of their first row, ascending."""
        groups: dict[int, list[list[int]]] = {}
        for rows in starts:
            groups.setdefault(self._plain.first[rows[0]], []).append(rows)
        return [groups[first] for first in sorted(groups)]

    def _extend(self, chain: Chain, rows: list[int], stop: int) -> None:
        now = rows[: bisect_left(rows, stop)]
        self.memory.owner[now] = chain.number
        chain.rows += now
        chain.last, chain.last_s = rows[-1], self._plain.t_s[rows[-1]]
        chain.end = chain.beside = None
        chain.count += len(now)
        chain.best_score = max(chain.best_score, max(self._plain.scores[row] for row in now))

    def _appear(self, seen: Sightings, starts: list[list[int]], stop: int) -> None:
        """Continue chains by the runs that start in one frame, the surer ones first, and begin chains for the rest."""
        first, now_s = self._plain.first[starts[0][0]], self._plain.t_s[starts[0][0]]
        self._mend(first)
        self._close(now_s)
        lost = [chain for chain in self.memory.open_chains() if chain.last < first]
        continued: dict[int, Chain] = {}
        for some in self._by_score(starts) if lost else ():
            ends = [self._end_of(chain) for chain in lost] if some else []
            found = assign(seen, self._plain, ends, some, self._params)
            continued.update({some[column]: lost[row] for row, column in found})
            taken = {row for row, _ in found}
            lost = [chain for index, chain in enumerate(lost) if index not in taken]
        self.memory.encounters += [
            Encounter(chain, *chain.beside, chain.end, row)
            for row, chain in sorted(continued.items())
            if chain.beside is not None and chain.end is not None
        ]
        for rows in starts:
            self._extend(continued.get(rows[0]) or self._begin(rows[0]), rows, stop)

    def _mend(self, stop: int, last: bool = False) -> None:
        """Exchange people who were seen as one for a while, if each goes on as the other did before.

        stop: sightings before it are assigned. An encounter is judged some time after it, where the two are apart.
        """
        plain, encounters = self._plain, self.memory.encounters
        if not encounters or not stop:
            return
        judged_s = np.inf if last else plain.t_s[stop - 1] - _JUDGED_S
        while encounters and plain.t_s[encounters[0].row] <= judged_s:
            one = encounters.pop(0)
            apart = self._apart(one, stop)
            if apart is None:
                continue
            mine, others = apart
            keep = misfit(plain, one.end, mine) + misfit(plain, one.other_end, others)
            exchange = misfit(plain, one.end, others) + misfit(plain, one.other_end, mine)
            if keep - exchange >= _LEAST_GAIN:
                self._exchange(one)

    def _apart(self, one: Encounter, stop: int) -> tuple[int, int] | None:
        """Return the rows of both people in the first frame after the encounter in which they are apart."""
        plain, until_s = self._plain, self._plain.t_s[one.row] + _JUDGED_S
        others = {plain.first[row]: row for row in self._rows(one.other, one.row, until_s) if row < stop}
        for mine in self._rows(one.chain, one.row, until_s):
            row = others.get(plain.first[mine])
            if mine < stop and row is not None and self._is_apart(mine, row):
                return mine, row
        return None

    def _rows(self, chain: Chain, row: int, until_s: float) -> list[int]:
        """Return the rows of a chain from the frame of `row` to a time."""
        first = bisect_left(chain.rows, self._plain.first[row])
        return chain.rows[first : bisect_right(chain.rows, until_s, lo=first, key=self._plain.t_s.__getitem__)]

    def _is_apart(self, row: int, other: int) -> bool:
        plain = self._plain
        x, y = plain.x[row] - plain.x[other], plain.y[row] - plain.y[other]
        least = _BESIDE * max(plain.lengths[row], plain.lengths[other])
        return x * x + y * y >= least * least

    def _exchange(self, one: Encounter) -> None:
        """Exchange the sightings of two chains from the end of their encounter on."""
        memory, a, b = self.memory, one.chain, one.other
        first = self._plain.first[one.row]
        mine, others = (chain.rows[bisect_left(chain.rows, first) :] for chain in (a, b))
        memory.owner[mine], memory.owner[others] = b.number, a.number
        for chain, old, new in ((a, mine, others), (b, others, mine)):
            chain.rows = chain.rows[: len(chain.rows) - len(old)] + new
            chain.count += len(new) - len(old)
            chain.best_score = max([chain.best_score, *(self._plain.scores[row] for row in new)])
        a.last, b.last, a.last_s, b.last_s = b.last, a.last, b.last_s, a.last_s
        a.closed, b.closed = b.closed, a.closed
        a.end = b.end = a.beside = b.beside = None

    def _begin(self, row: int) -> Chain:
        at_s = self._plain.t_s[row]
        chain = Chain(self.memory.born, row, at_s, row, at_s)
        self.memory.chains[chain.number] = chain
        self.memory.born += 1
        return chain

    def _close(self, now_s: float) -> None:
        for chain in self.memory.open_chains():
            chain.closed = now_s - chain.last_s > self._short_s

    def _by_score(self, starts: list[list[int]]) -> tuple[list[int], list[int]]:
        """Return the first rows of the runs with a high score soon, and those of the others."""
        high = [rows[0] for rows in starts if self._is_sure(rows)]
        return high, [rows[0] for rows in starts if rows[0] not in high]

    def _is_sure(self, rows: list[int]) -> bool:
        plain, until_s = self._plain, self._plain.t_s[rows[0]] + self._look_s
        soon = takewhile(lambda row: plain.t_s[row] <= until_s, rows)
        return any(plain.scores[row] >= self._params.start_score for row in soon)

    def _end_of(self, chain: Chain) -> End:
        if chain.end is None:
            if chain.rows[-1:] != [chain.last]:
                raise ValueError("A chain ends elsewhere than its sightings: its checkpoint is wrong.")
            chain.end = self._end_at(chain, chain.last)
            chain.beside = self._beside(chain.last)
        return chain.end._replace(row=chain.last)

    def _end_at(self, chain: Chain, row: int) -> End:
        """Return the end of a chain as it was at one of its rows."""
        since_s = self._plain.t_s[row] - self._velocity_s
        first = bisect_left(chain.rows, since_s, key=self._plain.t_s.__getitem__)
        return end_at(self._plain, chain.rows[first : bisect_right(chain.rows, row)], row)

    def _beside(self, row: int) -> tuple[Chain, End] | None:
        """Return the nearest person of the frame in which a chain ended, if near enough to hide its person."""
        plain, owner = self._plain, self.memory.owner
        if plain.room[row] > _BESIDE:
            return None
        others = [at for at in range(plain.first[row], plain.after[row]) if at != row and owner.item(at) >= 0]
        if not others:
            return None
        nearest = min(others, key=lambda at: math.hypot(plain.x[at] - plain.x[row], plain.y[at] - plain.y[row]))
        other = self.memory.chains[owner.item(nearest)]
        return other, self._end_at(other, nearest)

    def _begin_of(self, chain: Chain) -> End:
        return end_at(self._plain, self._rows(chain, chain.first, chain.first_s + self._velocity_s), chain.first)

    def _settle(self, last: bool) -> None:
        """Decide which chains continue earlier ones, in the order of their first rows."""
        done = self.memory.done
        now_s = np.inf if last else self._plain.t_s[done - 1] if done else -np.inf
        self._close(now_s)
        for chain in self.memory.chains.values():
            if chain.settled:
                continue
            if now_s - chain.first_s < 2 * self._look_s + self._short_s:
                return
            self._settle_one(chain)

    def _settle_one(self, chain: Chain) -> None:
        chain.settled = True
        ended = [
            one
            for one in self.memory.chains.values()
            if one.closed
            and not one.continued
            and one.last < chain.first
            and chain.first_s - one.last_s <= self._longest_s
            and one.holds(self._params)
        ]
        if not ended or not self._is_mature(chain):
            return
        latest_s = chain.first_s + self._look_s
        rivals = [
            one
            for one in self.memory.chains.values()
            if not one.settled and one.first_s <= latest_s and self._is_mature(one)
        ]
        ends = [self._end_of(one) for one in ended]
        starts = [self._begin_of(one) for one in (chain, *rivals)]
        index = rejoin(ends, starts, self._params, self._size)
        if index is not None:
            chain.before, ended[index].continued = ended[index], True

    def _is_mature(self, chain: Chain) -> bool:
        """Return whether the chain has enough sightings soon after its start to be joined to another."""
        return len(self._rows(chain, chain.first, chain.first_s + self._look_s)) >= self._params.min_rows

    def _give(self, sightings: int) -> Numbers:
        """Return the numbers of the sightings before the first whose chain is not decided."""
        memory = self.memory
        undecided = [chain.first for chain in memory.chains.values() if not chain.decided(self._params)]
        stop = min([memory.done, *undecided, *(one.row for one in memory.encounters)])
        stop = max(self._plain.first[stop] if stop < sightings else stop, memory.given)
        numbers = np.zeros(stop - memory.given, np.int32)
        for chain in memory.chains.values():
            mine = chain.rows[bisect_left(chain.rows, memory.given) : bisect_left(chain.rows, stop)]
            if mine:
                numbers[np.array(mine) - memory.given] = self._number(chain)
        memory.given = stop
        return numbers

    def _number(self, chain: Chain) -> int:
        if not chain.holds(self._params):
            return 0
        if not chain.track and chain.before is not None:
            chain.track = self._number(chain.before)
        if not chain.track:
            self.memory.tracks += 1
            chain.track = self.memory.tracks
        chain.before = None
        return chain.track

    def _drop(self, seen: Sightings) -> None:
        """Forget what no later decision needs."""
        memory = self.memory
        if memory.done:
            oldest_s = self._plain.t_s[memory.done - 1] - self._kept_s
            memory.drop(seen, min(memory.given, int(np.searchsorted(seen.t_s, oldest_s))))


def _plain(seen: Sightings) -> Columns:
    columns = (seen.t_s, seen.centres[:, 0], seen.centres[:, 1], seen.lengths, seen.scores)
    sides = (np.searchsorted(seen.frame, seen.frame, side=side) for side in ("left", "right"))
    return Columns(*(column.tolist() for column in (*columns, *sides, room(seen))))


def _first_of_frame(seen: Sightings, before_s: float) -> int:
    """Return the row where the first frame at or after a time begins."""
    return int(np.searchsorted(seen.t_s, before_s, side="left"))
