"""Archives: folders with every kind of name, and real S3."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.objects.archive import Archive, Entry, canonical, decode_name, encode_name, is_video, open_archive
from storage.objects.places import ObjectError, StoreError
from storage.objects.s3 import PART_BYTES, Bucket, S3Options
from storage.video.containers.signatures import HEAD_BYTES

NO_S3 = S3Options()
MEGABYTE = 1 << 20
STRANGE_KEYS = [
    "../../etc/passwd.mp4", "/absolute.mp4", "quote's \"double\".mp4", "new\nline.mp4", "tab\t.mp4", "a&b<c>+%41 d.mp4",
    "naïve 東京 🚗.MP4", "a/../b.mp4", "semi;colon' --.mov", "back\\slash.mp4", "folder/mp4/x.avi", "50%.mkv",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An archive in a folder of its own; tests may put other files next to it."""
    (tmp_path / "archive").mkdir()
    return tmp_path / "archive"


def open_folder(folder: Path) -> Archive:
    return open_archive(str(folder), NO_S3, folder.parent / "cache", MEGABYTE)


def keys(archive: Archive) -> list[str]:
    return [entry.key for entry in archive.list()]


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


@pytest.mark.parametrize("key", ["a.mp4", "A.MP4", "a/b.mov", "a.b.mkv", "../x.mp4", "./x.webm", "é.3gp", " .ts"])
def test_video_names_are_recognised(key: str) -> None:
    assert is_video(key)


@pytest.mark.parametrize("key", ["", "a", ".mp4", ".a.mp4", "a/.b.mp4", ".a/b.mp4", "a.mp4.txt", "a.mp4/", "mp4"])
def test_other_names_are_not_videos(key: str) -> None:
    assert not is_video(key)


def test_a_folder_is_listed(folder: Path) -> None:
    write(folder, "b.mp4", "a/c.MOV", "a/b/d.mkv", "notes.txt", ".hidden.mp4", "a/.trash/e.mp4", "a.mp4.part")
    archive = open_folder(folder)
    entries = archive.list()
    assert [entry.key for entry in entries] == ["a/b/d.mkv", "a/c.MOV", "b.mp4"]
    assert [entry.size_bytes for entry in entries] == [9, 7, 5]
    assert len(archive.ignored) == 3
    with archive.local(entries[0]) as path:
        assert path == folder / "a/b/d.mkv"
    assert archive.list() == entries


OTHER_NAMES = {
    "a.jpg": "image/jpeg, by its name",
    "a.txt": "text/plain, by its name",
    "a.json": "application/json, by its name",
    "GX010001.LRV": "a camera's small copy of a film, by its name",
    "a.mp4.part": "a copy or download that has not ended, by its name",
    "a.m4a": "sound, by its name",
    ".a.mp4": "hidden",
    "._a.mp4": "hidden",
}


@pytest.mark.parametrize("key", OTHER_NAMES)
def test_files_of_other_kinds_are_ignored_with_the_reason(folder: Path, key: str) -> None:
    write(folder, key)
    archive = open_folder(folder)
    assert archive.list() == archive.unnamed == []
    assert archive.ignored == [(key, OTHER_NAMES[key])]


@pytest.mark.parametrize(
    "key", ["a.mod", "a.TOD", "a.m2t", "a.qt", "a.m2v", "a.mpe", "a.dv", "a.ogm", "a.dav", "00012"]
)
def test_the_content_decides_if_the_name_does_not(folder: Path, key: str) -> None:
    write(folder, key)
    archive = open_folder(folder)
    assert archive.list() == archive.ignored == []
    (entry,) = archive.unnamed
    assert entry.key == key
    assert archive.head(entry) == key.encode()


