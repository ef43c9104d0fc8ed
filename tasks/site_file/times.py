"""Times in names and paths: patterns like those of strptime, with wildcards and named parts such as {camera}."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import cache, partial
from types import MappingProxyType
from typing import NamedTuple

from tasks.site_file.globs import NAME, SUFFIX, PatternPart, join_parts, named_part, normal
from tasks.text.wording import nearest

PIVOT = 69  # years of two digits are 1969 to 2068, as in POSIX
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    "|nov(?:ember)?|dec(?:ember)?"
)
TWO_DIGITS = frozenset("ymdHIMS")
DIGITS = MappingProxyType({"Y": "4", "j": "3", "f": "1,9", "s": "9,10", "Q": "12,13"})
WORDS = MappingProxyType({"b": _MONTH, "p": r"[ap]\.?m\.?", "z": "Z|[+-][0-9]{2}:?[0-9]{2}", "Z": "[a-z]{3,5}"})
SHORT = MappingProxyType({"%F": "%Y-%m-%d", "%T": "%H:%M:%S", "%B": "%b"})
DIRECTIVES = (*"YymdjbHIpMSfzZsQ", "B", "F", "T")
_TOKEN = re.compile(rf"%(?P<code>.?)|{NAME}|(?P<folders>\*\*/)|(?P<wild>\*\*|[*?])|(?P<text>.)", re.DOTALL)
_WILD = MappingProxyType({"**": ".*?", "*": "[^/]*?", "?": "[^/]"})
_ELEMENT_STARTS, _ELEMENT_ENDS = "(?<![^/])", "(?![^/])"


class Reading(NamedTuple):
    """A time that a text contains.

    text: the part that was read
    local: without a zone; None where `instant` is known
    instant: with its zone, from an offset or from seconds since 1970
    zone_name: such as CEST, or DST; "" where the text has none
    names: values of the named parts
    """

    text: str
    local: datetime | None
    instant: datetime | None
    zone_name: str
    names: dict[str, str]


class NoTimeError(ValueError):
    """A text without a time, or with an impossible one. The message is the reason for users, without a full stop."""


class ImpossibleTimeError(ValueError):
    """Numbers that no clock and no calendar have."""


class MismatchError(NoTimeError):
    """A text that a pattern does not match."""


@dataclass(frozen=True)
class TimePattern:
    """A compiled pattern. codes: the directives that it contains; names: its named parts"""

    text: str
    regex: re.Pattern[str]
    codes: frozenset[str]
    names: frozenset[str]

    def read(self, key: str, *, last: bool = False) -> Reading:
        """Read the first possible time in a name or path, or the last one. Raises NoTimeError.

        The extension is left out, unless the pattern contains it.
        """
        key = normal(key)
        found = [*self.regex.finditer(SUFFIX.sub("", key))] or [*self.regex.finditer(key)]
        if not found:
            raise MismatchError(f"does not match the pattern {self.text!r}")
        impossible: ValueError | None = None
        for match in reversed(found) if last else found:
            try:
                return _reading(match)
            except (ValueError, OverflowError) as error:
                impossible = impossible or ValueError(str(error))
        raise NoTimeError(f"has {found[0][0]!r} for the pattern {self.text!r}, which is no time: {impossible}")


@cache
def compile_time(pattern: str) -> TimePattern:
    """Compile a pattern. Raises ValueError for an unknown directive, or where the date or the hour is missing.

    Directives: those of strptime that are numbers, %b, %B and %p in English, %z and %Z, %F and %T, %s for seconds and
    %Q for milliseconds since 1970. `^` at the beginning and `$` at the end anchor the pattern to a path element.
    """
    text = normal(pattern)
    for short, long in SHORT.items():
        text = re.sub(rf"(?<!%)((?:%%)*){short}", rf"\1{long}", text)
    starts, ends = text.startswith("^"), text.endswith("$")
    tokens = list(_TOKEN.finditer(text[starts : len(text) - ends or None]))
    codes = frozenset(token["code"] for token in tokens if token["code"] and token["code"] != "%")
    _refuse_codes(pattern, codes, any(token["code"] == "" for token in tokens))
    _refuse_gaps(pattern, codes)
    regex = f"{_ELEMENT_STARTS if starts else ''}{join_parts(pattern, _parts(tokens, ends))}"
    return TimePattern(pattern, re.compile(regex, re.IGNORECASE | re.DOTALL), codes, _names(tokens))


def _names(tokens: list[re.Match[str]]) -> frozenset[str]:
    return frozenset(token["name"] for token in tokens if token["name"])


def _parts(tokens: list[re.Match[str]], ends: bool) -> list[PatternPart]:
    """Translate the tokens. Of a directive that occurs twice, the last one counts; a named part has one value."""
    made = []
    counts = {token["code"]: number for number, token in enumerate(tokens)}
    for number, token in enumerate(tokens):
        before = tokens[number - 1] if number else None
        after = tokens[number + 1] if number + 1 < len(tokens) else None
        if token["code"] and token["code"] != "%":
            made.append(PatternPart(_directive(token["code"], before, after, captured=counts[token["code"]] == number)))
        else:
            made.append(_part(token, tokens))
    return [*made, PatternPart(_ELEMENT_ENDS if ends else "")]


def _part(token: re.Match[str], tokens: list[re.Match[str]]) -> PatternPart:
    if token["code"]:
        return PatternPart(re.escape("%"))
    if token["name"]:
        regex = "[^/]+" if token is tokens[-1] else "[^/]+?"  # the last one takes the rest of its element
        return named_part(token, tokens, f"name_{token['name']}", regex)
    if token["folders"]:
        return PatternPart("(?:.*?/)?", free=True)
    if token["wild"]:
        return PatternPart(_WILD[token["wild"]], wild=token["wild"] == "*", free=token["wild"] == "**")
    return PatternPart(re.escape(token["text"]))


def _directive(code: str, before: re.Match[str] | None, after: re.Match[str] | None, *, captured: bool) -> str:
    """Translate a directive. A number next to another one has all its digits; else it may lack a leading zero.

    A number begins and ends where the digits do.
    """
    name = f"?P<code_{code}>" if captured else "?:"
    if code in WORDS:
        return f"({name}{WORDS[code]})"
    left, right = _continues(before), _continues(after)
    digits = DIGITS.get(code) or ("2" if left or right or _is_any(before) else "1,2")
    begins = "" if left or _is_any(before) else "(?<![0-9])"
    return f"{begins}({name}[0-9]{{{digits}}}){'' if right or _is_any(after) else '(?![0-9])'}"


def _continues(token: re.Match[str] | None) -> bool:
    """Return whether a neighbour is a number, too, or a literal digit."""
    if token is None:
        return False
    return token["code"] in TWO_DIGITS | DIGITS.keys() if token["code"] else (token["text"] or "").isdigit()


def _is_any(token: re.Match[str] | None) -> bool:
    """Return whether a neighbour is `?`, which may be a digit."""
    return token is not None and token["wild"] == "?"


def _refuse_codes(pattern: str, codes: frozenset[str], open_end: bool) -> None:
    unknown = sorted(codes - set(DIRECTIVES))
    if open_end or unknown:
        shown = f"%{unknown[0]}" if unknown else "%"
        meant = nearest(unknown[0], DIRECTIVES) if unknown else None
        known = " ".join(f"%{code}" for code in DIRECTIVES)
        remedy = f"Did you mean '%{meant}'?" if meant else f"Use these: {known}; %% is a percent sign."
        raise ValueError(f"The pattern {pattern!r} contains {shown!r}, which is not known. {remedy}")


def _refuse_gaps(pattern: str, codes: frozenset[str]) -> None:
    """Refuse a pattern that leaves the date, the hour or the half of the day open."""
    if codes & {"s", "Q"}:
        return
    day = "j" in codes or ("d" in codes and bool(codes & {"m", "b"}))
    hour = "H" in codes or {"I", "p"} <= codes
    missing = [
        "" if codes & {"Y", "y"} else "a year (%Y)",
        "" if day else "a month and a day (%m, %d)",
        "" if hour else "the half of the day (%p)" if "I" in codes else "an hour (%H)",
        "minutes (%M)" if "S" in codes and "M" not in codes else "",
    ]
    if any(missing):
        raise ValueError(f"The pattern {pattern!r} lacks {', '.join(filter(None, missing))}. Complete it.")


def _reading(match: re.Match[str]) -> Reading:
    """Convert a match. Raises ValueError or OverflowError for an impossible time."""
    groups = {name: value for name, value in match.groupdict().items() if value is not None}
    codes = {name.removeprefix("code_"): value for name, value in groups.items() if name.startswith("code_")}
    names = {name.removeprefix("name_"): value for name, value in groups.items() if name.startswith("name_")}
    make = partial(Reading, match[0], names=names)
    fraction = timedelta(microseconds=int(codes.get("f", "0").ljust(6, "0")[:6]))
    if "s" in codes or "Q" in codes:
        since = timedelta(seconds=int(codes["s"])) if "s" in codes else timedelta(milliseconds=int(codes["Q"]))
        return make(None, datetime(1970, 1, 1, tzinfo=UTC) + since + fraction, "")
    local = _date(codes) + _time_of_day(codes) + fraction
    zone_name = codes.get("Z", "").upper()
    if "z" in codes or zone_name in ("UTC", "GMT"):
        return make(None, local.replace(tzinfo=_offset(codes.get("z", "Z"))), "")
    return make(local, None, zone_name)


def _date(codes: dict[str, str]) -> datetime:
    short = int(codes.get("y", "0"))
    year = int(codes["Y"]) if "Y" in codes else short + (1900 if short >= PIVOT else 2000)
    if "j" in codes:
        day = datetime(year, 1, 1) + timedelta(days=int(codes["j"]) - 1)
        if day.year != year:
            raise ImpossibleTimeError(f"the year has no day {codes['j']}")
        return day
    month = MONTHS.index(codes["b"][:3].lower()) + 1 if "b" in codes else int(codes["m"])
    return datetime(year, month, int(codes["d"]))


def _time_of_day(codes: dict[str, str]) -> timedelta:
    hour, minute, second = (int(codes.get(code, "0")) for code in ("H", "M", "S"))
    if "H" not in codes:
        hour = int(codes["I"])
        if not 1 <= hour <= 12:
            raise ImpossibleTimeError("hour must be in 1..12")
        hour = hour % 12 + (12 if codes["p"][0] in "pP" else 0)
    if hour > 23 or minute > 59 or second > 60:  # 60: a leap second
        raise ImpossibleTimeError(f"the day has no {hour:02d}:{minute:02d}:{second:02d}")
    return timedelta(hours=hour, minutes=minute, seconds=second)


def _offset(text: str) -> timezone:
    if text in "Zz":
        return UTC
    hours, minutes = int(text[1:3]), int(text[-2:])
    return timezone((-1 if text[0] == "-" else 1) * timedelta(hours=hours, minutes=minutes))
