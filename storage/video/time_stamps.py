"""Repair of a video's time stamps where they are damaged, and only there. Numbers only: no files, no codec.

A stamp may be missing, equal to another, late, or far ahead; a camera's clock may be set, or restart in the middle.
Frames with sound stamps keep their times to the tick.
"""

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NO_TIME = int(np.iinfo(np.int64).min)
CLOCK_CHANGE = 3.0  # cost in sound stamps: fewer than four in a row are damage, more are another clock
IRREGULAR = 0.05  # cost per e-fold between a step and the usual one: decides only which of two stamps is damaged
MOST_IRREGULAR = 4.0
REACH = 64  # stamps: the longest stretch of damage that is bridged, and the margin around it
USUAL_OF = 33  # steps whose median is the rate before or after a gap
SLOW_STEPS = 10  # usual steps that a gap may always last, for slow cameras
RESUMES = 10  # steps within which a clock that returns to its old count continues from there


class ClockRules(NamedTuple):
    """Ticks of a container's clock. wrap: number after which it restarts, 0 = never; longest_gap: between two frames

    step: from frame to frame where nothing else states it
    """

    wrap: int
    longest_gap: float
    step: float


class ClockChange(NamedTuple):
    """A clock that was set before this frame. ticks: length of the jump beyond one frame's length"""

    frame: int
    ticks: float


class Times(NamedTuple):
    """Times in ticks. ticks: (n,) float64, strictly ascending; repaired: (k,) int64 numbers of repaired frames

    changes: the jumps that were left out
    """

    ticks: NDArray[np.float64]
    repaired: NDArray[np.int64]
    changes: tuple[ClockChange, ...]


class _Chain(NamedTuple):
    """Mutually consistent stamps. at: (k,) frame numbers; stamps: (k,) int64; changed: (k,) bool, a new clock"""

    at: NDArray[np.int64]
    stamps: NDArray[np.int64]
    changed: NDArray[np.bool_]


def repair(stamps: NDArray[np.int64], rules: ClockRules) -> Times:
    """Repair stamps to strictly ascending times of frames in presentation order. stamps: (n,), NO_TIME = missing.

    The interpretation that discards the fewest stamps is used; a change of clock counts as CLOCK_CHANGE discarded
    stamps. Frames without a sound stamp are spaced evenly between their sound neighbours. After a change the clock
    continues from its last time, at the previous rate.
    """
    present = np.flatnonzero(stamps != NO_TIME)
    if not len(present):
        return Times(np.arange(len(stamps)) * rules.step, np.arange(len(stamps)), ())
    found = _unwrap(stamps[present], rules.wrap)
    rules = rules._replace(longest_gap=max(rules.longest_gap, SLOW_STEPS * _usual_step(present, found, rules)))
    if len(present) == len(stamps) and not len(_irregular(found, rules)):
        return Times(found.astype(np.float64), np.empty(0, np.int64), ())
    chain = _sound(present, found, rules)
    placed, changes = _place(chain, rules)
    repaired = np.setdiff1d(np.arange(len(stamps)), chain.at)
    return Times(_fill(chain.at, placed, len(stamps), rules.step), repaired, changes)


