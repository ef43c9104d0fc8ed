"""A name on Prefect's pages is a name, whatever markup, HTML or entity it looks like."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tasks.markdown import cell, code, markdown_table, visible_rows

HOSTILE = [
    "a|b.mp4",
    "[x](https://evil.example)",
    "![x](https://evil.example/x.png)",
    "<img src=x onerror=alert(1)>",
    "&#x202e;gpj.exe",
    "*bold* _it_ `code` ~~x~~",
    "two\nlines\n\n# a heading",
    "who@evil.example",
    "back\\slash\\|",
    "\x1b[31m\u202e",
]
MARKDOWN = MarkdownIt("commonmark").enable("table")


def text_of(markdown: str) -> tuple[str, set[str]]:
    """What a reader sees of one table of one cell, and the kinds of tokens in it."""
    inline = [token for token in MARKDOWN.parse(markdown) if token.type == "inline"][-1]
    children = inline.children or []
    return "".join(child.content for child in children), {child.type for child in children}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_cell_shows_the_name_and_nothing_else(name: str) -> None:
    shown, kinds = text_of(markdown_table([{"video": name}]))
    assert kinds <= {"text", "text_special"}
    assert shown == " ".join(name.encode("unicode_escape").decode().split()).replace("\\\\", "\\")


@given(st.text(max_size=40))
def test_no_text_leaves_its_cell(name: str) -> None:
    table = markdown_table([{"video": name, "frames": 1}, {"video": "last", "frames": 2}])
    tokens = [token.type for token in MARKDOWN.parse(table)]
    assert tokens.count("tr_open") == 3
    assert tokens.count("td_open") == 4
    assert len(table.split("\n")) == 4


@given(st.text(min_size=1, max_size=40).filter(str.strip))
def test_code_ends_where_it_should(name: str) -> None:
    [*_, inline, _] = MARKDOWN.parse(f"- {code(name)}: address")[:-2]
    assert [child.type for child in inline.children or []] == ["code_inline", "text"]


def test_numbers_and_nothing_are_written_plainly() -> None:
    assert (cell(1234567), cell(None), cell(0.5)) == ("1,234,567", "", "0.5")
    assert visible_rows([{"key": "a\nb", "frames": 3}]) == [{"key": "a\\nb", "frames": 3}]
