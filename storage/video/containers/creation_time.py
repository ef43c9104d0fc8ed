"""The time at which a container claims that it was made, from the texts that FFmpeg returns for its header."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone

UTC = timezone.utc  # noqa: UP017 - workers with a stick have Python 3.10
EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
# Fields that were never filled in: Matroska counts from 2001, FAT from 1980, and MP4 with 32 bits from 1904.
NEVER_SET = frozenset(
    {
        datetime(2001, 1, 1, tzinfo=UTC),
        datetime(1980, 1, 1, tzinfo=UTC),
        datetime(2040, 2, 6, 6, 28, 15, tzinfo=UTC),
    }
)
TAGS = ("creation_time", "com.apple.quicktime.creationdate", "date")
_MOST_CHARS = 64
_TIME = re.compile(
    r"(\d{4})[-:/](\d\d)[-:/](\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?\s?(?:(Z|UTC)|([+-])(\d\d):?(\d\d))?",
    re.ASCII,
)


def creation_time(headers: Iterable[Mapping[str, str]]) -> datetime | None:
    """Return the first usable time in the tags of a container and its streams, in this order; None = there is none.

    A time without a zone is read as UTC. One that was never set, or is before 1971 or after 2199, is none.
    """
    for tags in headers:
        lower = {name.lower(): text for name, text in tags.items()}
        for tag in TAGS:
            found = _parse(lower.get(tag, ""))
            if found is not None:
                return found
    return None


def _parse(text: str) -> datetime | None:
    found = _TIME.fullmatch(text.strip()) if len(text) <= _MOST_CHARS else None
    if found is None:
        return None
    *numbers, fraction, _, sign, hours, minutes = found.groups()
    year, month, day, hour, minute, second = map(int, numbers)
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
    try:
        micros = int((fraction or "").ljust(6, "0")[:6])
        time = datetime(year, month, day, hour, minute, second, micros, tzinfo=timezone(offset)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return time if EARLIEST <= time < LATEST and time not in NEVER_SET else None
