"""Markdown for Prefect's pages, in which a name from outside is a name whatever it looks like. Pure text."""

from collections.abc import Mapping, Sequence
from typing import Any

from models.text import visible

SIGNS = "\\`*_[]<>|"


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same columns as a table of markdown, numbers to the right."""
    head = list(rows[0])
    rule = [":--" if isinstance(rows[0][name], str) else "--:" for name in head]
    body = [[cell(row[name]) for name in head] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *body))


def cell(value: Any) -> str:
    """A value in a cell or in a line: never markup, HTML, an entity or a link to write a mail."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return f"{value:,}"
    plain = " ".join(visible(value).split())
    for sign in SIGNS:
        plain = plain.replace(sign, f"\\{sign}")
    return plain.replace("&", "&amp;").replace("@", "&#64;")


def code(text: str) -> str:
    """A text in the type of code, which ends at the next backtick."""
    return f"`{visible(text).replace('`', chr(0x2019))}`"


def visible_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a table artifact, whose cells Prefect shows as they are."""
    return [{name: visible(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows]
