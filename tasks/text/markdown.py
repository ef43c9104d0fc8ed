"""Markdown for Prefect's UI, with names from outside escaped. Pure text.

Prefect's UI also renders descriptions and the cells of table artifacts as Markdown. It supports only a few character
references, so that a backslash is the only escape that always works.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from models.text import visible

_SIGNS = re.compile(r"[\\`*_\[\]<>|~&@#]")
_LINKS = re.compile(r"(?:ftp|https?)(?=://)|www(?=\.)", re.IGNORECASE)  # become links without any markup
_BLOCKS = re.compile(r"^(?:(?=[-+=])|\d{1,9}(?=[.)](?:\s|$)))")  # rules and lists


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format rows with the same columns as a Markdown table, numbers right-aligned."""
    head = list(rows[0])
    rule = [":--" if isinstance(rows[0][name], str) else "--:" for name in head]
    body = [[cell(row[name]) for name in head] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (list(map(cell, head)), rule, *body))


def cell(value: Any) -> str:
    """Escape a value for a cell, a line or a block, so that it creates no markup, HTML, reference or link."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return f"{value:,}"
    plain = " ".join(visible(value).split())
    return _BLOCKS.sub(r"\g<0>\\", _LINKS.sub(r"\g<0>\\", _SIGNS.sub(r"\\\g<0>", plain)))


def code(text: str) -> str:
    """Format a text as code, which ends at the next backtick."""
    return f"`{visible(text).replace('`', chr(0x2019))}`"


def table_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of a table artifact. Numbers stay numbers, so that the UI can sort by them."""
    return [{name: cell(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows]
