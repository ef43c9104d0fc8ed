"""Addresses of pages: what they carry, and where the pages are."""

import fcntl
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.browse import links
from tasks.browse.links import Pages, browse_lock, pages_of, running_pages
from tasks.site.settings import Settings

DEFAULT = Pages("http://127.0.0.1:4270", "run 'nightjar browse'")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, _env_file=None)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_a_query(text: str) -> None:
    for path in (links.sql_path(text), links.events_path(camera=text, rule=text)):
        assert path.isascii()
        assert path.isprintable()
        assert not set(path) & set(' "<>()[]`|')
        found = parse_qsl(urlsplit(path).query, keep_blank_values=True, strict_parsing=True)
        assert {value for _, value in found} == {text}


def test_a_video_is_named_by_its_hash_and_a_place() -> None:
    assert links.video_path("a" * 64) == f"/video/{'a' * 16}"
    assert links.video_path("a" * 64, t=12.3456, track=3, model=None) == f"/video/{'a' * 16}?t=12.346&track=3"
    assert links.video_path("a" * 64, t=2.0, frame=0) == f"/video/{'a' * 16}?t=2&frame=0"


def test_without_pages_the_address_says_how_to_start_them(settings: Settings) -> None:
    assert pages_of(settings) == DEFAULT
    assert DEFAULT.line("/night/3") == "http://127.0.0.1:4270/night/3 (run 'nightjar browse')"


def test_running_pages_are_found_and_ended_ones_are_not(settings: Settings) -> None:
    lock = browse_lock(settings)
    with lock.open("w") as file:
        file.write("http://127.0.0.1:5000")
        file.flush()
        assert running_pages(settings) is None, "as after SIGKILL: the address is left, the lock is not"
        fcntl.flock(file, fcntl.LOCK_EX)
        assert pages_of(settings) == Pages("http://127.0.0.1:5000")
        assert pages_of(settings).line("/") == "http://127.0.0.1:5000/"
    assert pages_of(settings) == DEFAULT


@pytest.mark.parametrize("content", [b"", b"\xff\xfe"])
def test_a_lock_without_an_address_is_none(settings: Settings, content: bytes) -> None:
    with browse_lock(settings).open("wb") as file:
        file.write(content)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        assert running_pages(settings) is None


def test_a_configured_address_comes_first(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, browse_url="https://nights.example/pages/", _env_file=None)
    assert pages_of(settings).line("/sql") == "https://nights.example/pages/sql"
