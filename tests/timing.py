"""Time that a call takes, measured so that a busy machine does not fail a test.

Tests assert ratios of two calls, or limits ten times above the target; docs/benchmarks.md has the speeds themselves.
"""

from collections.abc import Callable
from time import thread_time


def least_cpu_s(call: Callable[[], object], rounds: int) -> float:
    """The fewest seconds of CPU time that this thread needed for one call. Other processes slow a round, but rarely
    all of them."""
    return min(_cpu_s(call) for _ in range(rounds))


def times_as_fast(fast: Callable[[], object], slow: Callable[[], object], rounds: int = 5) -> float:
    """The ratio of the CPU time of `slow` to that of `fast`, both measured in turns."""
    pairs = [(least_cpu_s(fast, 20), least_cpu_s(slow, 1)) for _ in range(rounds)]
    fast_s, slow_s = (min(seconds) for seconds in zip(*pairs, strict=True))
    return slow_s / fast_s


def _cpu_s(call: Callable[[], object]) -> float:
    begun = thread_time()
    call()
    return thread_time() - begun
