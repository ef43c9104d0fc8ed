"""Globs over keys: wildcards, named parts, and odd characters."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.site_file.globs import compile_glob, normal


@pytest.mark.parametrize(
    ("glob", "key"),
    [
        ("**", "a/b.mp4"),
        ("", "a/b.mp4"),
        ("backdoor/**", "backdoor/a/b.mp4"),
        ("backdoor/", "backdoor/a/b.mp4"),
        ("./backdoor/*", "backdoor/b.mp4"),
        ("/backdoor/*", "backdoor/b.mp4"),
        ("**/*.mp4", "b.MP4"),
        ("**/*.mp4", "a/c/b.Mp4"),
        ("*.{mp4,mkv}", "b.mkv"),
        ("cam[12]/*", "cam2/b"),
        ("cam[0-9]/*", "cam7/b"),
        ("cam[!0-9]/*", "camx/b"),
        ("cam[1]/*", "cam[1]/b"),
        ("cam[1]/*", "cam1/b"),
        ("a[b/*", "a[b/c"),
        ("a{b/*", "a{b/c"),
        ("(a+b)|c$^./*", "(a+b)|c$^./d"),
        ("back\\door/*", "back\\door/x"),
        ("Küche/*", "Ku\u0308che/x"),
        ("Ku\u0308che/*", "Küche/x"),
        ("a?c/*", "a\nc/x\n"),
        ("[z-a]/*", "z/x"),
        ("**/x/**", "x/y"),
        ("%FFcam/*", "%FFcam/a"),
    ],
)
def test_a_glob_matches(glob: str, key: str) -> None:
    assert compile_glob(glob).fullmatch(normal(key))


@pytest.mark.parametrize(
    ("glob", "key"),
    [
        ("*.mp4", "a/b.mp4"),
        ("backdoor/*", "backdoor2/b.mp4"),
        ("Backdoor/*", "backdoor/b.mp4"),
        ("cam[12]/*", "cam3/b"),
        ("cam[!/]x", "cam/x"),
        ("a?b", "a/b"),
        ("a.b/*", "axb/c"),
        ("{camera}/*", "/x"),
    ],
)
def test_a_glob_does_not_match(glob: str, key: str) -> None:
    assert not compile_glob(glob).fullmatch(normal(key))


def test_a_named_part_is_one_element_and_equal_where_it_occurs_twice() -> None:
    glob = compile_glob("{site}/**/{camera}/{camera}_*.mp4")
    found = glob.fullmatch("home/2026/03/tür 1/tür 1_x.mp4")
    assert found
    assert found.groupdict() == {"site": "home", "camera": "tür 1"}
    assert not glob.fullmatch("home/2026/03/door/yard_x.mp4")


def test_a_glob_with_many_wildcards_is_refused() -> None:
    with pytest.raises(ValueError, match="13 wildcards"):
        compile_glob("*a*b*c*d*e*f*g*h*i*j*k*l*m")


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("glob", "key"),
    [
        ("*a*a*a*/x", "a" * 1000 + "/y"),
        ("{x}a{y}a{z}a*b/c", "a" * 1000 + "/c"),
        ("**/a/**/a/**/b", "a/" * 500 + "c"),
        ("{x}/**/{x}/**/b", "a/" * 500 + "c"),
    ],
)
def test_a_hostile_key_costs_little_time(glob: str, key: str) -> None:
    begun = time.process_time()
    assert not compile_glob(glob).fullmatch(key)
    assert time.process_time() - begun < 5


PIECES = st.lists(st.sampled_from(["a", "b", "/", "*", "?", "**", "**/"]), max_size=7).map("".join)


@given(PIECES, st.lists(st.sampled_from(["a", "b", "/"]), max_size=8).map("".join))
def test_a_glob_matches_like_a_plain_regular_expression(glob: str, key: str) -> None:
    try:
        found = compile_glob(glob)
    except ValueError:
        return
    assert bool(found.fullmatch(key)) == bool(found_plainly(glob, key)), found.pattern


def found_plainly(glob: str, key: str) -> re.Match[str] | None:
    """Match by a regular expression that may take any time."""
    glob = glob.removeprefix("./").lstrip("/")
    glob = f"{glob}**" if not glob or glob.endswith("/") else glob
    plain = re.sub(r"(?:(?<=/)|^)\*\*/", "F", glob)
    plain = plain.replace("**", "M").replace("*", "[^/]*").replace("?", "[^/]")
    return re.fullmatch(plain.replace("F", "(?:.*/)?").replace("M", ".*"), key)
