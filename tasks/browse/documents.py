"""Ready queries and the meaning of tables and columns, from the documents that describe them to users."""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[2] / "docs"
QUERY = re.compile(r"((?:[^\n]+\n)+)\n```sql\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
SECTION = re.compile(r"^### (\w+)$", re.MULTILINE)
ROW = re.compile(r"^\| ([^|]+) \| (.*) \|$", re.MULTILINE)


class ReadyQuery(NamedTuple):
    """A query of docs/queries.md. question: its first sentence"""

    question: str
    note: str
    sql: str


class DocumentedTable(NamedTuple):
    """A view or table of docs/schema.md. columns: names of some columns, and their meaning"""

    name: str
    is_view: bool
    about: str
    columns: list[tuple[list[str], str]]


@cache
def ready_queries() -> list[ReadyQuery]:
    """Return the queries of docs/queries.md, none where the program is installed without documents."""
    return [_ready(words, sql) for words, sql in QUERY.findall(_document("queries.md"))]


def _ready(words: str, sql: str) -> ReadyQuery:
    question, _, note = " ".join(_plain(words).split()).partition("?")
    return ReadyQuery(f"{question}?", note.strip(), sql.strip())


@cache
def documented_tables() -> list[DocumentedTable]:
    """Return the views, then the tables of docs/schema.md."""
    views, _, tables = _document("schema.md").partition("\n## Tables\n")
    return [
        DocumentedTable(name, is_view, _first_sentence(body), _columns(body))
        for is_view, part in ((True, views), (False, tables.partition("\n## ")[0]))
        for name, body in _sections(part)
    ]


def _sections(text: str) -> list[tuple[str, str]]:
    parts = SECTION.split(text)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def _columns(body: str) -> list[tuple[list[str], str]]:
    return [
        (names.split(", "), _plain(meaning)) for names, meaning in ROW.findall(body) if names not in ("column", "---")
    ]


def _first_sentence(body: str) -> str:
    return _plain(body.strip().partition("\n\n")[0].replace("\n", " "))


def _plain(markdown: str) -> str:
    return LINK.sub(r"\1", markdown).replace("`", "")


def _document(name: str) -> str:
    try:
        return (DOCS / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
