"""Markdown for Prefect's UI, with names from outside escaped. Pure text.

Prefect's UI also renders descriptions and the cells of table artifacts as Markdown. It supports only a few character
references, so that a backslash is the only escape that always works.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from models.text import visible

_SIGNS = re.compile(r"[\\`*_\[\]<>|~&@#]")
_LINKS = re.compile(r"(?:ftp|https?)(?=://)|www(?=\.)", re.IGNORECASE)  # become links without any markup
_IN_ADDRESSES = ":/?#@!$&*+,;=%~'"  # as they are; parentheses, quotes and blanks would end a link
_PARENTHESES = re.compile(r"[()]")
_BLOCKS = re.compile(r"^(?:(?=[-+=])|\d{1,9}(?=[.)](?:\s|$)))")  # rules and lists


class Link(NamedTuple):
    """A text, from outside or not, that opens an address of ours."""

    text: str
    url: str


def link(text: str, url: str) -> str:
    """Format a link. The address cannot end before its end, and the text creates no other markup.

    A text without any visible character is shown as the address. Prefect's UI takes the backslashes off brackets in the
    text of a link and then reads it again, so that parentheses have to be escaped, too.
    """
    shown = _PARENTHESES.sub(r"\\\g<0>", _inline(text) or _inline(url))
    return f"[{shown}]({quote(url, safe=_IN_ADDRESSES)})"


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format rows with the same columns as a Markdown table, numbers right-aligned."""
    head = list(rows[0])
    rule = [":--" if isinstance(rows[0][name], str | Link) else "--:" for name in head]
    body = [[cell(row[name]) for name in head] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (list(map(cell, head)), rule, *body))


def cell(value: Any) -> str:
    """Escape a value for a cell, a line or a block, so that it creates no markup, HTML, reference or link.

    Only a Link becomes a link.
    """
    if value is None:
        return ""
    if isinstance(value, Link):
        return link(*value)
    if not isinstance(value, str):
        return f"{value:,}"
    return _BLOCKS.sub(r"\g<0>\\", _inline(value))


def _inline(text: str) -> str:
    """Escape everything that is markup inside of a line."""
    plain = " ".join(visible(text).split())
    return _LINKS.sub(r"\g<0>\\", _SIGNS.sub(r"\\\g<0>", plain))


def code(text: str) -> str:
    """Format a text as code, which ends at the next backtick."""
    return f"`{visible(text).replace('`', chr(0x2019))}`"


def table_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of a table artifact. Numbers stay numbers, so that the UI can sort by them."""
    return [
        {name: cell(value) if isinstance(value, str | Link) else value for name, value in row.items()} for row in rows
    ]