def _unwrap(stamps: NDArray[np.int64], wrap: int) -> NDArray[np.int64]:
    """Remove the clock's wrap-around."""
    if not wrap:
        return stamps
    steps = (np.diff(stamps) + wrap // 2) % wrap - wrap // 2
    unwrapped: NDArray[np.int64] = stamps[0] + np.concatenate([np.zeros(1, np.int64), np.cumsum(steps)])
    return unwrapped


def _sound(at: NDArray[np.int64], stamps: NDArray[np.int64], rules: ClockRules) -> _Chain:
    """Find the longest consistent chain of stamps. Only the surroundings of irregular steps are searched."""
    kept, changed = np.ones(len(at), bool), np.zeros(len(at), bool)
    usual = _usual_step(at, stamps, rules)
    for first, last in _islands(_irregular(stamps, rules), len(at)):
        part = slice(first, last)
        chosen, new_clock = _best_chain(at[part], stamps[part], rules, usual, (first == 0, last == len(at)))
        kept[part] = False
        kept[first + chosen] = True
        changed[first + chosen[new_clock]] = True
    return _Chain(at[kept], stamps[kept], changed[kept])


def _irregular(stamps: NDArray[np.int64], rules: ClockRules) -> NDArray[np.int64]:
    """Positions of the stamps after which the clock does not simply continue."""
    steps = np.diff(stamps)
    return np.flatnonzero((steps <= 0) | (steps > rules.longest_gap))


def _islands(irregular: NDArray[np.int64], count: int) -> list[tuple[int, int]]:
    """[first, last) around each irregular step, joined where they meet."""
    if not len(irregular):
        return []
    cuts = np.flatnonzero(np.diff(irregular) > 2 * REACH)
    firsts = np.maximum(irregular[np.concatenate([[0], cuts + 1])] - REACH, 0)
    lasts = np.minimum(irregular[np.concatenate([cuts, [len(irregular) - 1]])] + REACH + 2, count)
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def _usual_step(at: NDArray[np.int64], stamps: NDArray[np.int64], rules: ClockRules) -> float:
    steps = np.diff(stamps) / np.diff(at)
    sound = steps[steps > 0]
    return float(np.quantile(sound, 0.5, method="lower")) if len(sound) else rules.step


def _best_chain(
    at: NDArray[np.int64], stamps: NDArray[np.int64], rules: ClockRules, usual: float, ends: tuple[bool, bool]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Find the cheapest chain: its positions, and a flag for each before which the clock changes.

    ends: true where the first and the last stamps may be discarded; else they are certainly sound
    """
    count = len(at)
    cost, before = np.full(count, np.inf), np.full(count, -1)
    changes = np.zeros(count, bool)
    for here in range(count):
        cost[here] = here if ends[0] or here == 0 else np.inf
        first = max(0, here - REACH)
        if first == here:
            continue
        steps = stamps[here] - stamps[first:here]
        same = (steps > 0) & (steps <= rules.longest_gap)
        pace = np.where(same, steps / (at[here] - at[first:here]), usual)
        price = np.where(same, IRREGULAR * np.minimum(np.abs(np.log(pace / usual)), MOST_IRREGULAR), CLOCK_CHANGE)
        total = cost[first:here] + price + np.arange(here - first - 1, -1, -1)
        best = int(np.argmin(total))
        if total[best] < cost[here]:
            cost[here], before[here], changes[here] = total[best], first + best, not same[best]
    given_up = np.arange(count - 1, -1, -1)
    last = int(np.argmin(cost + given_up)) if ends[1] else count - 1
    chosen = [last]
    while before[chosen[-1]] >= 0:
        chosen.append(int(before[chosen[-1]]))
    found = np.array(chosen[::-1])
    return found, changes[found]


def _place(chain: _Chain, rules: ClockRules) -> tuple[NDArray[np.float64], tuple[ClockChange, ...]]:
    """Place the sound frames on the first frame's clock, in ticks."""
    placed = chain.stamps.astype(np.float64)
    bounds = [*np.flatnonzero(chain.changed).tolist(), len(placed)]
    changes, offsets = [], [0]
    for start, stop in itertools.pairwise(bounds):
        frames = int(chain.at[start] - chain.at[start - 1])
        step = frames * _local_step(chain, start, rules)
        expected, stamp = placed[start - 1] + step, int(chain.stamps[start])
        resumed = [offset for offset in offsets if 0 < stamp + offset - placed[start - 1] <= RESUMES * step]
        offset = resumed[-1] if resumed else round(expected) - stamp
        if stamp + offset <= placed[start - 1]:
            offset += 1  # a step below half a tick
        placed[start:stop] = chain.stamps[start:stop] + offset
        changes.append(ClockChange(int(chain.at[start]), float(stamp - chain.stamps[start - 1] - step)))
        offsets.append(offset)
    return placed, tuple(changes)


def _local_step(chain: _Chain, start: int, rules: ClockRules) -> float:
    """Ticks from frame to frame before a change of clock; after it, where only one frame comes before."""
    boundaries = np.flatnonzero(chain.changed)
    since = int(max(boundaries[boundaries < start], default=0))
    until = int(min(boundaries[boundaries > start], default=len(chain.at)))
    for part in (slice(max(since, start - USUAL_OF), start), slice(start, min(until, start + USUAL_OF))):
        steps = np.diff(chain.stamps[part]) / np.diff(chain.at[part])
        if len(steps):
            return float(np.median(steps))
    return rules.step


def _fill(at: NDArray[np.int64], placed: NDArray[np.float64], count: int, step: float) -> NDArray[np.float64]:
    """Fill in all frames' times: even between sound ones, at the nearest rate before the first and after the last."""
    ticks = np.interp(np.arange(count), at, placed)
    paces = np.diff(placed) / np.diff(at)
    before = float(np.median(paces[:USUAL_OF])) if len(paces) else step
    after = float(np.median(paces[-USUAL_OF:])) if len(paces) else step
    first, last = int(at[0]), int(at[-1])
    ticks[:first] = placed[0] - before * np.arange(first, 0, -1)
    ticks[last + 1 :] = placed[-1] + after * np.arange(1, count - last)
    return ticks
