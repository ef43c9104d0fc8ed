"""A name on Prefect's pages is shown as text, even if it looks like markup, HTML or an entity."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import unquote

import prefect
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from models.text import visible
from tasks.text.markdown import Link, cell, code, link, markdown_table, table_rows

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
    """A name on one line, with repeated spaces reduced to one, as in HTML."""
    return " ".join(visible(name).split())


def text_of(markdown: str) -> tuple[str, set[str]]:
    """Return the visible text of the last inline token, and the kinds of tokens in it."""
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
def test_code_spans_end_correctly(name: str) -> None:
    [*_, inline, _] = MARKDOWN.parse(f"- {code(name)}: address")[:-2]
    assert [child.type for child in inline.children or []] == ["code_inline", "text"]


URLS = st.builds(
    "http://127.0.0.1:4270/{}?q={}".format,
    st.text(max_size=20),
    st.text("()[]<>`|\\\"' \n*_&#%=", max_size=20),
)


@given(st.text(max_size=40), URLS)
def test_a_link_shows_its_text_and_opens_its_address(name: str, url: str) -> None:
    """Also in a cell of a table: of one link, of this address, and nothing else."""
    for markdown in (link(name, url), markdown_table([{"video": Link(name, url)}])):
        [children] = [token.children or [] for token in MARKDOWN.parse(markdown) if token.type == "inline"][-1:]
        opened = [child for child in children if child.type == "link_open"]
        assert {child.type for child in children} <= {"link_open", "text", "text_special", "link_close"}
        assert len(opened) == 1
        assert children[0].type == "link_open"
        assert children[-1].type == "link_close"
        assert unquote(str(opened[0].attrs["href"])) == unquote(url)
        assert "".join(child.content for child in children) in (as_shown(name), as_shown(url))


@pytest.mark.skipif(NODE is None, reason="no node here: apt-get install nodejs")
def test_prefects_own_renderer_opens_the_address() -> None:
    url, signs = "http://127.0.0.1:4270/video/0123456789abcdef?t=1.5&event=a%20b", Random(1)
    made = ["".join(signs.choices("[]()!\\<>`*a:|", k=12)) for _ in range(1000)]
    names = [*HOSTILE, *made]
    for name, tokens in zip(names, tokens_of_the_ui([link(name, url) for name in names]), strict=True):
        [paragraph] = tokens
        [found] = paragraph["tokens"]
        assert (found["type"], found["href"].replace("&amp;", "&")) == ("link", url), name
        assert "".join(text for _, text in leaves_of(found["tokens"])) == as_shown(name)


@pytest.mark.skipif(NODE is None, reason="no node here: apt-get install nodejs")
def test_prefects_own_renderer_shows_the_name_and_nothing_else() -> None:
    """The oracle is the tokenizer of the UI's bundle with the rendering of its components."""
    for name, tokens in zip(HOSTILE, tokens_of_the_ui([cell(name) for name in HOSTILE]), strict=True):
        leaves = list(leaves_of(tokens))
        assert {kind for kind, _ in leaves} <= {"text", "escape"}, name
        assert {token["type"] for token in tokens} == {"paragraph"}, name
        assert "".join(text for _, text in leaves) == as_shown(name)


def tokens_of_the_ui(texts: list[str]) -> list[list[dict[str, Any]]]:
    """Run the worker with which Prefect's page renders Markdown."""
    [index] = [path for path in ASSETS.glob("index-*.js") if "markdown-renderer" in path.read_text()]
    found = re.search(
        r"='(\(function\(\)\{\"use strict\"(?:[^'\\]|\\.)*self\.onmessage=(?:[^'\\]|\\.)*)'", index.read_text()
    )
    assert found, "Prefect's page renders Markdown differently now: check its bundle"
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


def test_numbers_and_missing_values_are_written_plainly() -> None:
    assert (cell(1234567), cell(None), cell(0.5)) == ("1,234,567", "", "0.5")
    assert table_rows([{"key": "a\nb", "frames": 3}]) == [{"key": "a\\\\nb", "frames": 3}]