def test_only_a_growing_recording_is_in_progress(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer appends to one between the two checks; a file whose container shows a missing end is not checked."""
    packets = (b"\x47" + bytes(187)) * 20
    for name in ("grows.ts", "rests.ts", "old.ts"):
        (folder / name).write_bytes(packets)
    (folder / "tells.mp4").write_bytes(b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x08moov")
    os.utime(folder / "old.ts", (1e9, 1e9))
    waited = []

    def write_on(seconds: float) -> None:
        waited.append(seconds)
        with (folder / "grows.ts").open("ab") as file:
            file.write(packets)

    monkeypatch.setattr("storage.objects.archive.sleep", write_on)
    archive = open_folder(folder)
    assert [entry.key for entry in archive.growing(archive.list())] == ["grows.ts"]
    assert len(waited) == 1
    assert archive.growing([entry for entry in archive.list() if entry.key in ("old.ts", "tells.mp4")]) == []
    assert len(waited) == 1, "there is no pause for complete files"


def test_an_empty_folder(folder: Path) -> None:
    assert open_folder(folder).list() == []


def test_files_below_an_empty_folder_may_be_on_an_unmounted_disk(folder: Path) -> None:
    write(folder, "cam1/day1/a.mp4", "cam2/b.mp4", "c.mp4")
    archive = open_folder(folder)
    known = keys(archive)
    (folder / "cam2" / "b.mp4").rename(folder / "cam1" / "b.mp4")
    (folder / "c.mp4").unlink()
    assert [archive.is_gone(key) for key in ("cam2/b.mp4", "c.mp4")] == [False, True]
    shutil.rmtree(folder / "cam1" / "day1")
    assert archive.is_gone("cam1/day1/a.mp4"), "the folder is not empty: somebody removed its day"
    (folder / "cam1" / "b.mp4").unlink()
    assert not archive.is_gone("cam1/day1/a.mp4")
    shutil.rmtree(folder / "cam1")
    assert [archive.is_gone(key) for key in known] == [True, True, False]


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, found in (("missing", "nothing at"), ("file", "no folder at")):
        with pytest.raises(StoreError, match=f"{found} .*Correct the archive's location, or mount") as caught:
            open_folder(tmp_path / name).list()
        assert type(caught.value) is StoreError


def test_links_to_files_are_followed(folder: Path) -> None:
    """Links to files are followed, links to folders (loops!) are not, and broken links are skipped."""
    write(folder, "a/b.mp4")
    write(folder.parent, "outside.mp4")
    (folder / "link.mp4").symlink_to(folder.parent / "outside.mp4")
    (folder / "loop").symlink_to(folder)
    (folder / "self.mp4").symlink_to(folder / "self.mp4")
    (folder / "nowhere.mp4").symlink_to(folder / "missing")
    archive = open_folder(folder)
    assert keys(archive) == ["a/b.mp4", "link.mp4"]
    assert len(archive.ignored) == 3


def test_other_files_than_regular_ones_are_skipped(folder: Path) -> None:
    """Opening a pipe would block forever."""
    os.mkfifo(folder / "pipe.mp4")
    (folder / "folder.mp4").mkdir()
    assert keys(open_folder(folder)) == []


def test_an_unreadable_folder_is_reported(folder: Path) -> None:
    """As a user without permissions, because root may read everything."""
    write(folder, "a.mp4", "private/b.mp4")
    (folder / "private").chmod(0)
    code = """
import os, sys
from pathlib import Path
from storage.objects.archive import open_archive
from storage.objects.s3 import S3Options
if os.getuid() == 0:
    os.setuid(65534)
open_archive(sys.argv[1], S3Options(), Path("cache"), 0).list()
"""
    own = [parent for parent in folder.parents if "pytest-of-" in str(parent)]  # one more with pytest-xdist
    for parent in own:
        parent.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    (folder / "private").chmod(0o755)
    assert "StoreError: Permission denied at" in done.stderr
    assert "/private'. Give this user the permission" in done.stderr


def test_a_changed_file(folder: Path) -> None:
    write(folder, "a.mp4", "b.mp4")
    archive = open_folder(folder)
    first, second = archive.list()
    (folder / "a.mp4").write_text("longer than it was")
    (folder / "b.mp4").unlink()
    with pytest.raises(ObjectError, match="no longer has the size and time that were listed"), archive.local(first):
        pass
    with pytest.raises(ObjectError, match="No such file"), archive.local(second):
        pass


@pytest.mark.parametrize("key", ["../outside.mp4", "a/../../outside.mp4", "/etc/passwd", "%2E%2E/outside.mp4", "a\0"])
def test_no_key_leaves_the_folder(folder: Path, key: str) -> None:
    write(folder.parent, "outside.mp4")
    with pytest.raises(ObjectError), open_folder(folder).local(Entry(key, 11, "0")):
        pass


NAMES = [
    b'quote\'s "double".mp4',
    b"new\nline.mp4",
    b"latin1 \xe9t\xe9.mp4",
    b"%FF.mp4",
    b"50%25.mp4",
    "é.mp4".encode(),
]


def test_any_file_name_is_listed(folder: Path) -> None:
    for number, name in enumerate(NAMES):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(b"x" * number)
    archive = open_folder(folder)
    entries = archive.list()
    assert "latin1 %E9t%E9.mp4" in [entry.key for entry in entries]
    for entry in entries:
        entry.key.encode()  # any database accepts it
        with archive.local(entry) as path:
            assert os.fsencode(path.name) == NAMES[path.stat().st_size]
    assert len(entries) == len(NAMES)


@given(st.binary())
def test_names_survive_a_round_trip(name: bytes) -> None:
    assert decode_name(encode_name(name)) == name


@given(st.text().filter(lambda text: "%" not in text))
def test_names_in_utf8_are_unchanged(name: str) -> None:
    assert encode_name(name.encode()) == name


def test_s3(s3_options: S3Options, s3_bucket: str, tmp_path: Path) -> None:
    bucket = Bucket(s3_bucket, s3_options)
    for key in ("site/b.mp4", "site/a/c.MOV", "site/notes.txt", "site/.hidden/d.mp4", "sites/e.mp4", "f.mp4"):
        bucket.put(key, key.encode())
    archive = open_archive(f"s3://{s3_bucket}/site", s3_options, tmp_path, MEGABYTE)
    entries = archive.list()
    assert [(entry.key, entry.size_bytes) for entry in entries] == [("a/c.MOV", 12), ("b.mp4", 10)]
    assert len(archive.ignored) == 2
    bucket.put("site/d", b"0123456789" * 1000)
    archive.list()
    (unnamed,) = archive.unnamed
    assert archive.head(unnamed) == (b"0123456789" * 1000)[:HEAD_BYTES]
    for entry in entries:
        with archive.local(entry) as path:
            assert path.read_text() == f"site/{entry.key}"
            assert path.parent == tmp_path
    assert sorted(keys(open_archive(f"s3://{s3_bucket}", s3_options, tmp_path, MEGABYTE)))[-1] == "sites/e.mp4"


def test_any_key_of_s3(swift_options: S3Options, swift_bucket: str, tmp_path: Path) -> None:
    """Names are never paths: every file is in the cache's folder itself, under a hash."""
    bucket = Bucket(swift_bucket, swift_options)
    for key in STRANGE_KEYS:
        bucket.put(key, key.encode())
    archive = open_archive(f"s3://{swift_bucket}", swift_options, tmp_path / "cache", MEGABYTE)
    assert keys(archive) == sorted(STRANGE_KEYS)
    for entry in archive.list():
        assert not archive.at_hand(entry)
        with archive.local(entry) as path:
            assert archive.at_hand(entry)
            assert path.read_bytes() == entry.key.encode()
            assert path.parent == tmp_path / "cache"
            assert path.name.isascii()
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_a_changed_object(s3_options: S3Options, s3_bucket: str, tmp_path: Path) -> None:
    """An old copy in the cache still serves requests for the old version."""
    bucket = Bucket(s3_bucket, s3_options)
    bucket.put("a.mp4", b"old")
    archive = open_archive(f"s3://{s3_bucket}", s3_options, tmp_path / "1", MEGABYTE)
    (old,) = archive.list()
    with archive.local(old):
        pass
    bucket.put("a.mp4", b"new")
    with archive.local(old) as path:
        assert path.read_bytes() == b"old"
    without_cache = open_archive(f"s3://{s3_bucket}", s3_options, tmp_path / "2", MEGABYTE)
    with pytest.raises(ObjectError, match=r"no longer (the version|has the ETag and size)"), without_cache.local(old):
        pass
    bucket.remove("a.mp4")
    with pytest.raises(ObjectError, match="NoSuchKey"), without_cache.local(old):
        pass
    assert [path.name for path in (tmp_path / "2").iterdir()] == ["lock"]
    bucket.put("a.mp4", b"new")
    with without_cache.local(without_cache.list()[0]) as path:
        assert path.read_bytes() == b"new"


def test_objects_stored_by_other_tools_are_listed(s3_options: S3Options, s3_bucket: str, tmp_path: Path) -> None:
    """Without our hash, in one piece (the ETag is an MD5) and in parts (it is not)."""
    from boto3.s3.transfer import TransferConfig

    data = os.urandom(PART_BYTES + 1)
    (tmp_path / "source").write_bytes(data)
    bucket = Bucket(s3_bucket, s3_options)
    for key, threshold in (("one.mp4", 2 * PART_BYTES), ("parts.mp4", PART_BYTES)):
        theirs = {"Metadata": {"sha256": "of something else"}}
        config = TransferConfig(threshold)
        bucket.client.upload_file(tmp_path / "source", s3_bucket, key, ExtraArgs=theirs, Config=config)
    archive = open_archive(f"s3://{s3_bucket}", s3_options, tmp_path / "cache", 3 * len(data))
    for entry in archive.list():
        with archive.local(entry) as path:
            assert path.read_bytes() == data


def test_s3_fills_the_cache_up_to_its_limit(swift_options: S3Options, swift_bucket: str, tmp_path: Path) -> None:
    bucket = Bucket(swift_bucket, swift_options)
    for number in range(5):
        bucket.put(f"{number}.mp4", bytes(1000))
    archive = open_archive(f"s3://{swift_bucket}", swift_options, tmp_path / "cache", 2500)
    for entry in archive.list():
        with archive.local(entry) as path:
            assert path.stat().st_size == 1000
    assert sum(path.stat().st_size for path in (tmp_path / "cache").iterdir()) == 2000


def test_an_invalid_s3_archive_is_refused(s3_options: S3Options, s3_bucket: str, tmp_path: Path) -> None:
    def listing(location: str, options: S3Options = s3_options) -> list[Entry]:
        return open_archive(location, options, tmp_path, MEGABYTE).list()

    assert listing(f"s3://{s3_bucket}") == []
    with pytest.raises(StoreError, match=r"nothing at .*\. Correct the archive's location"):
        listing(f"s3://{s3_bucket}/no/such/folder")
    with pytest.raises(StoreError, match="Create the bucket"):
        listing("s3://no-such-bucket/a")
    with pytest.raises(StoreError, match="Check the access key, its secret"):
        listing(f"s3://{s3_bucket}", replace(s3_options, secret_key="wrong"))
    with pytest.raises(StoreError, match="is not a folder, file:///folder or s3://bucket/prefix"):
        listing("")


def test_an_archive_has_one_name_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "videos")
    monkeypatch.chdir(tmp_path)
    names = ["videos", "./videos/", str(tmp_path / "videos"), "link", f"file://{tmp_path}/videos"]
    assert {canonical(name) for name in names} == {str(tmp_path / "videos")}
    assert canonical("s3://bucket/a/b/") == canonical("s3://bucket/a/b") == "s3://bucket/a/b"
    assert canonical("s3://bucket/") == canonical("s3://bucket") == "s3://bucket"
