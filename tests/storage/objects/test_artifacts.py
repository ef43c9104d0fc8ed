"""Artifacts in a folder and on real S3: the same tests for both."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.leftovers import TEMPORARY
from storage.objects.artifacts import Artifacts, get_folder, open_artifacts, prove, put_folder
from storage.objects.places import ObjectError, StoreError
from storage.objects.s3 import PART_BYTES, S3Options
from tests.servers_s3 import S3Server, free_port, new_bucket

NO_S3 = S3Options()
SOUND_PART = st.text(min_size=1, max_size=60).filter(
    lambda part: (
        part.isprintable()
        and not set(part) & {"/", "\\"}
        and part not in (".", "..")
        and not part.startswith(TEMPORARY)
    )
)
SOUND_KEY = st.lists(SOUND_PART, min_size=1, max_size=3).map("/".join)
BAD_KEYS = [
    "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a\\b", "a\0b", "a\nb", "\udcff", "a" * 256,
    "/".join(["a" * 200] * 6), f"a/{TEMPORARY}b",
]  # fmt: skip


@pytest.fixture(params=["folder", "swift", "rclone"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    """An empty store: a folder, and a prefix of a bucket on each server."""
    if request.param == "folder":
        return open_artifacts(str(tmp_path / "store"), NO_S3)
    server: S3Server = request.getfixturevalue(f"{request.param}_server")
    return open_artifacts(f"s3://{new_bucket(server.options)}/some/prefix", server.options)


def test_put_get_exists_list(store: Artifacts, tmp_path: Path) -> None:
    data = os.urandom(5_000)
    (tmp_path / "source").write_bytes(data)
    store.put_file("a/b/c.bin", tmp_path / "source")
    store.put_bytes("a/b/d", b"")
    store.put_bytes("a.bc", b"old")
    store.put_bytes("a.bc", b"new")
    assert store.get_bytes("a/b/c.bin") == data
    store.get_file("a/b/c.bin", tmp_path / "new" / "copy")
    assert (tmp_path / "new" / "copy").read_bytes() == data
    assert store.get_bytes("a/b/d") == b""
    assert store.get_bytes("a.bc") == b"new"
    assert [store.exists(key) for key in ("a/b/d", "a/b", "a", "a/b/d/e")] == [True, False, False, False]
    assert sorted(store.list("")) == ["a.bc", "a/b/c.bin", "a/b/d"]
    assert sorted(store.list("a/b/")) == ["a/b/c.bin", "a/b/d"]
    assert sorted(store.list("a/b/c")) == ["a/b/c.bin"]
    assert sorted(store.list("a")) == ["a.bc", "a/b/c.bin", "a/b/d"]
    assert list(store.list("nothing/here")) == []


def test_missing_keys(store: Artifacts, tmp_path: Path) -> None:
    for key in ("missing", "missing/too"):
        with pytest.raises(ObjectError, match="missing"):
            store.get_bytes(key)
        with pytest.raises(ObjectError, match="missing"):
            store.get_file(key, tmp_path / "copy")
    with pytest.raises(ObjectError, match="no-such-file"):
        store.put_file("key", tmp_path / "no-such-file")
    assert not store.exists("key")
    assert not [path for path in tmp_path.iterdir() if path.name != "store"]


def test_a_large_file(store: Artifacts, tmp_path: Path) -> None:
    """Larger than one part of a multipart upload."""
    data = os.urandom(PART_BYTES + 1)
    (tmp_path / "source").write_bytes(data)
    store.put_file("large", tmp_path / "source")
    store.get_file("large", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data


@pytest.mark.parametrize("key", BAD_KEYS)
def test_invalid_keys_are_refused(key: str, tmp_path: Path) -> None:
    for store in (open_artifacts(str(tmp_path), NO_S3), open_artifacts("s3://bucket", NO_S3)):
        for call in (store.get_bytes, store.exists, store.url, lambda k, s=store: s.put_bytes(k, b"")):
            with pytest.raises(ObjectError, match="Use a relative path of printable parts"):
                call(key)
    assert not list(tmp_path.iterdir())


@settings(max_examples=200)
@given(st.text(alphabet=st.sampled_from("ab./\\\0\n~%é"), max_size=12))
def test_no_key_leaves_the_folder(key: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        store = open_artifacts(str(root), NO_S3)
        try:
            store.put_bytes(key, b"x")
        except ObjectError:
            assert not list(Path(folder).iterdir())
        else:
            assert list(store.list("")) == [key]
            assert [path for path in Path(folder).rglob("*") if path.is_file()] == [root / key]


@settings(max_examples=100)
@given(SOUND_KEY, st.binary(max_size=500))
def test_bytes_survive_a_folder_store(key: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = open_artifacts(folder, NO_S3)
        store.put_bytes(key, data)
        assert store.get_bytes(key) == data
        assert list(store.list("")) == [key]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=SOUND_KEY, data=st.binary(max_size=500))
def test_bytes_survive_an_s3_store(swift_options: S3Options, swift_bucket: str, key: str, data: bytes) -> None:
    prefix = secrets.token_hex(8)
    store = open_artifacts(f"s3://{swift_bucket}/{prefix}", swift_options)
    store.put_bytes(key, data)
    assert store.get_bytes(key) == data
    assert list(store.list("")) == [key]


def test_urls(tmp_path: Path) -> None:
    assert open_artifacts(f"file://{tmp_path}", NO_S3).url("a/b") == f"{tmp_path}/a/b"
    assert open_artifacts("s3://bucket/p/", NO_S3).url("a/b") == "s3://bucket/p/a/b"


def test_a_working_store_passes_the_check(store: Artifacts) -> None:
    prove(store)
    assert list(store.list("")) == []


def test_a_store_that_returns_other_bytes_fails_the_check(store: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "get_bytes", lambda key: b"something else")
    with pytest.raises(StoreError, match="does not return the bytes that were just stored"):
        prove(store)


def test_an_invalid_store_fails_the_check(tmp_path: Path, swift_options: S3Options) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="Name a folder"):
        prove(open_artifacts(str(tmp_path / "file"), NO_S3))
    with pytest.raises(StoreError, match="Create the bucket"):
        prove(open_artifacts("s3://no-such-bucket", swift_options))
    down = replace(swift_options, endpoint_url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StoreError, match="does not answer"):
        prove(open_artifacts("s3://bucket", down))


def test_a_link_in_the_store_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("private")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "key").symlink_to(tmp_path / "outside")
    store = open_artifacts(str(tmp_path / "store"), NO_S3)
    with pytest.raises(ObjectError, match="symbolic link"):
        store.get_bytes("key")
    store.put_bytes("key", b"new")
    assert (tmp_path / "outside").read_text() == "private"
    assert store.get_bytes("key") == b"new"


@contextmanager
def full_disk() -> Iterator[Path]:
    """A file system of one megabyte, where this user may mount one."""
    folder = Path(tempfile.mkdtemp())
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        folder.rmdir()
        pytest.skip("no right to mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


def test_a_full_disk(store: Artifacts, tmp_path: Path) -> None:
    """Store into a folder on it, and fetch to a path on it."""
    with full_disk() as small:
        (tmp_path / "source").write_bytes(os.urandom(2 << 20))
        full = open_artifacts(str(small), NO_S3)
        full.put_bytes("key", b"old")
        with pytest.raises(StoreError, match=r"No space left on device .*\. Free some space"):
            full.put_file("key", tmp_path / "source")
        store.put_file("large", tmp_path / "source")
        with pytest.raises(StoreError, match="No space left on device"):
            store.get_file("large", small / "copy")
        assert [path.name for path in small.iterdir()] == ["key"]
        assert full.get_bytes("key") == b"old"


def test_a_file_larger_than_the_free_space_is_refused(tmp_path: Path) -> None:
    """As on a full disk, but by a limit that needs no permissions: no partial file stays."""
    code = """
