"""Globs over the keys of an archive, with named parts such as {camera}."""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

MOST_WILDCARDS = 12  # in one pattern
MOST_FREE = 3  # of these, such that multiply the time of a match
NAME = r"\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}"
SUFFIX = re.compile(r"\.(?=[A-Za-z0-9]*[A-Za-z])[A-Za-z0-9]{1,5}$")
_TOKEN = re.compile(
    NAME + r"|\{(?P<either>[^{}/]*,[^{}/]*)\}|\[(?P<set>[^\]/]+)\]|(?P<folders>(?:(?<=/)|^)\*\*/)|(?P<wild>\*\*|[*?])"
)
_WILD = {"**": ".*", "*": "[^/]*?", "?": "[^/]"}


def normal(text: str) -> str:
    """Return a text in Unicode's composed form: file systems store the same name in either form."""
    return unicodedata.normalize("NFC", text)


@cache
def compile_glob(glob: str) -> re.Pattern[str]:
    """Compile a glob over whole keys in their normal form. Raises ValueError.

    `*` and `?` stay within a path element, `**` does not. `{camera}` is a named part of an element, `{a,b}` is either
    text. `[ab]` is one of these characters, or itself, as recorders use brackets in names. The extension may be in
    upper or lower case.
    """
    shown, glob = glob, normal(glob).removeprefix("./").lstrip("/")
    if not glob or glob.endswith("/"):
        glob = f"{glob}**"
    suffix = SUFFIX.search(glob)
    body, end = (glob[: suffix.start()], suffix[0]) if suffix else (glob, "")
    tokens, parts, last = list(_TOKEN.finditer(body)), list[PatternPart](), 0
    for found in tokens:
        parts += [PatternPart(re.escape(body[last : found.start()])), _part(found, tokens)]
        last = found.end()
    parts.append(PatternPart(f"{re.escape(body[last:])}(?i:{re.escape(end)})"))
    return re.compile(join_parts(shown, parts), re.DOTALL)


class PatternPart(NamedTuple):
    """A part of a regular expression.

    wild: matches a text of any length, and whatever follows may begin at its first possible place
    free: likewise, but at any place
    """

    regex: str
    wild: bool = False
    free: bool = False


def join_parts(pattern: str, parts: Sequence[PatternPart]) -> str:
    """Join the parts into one regular expression whose matching takes little time, whatever the text is.

    A wildcard never gives back what it has taken for the fixed parts up to the next wildcard: that one can take more
    instead. Only the last one has to. pattern: as users wrote it. Raises ValueError for many wildcards.
    """
    wild = [number for number, part in enumerate(parts) if part.wild or part.free]
    free = sum(part.free for part in parts)
    if len(wild) > MOST_WILDCARDS or free > MOST_FREE:
        raise ValueError(
            f"The pattern {pattern!r} has {len(wild)} wildcards, {free} of them over several folders or repeated. At "
            f"most {MOST_WILDCARDS} and {MOST_FREE} are allowed: shorten it."
        )
    made, close = "", set[int]()
    for number, part in enumerate(parts):
        made += ")" * (number in close)
        until = next((other for other in wild if other > number), None)
        if part.wild and until is not None:
            made += "(?>"
            close.add(until)
        made += part.regex
    return made


def _part(found: re.Match[str], tokens: list[re.Match[str]]) -> PatternPart:
    if found["name"]:
        return named_part(found, tokens, found["name"], "[^/]+?")
    if found["either"] is not None:
        return PatternPart(f"(?:{'|'.join(map(re.escape, found['either'].split(',')))})")
    if found["set"]:
        return PatternPart(f"(?:{_set(found['set'])}|{re.escape(found[0])})")
    if found["folders"]:
        return PatternPart("(?:.*/)?", free=True)
    return PatternPart(_WILD[found["wild"]], wild=found["wild"] == "*", free=found["wild"] == "**")


def named_part(found: re.Match[str], tokens: list[re.Match[str]], group: str, regex: str) -> PatternPart:
    """Return the part for a name such as {camera}, whose later occurrences repeat the first one's text."""
    same = [token for token in tokens if token["name"] == found["name"]]
    if found is not same[0]:
        return PatternPart(f"(?P={group})")
    return PatternPart(f"(?P<{group}>{regex})", wild=len(same) == 1, free=len(same) > 1)


def _set(signs: str) -> str:
    """Translate the inside of a bracket: characters and ranges such as 0-9, or all others after `!` or `^`."""
    negated = signs[0] in "!^" and len(signs) > 1
    inside = re.sub(r"([\\\[\]&~|^])", r"\\\1", signs[negated:])
    try:
        re.compile(f"[{inside}]")
    except re.error:  # a range such as z-a
        inside = re.escape(signs[negated:])
    return f"[^/{inside}]" if negated else f"[{inside}]"
