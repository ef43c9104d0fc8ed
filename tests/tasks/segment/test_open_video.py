"""The video in progress: the listing's probe is reused, but never for changed content."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.types import AttemptError, FrameIndex, TooSlowError
from storage.objects.archive import Entry, FolderArchive
from storage.objects.places import ObjectError
from storage.sandbox.parent import Sandbox
from storage.video.probe import probe_video
from tasks.segment import open_video as opened_video
from tasks.segment.open_video import OpenVideo, Probes, probe, starts_with, state_of
from tasks.site.settings import ReadLimits, Settings
from tests.storage.samples import make_video as make_value
from tests.videos import make_video

LIMITS = ReadLimits(cpu_s=10.0, base_s=120.0)


@pytest.fixture
def archive(tmp_path: Path) -> FolderArchive:
    """One video of 20 frames."""
    make_video(tmp_path / "one.mp4", 20)
    return FolderArchive(tmp_path)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def test_a_stored_probe_is_reused(archive: FolderArchive, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    (entry,) = archive.list()
    with archive.local(entry) as path:
        state, (video, index) = state_of(path), probe_video(path)
    probes = Probes()
    probes.keep(entry, state, video, index)
    monkeypatch.setattr(opened_video, "probe", lambda *_: pytest.fail("probed again"))
    with OpenVideo(archive, sandbox, LIMITS, probes) as opened:
        assert opened.get(entry, video.sha256) == (path, video, index)


def test_changed_content_of_the_same_size_and_time_is_refused(archive: FolderArchive, sandbox: Sandbox) -> None:
    """Like a copy that preserves times."""
    (entry,) = archive.list()
    path = archive.root / entry.key
    state, (video, index) = state_of(path), probe(sandbox, path, LIMITS)
    probes = Probes()
    probes.keep(entry, state, video, index)
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    before = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with OpenVideo(archive, sandbox, LIMITS, probes) as opened, pytest.raises(ObjectError, match="has changed since"):
        opened.get(entry, video.sha256)


def test_a_stored_probe_of_other_content_is_refused(archive: FolderArchive, sandbox: Sandbox) -> None:
    (entry,) = archive.list()
    probes = Probes()
    path = archive.root / entry.key
    probes.keep(entry, state_of(path), *probe(sandbox, path, LIMITS))
    with OpenVideo(archive, sandbox, LIMITS, probes) as opened, pytest.raises(ObjectError, match="has changed since"):
        opened.get(entry, "0" * 64)


def test_the_oldest_probes_are_removed_first(archive: FolderArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened_video, "KEPT_FRAMES", 250)
    (entry,) = archive.list()
    path = archive.root / entry.key
    video, probes = replace(make_value(frames=100), sha256=probe_video(path)[0].sha256), Probes()
    index = FrameIndex(np.arange(100), np.arange(100) / 25, np.zeros(1, np.int64))
    entries = [Entry(f"{number}.mp4", 1, "") for number in range(3)]
    for each in (entries[0], entries[1], entries[1], entries[2]):
        probes.keep(each, state_of(path), video, index)
    assert [probes.of(each, path) for each in entries] == [None, (video, index), (video, index)]
    probes.keep(entry, state_of(path), replace(video, frames=251), index)
    assert [probes.of(each, path) for each in (*entries, entry)] == [None] * 4


def test_a_slow_file_is_a_failed_attempt_and_the_next_one_is_read(archive: FolderArchive, sandbox: Sandbox) -> None:
    path = archive.root / "one.mp4"
    with pytest.raises(TooSlowError, match=r"^Reading the file took more than 0 s\. Check.*READ_S"):
        probe(sandbox, path, LIMITS._replace(base_s=0.0))
    assert probe(sandbox, path, LIMITS)[0].frames == 20


@pytest.mark.parametrize("size_bytes", [10**6, 10**9, 64 * 10**9, 10**12])
def test_a_disk_of_20_mb_per_s_is_within_the_limit(size_bytes: int) -> None:
    """Even if the whole file is read five times."""
    limits = Settings().read_limits
    assert limits.wall_s(size_bytes) > 5 * size_bytes / 20e6 + limits.cpu_s


def test_the_start_of_a_file_is_compared_in_the_sandbox(
    archive: FolderArchive, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive.root / "one.mp4"
    monkeypatch.setattr("storage.video.regular_file.sha256_of", lambda *_: pytest.fail("hashed here"))
    start = hashlib.sha256(path.read_bytes()[:500]).hexdigest()
    assert starts_with(sandbox, path, LIMITS, start, 500)
    assert not starts_with(sandbox, path, LIMITS, start, 499)
    with pytest.raises(AttemptError, match="cannot be opened"):
        starts_with(sandbox, archive.root / "absent.mp4", LIMITS, start, 500)