import resource, signal, sys
from storage.objects.artifacts import open_artifacts
from storage.objects.s3 import S3Options
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
open_artifacts(sys.argv[1], S3Options()).put_bytes("a/key", bytes(200_000))
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert "StoreError: File too large at " in done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_kill_while_writing_leaves_no_partial_file(tmp_path: Path) -> None:
    """Killed between the last byte and the renaming: the old content stays, and the leftover is not a key."""
    code = """
import os, signal, sys
from pathlib import Path
from storage.objects.artifacts import open_artifacts
from storage.objects.s3 import S3Options
Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
open_artifacts(sys.argv[1], S3Options()).put_bytes("key", b"new")
"""
    store = open_artifacts(str(tmp_path), NO_S3)
    store.put_bytes("key", b"old")
    assert subprocess.run([sys.executable, "-c", code, tmp_path], check=False).returncode == -9
    assert len(list(tmp_path.iterdir())) == 2
    assert list(store.list("")) == ["key"]
    assert store.get_bytes("key") == b"old"


def test_a_models_folder_is_stored_and_fetched(store: Artifacts, tmp_path: Path) -> None:
    names = ["model.bin", "manifest.json"]
    for name in names:
        (tmp_path / name).write_text(name)
    put_folder(store, "models/12ab", tmp_path, names)
    assert sorted(store.list("models/")) == ["models/12ab/manifest.json", "models/12ab/model.bin"]
    cache = tmp_path / "cache"
    folder = get_folder(store, "models/12ab", names, cache)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {name: name for name in names}
    store.put_bytes("models/12ab/model.bin", b"another")
    assert get_folder(store, "models/12ab", names, cache) == folder
    assert (folder / "model.bin").read_text() == "model.bin"
    assert list(cache.iterdir()) == [folder]


def test_an_incomplete_folder_never_counts(store: Artifacts, tmp_path: Path) -> None:
    store.put_bytes("models/12ab/model.bin", b"1")
    with pytest.raises(ObjectError, match=r"manifest\.json"):
        get_folder(store, "models/12ab", ["model.bin", "manifest.json"], tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    store.put_bytes("models/12ab/manifest.json", b"2")
    folder = get_folder(store, "models/12ab", ["model.bin", "manifest.json"], tmp_path / "cache")
    assert (folder / "manifest.json").read_bytes() == b"2"


@pytest.mark.parametrize("name", ["../model.bin", "a/b", "", ".."])
def test_no_name_leaves_the_cache(name: str, tmp_path: Path) -> None:
    with pytest.raises(ObjectError, match=r"contains a folder|is not allowed"):
        get_folder(open_artifacts(str(tmp_path), NO_S3), "models/12ab", [name], tmp_path / "cache")
