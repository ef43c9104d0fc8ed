"""A user's request about the intervals of a classifier. Light: the command line imports it."""

from typing import NamedTuple


class IntervalRequest(NamedTuple):
    """Values of `nightjar intervals`. enter, leave: None = not given; label: empty = the model's second"""

    label: str = ""
    enter: float | None = None
    leave: float | None = None
    min_duration_s: float = 0.0
    off: bool = False
