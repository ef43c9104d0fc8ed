"""Formats of numbers and times for reports and logs, and the closest known name. Pure text."""

import difflib
from collections.abc import Iterable
from datetime import datetime, tzinfo

ALIKE = 0.7  # difflib's ratio: a swapped, missing or added letter or two, not another word


def duration(seconds: float) -> str:
    """Format a duration for people: 48 s, 12 min 30 s, 2 h 40 min."""
    if seconds < 59.5:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    if seconds < 3599.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def deviation(took_s: float, estimated_s: float) -> str:
    """Format the error of an estimate: `7 % longer than estimated`."""
    ratio = took_s / estimated_s
    if ratio >= 2:
        return f"{ratio:.1f} times as long as estimated"
    percent = round(100 * abs(ratio - 1))
    return f"{percent} % {'longer' if ratio > 1 else 'shorter'} than estimated" if percent else "as long as estimated"


def count(number: int, thing: str, things: str | None = None) -> str:
    """Format a number with its noun: 1 segment, 1,200 segments. things: a plural with other letters than an added s"""
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"


def file_size(size_bytes: int) -> str:
    """Format a size: 3.4 MB."""
    return f"{size_bytes / 1e9:,.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:,.1f} MB"


def rate(frames_per_s: float) -> str:
    return f"{frames_per_s:,.0f} frames/s" if frames_per_s >= 99.95 else f"{frames_per_s:.1f} frames/s"


def clock(at: datetime, zone: tzinfo) -> str:
    """Format hour and minute in this zone: `03:12 CEST`."""
    return f"{at.astimezone(zone):%H:%M %Z}"


def day_and_clock(at: datetime, zone: tzinfo) -> str:
    """Format date, hour and minute in this zone: `2026-11-24 03:12 CET`."""
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M %Z}"


def film_clock(second: float) -> str:
    """Format a position in a video as a player shows it: `1:02:03`, `4:05`."""
    minutes, seconds = divmod(int(second), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def change(now: float, before: float) -> str:
    """Format a change in percent of the former value: `+12 %`, `-5 %`, `unchanged`."""
    if not before:
        return "none before" if now else "unchanged"
    percent = round(100 * (now / before - 1))
    return f"{percent:+d} %" if percent else "unchanged"


def kind(device: str) -> str:
    """Return a device's kind from its full name: `CPU` of `CPU (Intel Xeon …)`, `MYRIAD` of `MYRIAD.1.2-ma2480`."""
    return device.split(" ")[0].split(".")[0].split(":")[0]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the closest known name, ignoring case; None if none is close."""
    by_folded = {each.casefold(): each for each in known}
    folded = name.casefold()
    # difflib finds '0_00' and '0000' unlike, as it takes the longest equal part first.
    found = difflib.get_close_matches(folded, by_folded, n=1, cutoff=ALIKE) or sorted(
        (each for each in by_folded if _equal_places(folded, each) >= ALIKE),
        key=lambda each: _equal_places(folded, each),
    )
    return by_folded[found[-1]] if found else None


def _equal_places(one: str, other: str) -> float:
    """Return the share of places with the same character."""
    return sum(a == b for a, b in zip(one, other, strict=False)) / max(len(one), len(other), 1)


def capitalized(line: str) -> str:
    """Return the line with an initial capital, as the beginning of a sentence. The rest stays."""
    return line[:1].upper() + line[1:]
