"""A name on Prefect's pages is a name, whatever markup, HTML or entity it looks like."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prefect
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from models.text import visible
from tasks.text.markdown import cell, code, markdown_table, table_rows

HOSTILE = [
    "a|b.mp4",
    "[x](https://evil.example)",
    "![x](https://evil.example/x.png)",
    "<img src=x onerror=alert(1)>",
    "&#x202e;gpj.exe",
    "&lt;b&gt;",
    "*bold* _it_ `code` ~~x~~",
    "two\nlines\n\n# a heading",
    "who@evil.example",
    "https://evil.example/x",
    "HTTP://evil.example",
    "ftp://evil.example www.evil.example",
    "back\\slash\\|",
    "ends in a backslash\\",
    "\x1b[31m\u202e",
    "# heading",
    "- item",
    "+ item",
    "1. item",
    "2026) item",
    "---",
    "===",
    "***",
    "> quote",
    "```sh",
    "    code",
    "[ref]: https://evil.example",
    "| a | b |",
    "<!-- -->",
    "a__b__c.mp4",
    "-1.5",
]
MARKDOWN = MarkdownIt("commonmark").enable("table")
NODE = shutil.which("node")
ASSETS = Path(prefect.__file__).parent / "server" / "ui" / "assets"


def as_shown(name: str) -> str:
    """A name in one line, without what HTML does not show: more than one space."""
    return " ".join(visible(name).split())


def text_of(markdown: str) -> tuple[str, set[str]]:
    """Return the text of the last inline token that a reader sees, and the kinds of tokens in it."""
    inline = [token for token in MARKDOWN.parse(markdown) if token.type == "inline"][-1]
    children = inline.children or []
    return "".join(child.content for child in children), {child.type for child in children}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_cell_shows_the_name_and_nothing_else(name: str) -> None:
    for markdown in (markdown_table([{"video": name}]), cell(name)):
        shown, kinds = text_of(markdown)
        assert kinds <= {"text", "text_special"}
        assert shown == as_shown(name)


@given(st.text(max_size=40))
def test_no_text_leaves_its_cell(name: str) -> None:
    table = markdown_table([{"video": name, "frames": 1}, {"video": "last", "frames": 2}])
    tokens = [token.type for token in MARKDOWN.parse(table)]
    assert tokens.count("tr_open") == 3
    assert tokens.count("td_open") == 4
    assert len(table.split("\n")) == 4


@given(st.text("#-+=*_`~<>[]()!|&;@:/.\\ 0123w\nahtps", min_size=1, max_size=30).filter(str.strip))
def test_no_text_is_more_than_a_paragraph(name: str) -> None:
    [opened, inline, closed] = MARKDOWN.parse(cell(name))
    assert (opened.type, closed.type) == ("paragraph_open", "paragraph_close")
    assert {child.type for child in inline.children or []} <= {"text", "text_special"}
    assert "".join(child.content for child in inline.children or []) == as_shown(name)


@given(st.text(min_size=1, max_size=40).filter(str.strip))
def test_code_ends_where_it_should(name: str) -> None:
    [*_, inline, _] = MARKDOWN.parse(f"- {code(name)}: address")[:-2]
    assert [child.type for child in inline.children or []] == ["code_inline", "text"]


@pytest.mark.skipif(NODE is None, reason="no node here: apt-get install nodejs")
def test_prefects_own_renderer_shows_the_name_and_nothing_else() -> None:
    """The tokenizer of the UI's bundle, and what its components make of tokens, are the judge."""
    for name, tokens in zip(HOSTILE, tokens_of_the_ui([cell(name) for name in HOSTILE]), strict=True):
        leaves = list(leaves_of(tokens))
        assert {kind for kind, _ in leaves} <= {"text", "escape"}, name
        assert {token["type"] for token in tokens} == {"paragraph"}, name
        assert "".join(text for _, text in leaves) == as_shown(name)


def tokens_of_the_ui(texts: list[str]) -> list[list[dict[str, Any]]]:
    """Run the worker that Prefect's page renders markdown by."""
    [index] = [path for path in ASSETS.glob("index-*.js") if "markdown-renderer" in path.read_text()]
    found = re.search(
        r"='(\(function\(\)\{\"use strict\"(?:[^'\\]|\\.)*self\.onmessage=(?:[^'\\]|\\.)*)'", index.read_text()
    )
    assert found, "Prefect's page renders markdown in another way now: look at its bundle"
    script = f"""
        const self = {{postMessage: message => found.push(message.tokens)}}, found = [];
        eval('{found[1]}');
        for (const text of JSON.parse(require('fs').readFileSync(0))) self.onmessage({{data: {{id: 0, text}}}});
        console.log(JSON.stringify(found));
    """
    command = [str(NODE), "-e", script]
    done = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=True, timeout=60)
    found_tokens: list[list[dict[str, Any]]] = json.loads(done.stdout)
    return found_tokens


def leaves_of(tokens: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """(kind, text as the page decodes it) of the tokens without tokens inside."""
    for token in tokens:
        if token.get("tokens"):
            yield from leaves_of(token["tokens"])
        else:
            text = token.get("text", "")
            for reference, sign in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&#39;", "'"), ("&amp;", "&")):
                text = text.replace(reference, sign)
            yield token["type"], text


def test_numbers_and_nothing_are_written_plainly() -> None:
    assert (cell(1234567), cell(None), cell(0.5)) == ("1,234,567", "", "0.5")
    assert table_rows([{"key": "a\nb", "frames": 3}]) == [{"key": "a\\\\nb", "frames": 3}]
