"""The video that is being worked on: what the listing found out is used again, and never for other bytes."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.types import FrameIndex
from storage.archive import Entry, FolderArchive
from storage.places import ObjectError
from storage.sandbox import Sandbox
from storage.video import probe_video
from tasks import opened_video
from tasks.opened_video import OpenVideo, Probes, probe, state_of
from tests.storage.samples import make_video as make_value
from tests.videos import make_video

CPU_S = 10.0


@pytest.fixture
def archive(tmp_path: Path) -> FolderArchive:
    """One video of 20 frames."""
    make_video(tmp_path / "one.mp4", 20)
    return FolderArchive(tmp_path)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def test_a_kept_probe_is_not_made_again(archive: FolderArchive, sandbox: Sandbox, monkeypatch) -> None:
    (entry,) = archive.list()
    with archive.local(entry) as path:
        state, (video, index) = state_of(path), probe_video(path)
    probes = Probes()
    probes.keep(entry, state, video, index)
    monkeypatch.setattr(opened_video, "probe", lambda *_: pytest.fail("probed again"))
    with OpenVideo(archive, sandbox, CPU_S, probes) as opened:
        assert opened.get(entry, video.sha256) == (path, video, index)


def test_other_bytes_of_the_same_size_and_time_are_refused(archive: FolderArchive, sandbox: Sandbox) -> None:
    """As an archive's copy does that keeps times."""
    (entry,) = archive.list()
    path = archive.root / entry.key
    state, (video, index) = state_of(path), probe(sandbox, path, CPU_S)
    probes = Probes()
    probes.keep(entry, state, video, index)
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    before = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with OpenVideo(archive, sandbox, CPU_S, probes) as opened, pytest.raises(ObjectError, match="has other bytes now"):
        opened.get(entry, video.sha256)


def test_a_kept_probe_of_other_bytes_than_the_planned_is_refused(archive: FolderArchive, sandbox: Sandbox) -> None:
    (entry,) = archive.list()
    probes = Probes()
    path = archive.root / entry.key
    probes.keep(entry, state_of(path), *probe(sandbox, path, CPU_S))
    with OpenVideo(archive, sandbox, CPU_S, probes) as opened, pytest.raises(ObjectError, match="has other bytes now"):
        opened.get(entry, "0" * 64)


def test_the_oldest_probes_go_first(archive: FolderArchive, monkeypatch) -> None:
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
