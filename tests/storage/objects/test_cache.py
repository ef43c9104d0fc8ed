"""The bounded cache: eviction, objects in use, and leftovers of killed processes."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import BinaryIO

import pytest

from storage.objects import cache as cache_module
from storage.objects.cache import FileCache
from storage.objects.places import ObjectError, StoreError
from tests.videos import make_video

KILOBYTE = 1000


class Source:
    """A source of kilobytes: `kilobyte("7")` consists of sevens. Counts the fetches."""

    def __init__(self) -> None:
        self.fetched: list[str] = []

    def kilobyte(self, cache: FileCache, digit: str) -> AbstractContextManager[Path]:
        def fetch(file: BinaryIO) -> None:
            self.fetched.append(digit)
            file.write(digit.encode() * KILOBYTE)

        return cache.file(digit, ".mp4", KILOBYTE, fetch)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def cache(tmp_path: Path) -> FileCache:
    """A cache for three kilobytes."""
    return FileCache(tmp_path / "cache", 3 * KILOBYTE)


def used(cache: FileCache) -> int:
    return sum(path.stat().st_size for path in cache.folder.iterdir())


def test_an_object_is_fetched_once(cache: FileCache, source: Source) -> None:
    for _ in range(3):
        with source.kilobyte(cache, "1") as path:
            assert path.read_bytes() == b"1" * KILOBYTE
            assert path.suffix == ".mp4"
    assert source.fetched == ["1"]


def test_a_kept_file_is_found_without_fetching_and_not_evicted(cache: FileCache, source: Source) -> None:
    with cache.kept("1", ".mp4") as missing:
        assert missing is None
    with source.kilobyte(cache, "1"):
        pass
    with cache.kept("1", ".mp4") as path:
        assert path is not None
        for digit in "2345":
            with source.kilobyte(cache, digit):
                pass
        assert path.exists()
    assert used(cache) <= cache.limit_bytes


def test_the_least_recently_used_is_evicted(cache: FileCache, source: Source) -> None:
    for digit in "123124":
        with source.kilobyte(cache, digit):
            assert used(cache) <= cache.limit_bytes
    assert source.fetched == ["1", "2", "3", "4"]
    for digit in "12":
        with source.kilobyte(cache, digit):
            pass
    assert source.fetched == ["1", "2", "3", "4"]
    with source.kilobyte(cache, "3"):
        pass
    assert source.fetched[4:] == ["3"]


def test_objects_in_use_stay(cache: FileCache, source: Source) -> None:
    with source.kilobyte(cache, "1") as first:
        for digit in "23456":
            with source.kilobyte(cache, digit):
                pass
        assert first.read_bytes() == b"1" * KILOBYTE
    assert source.fetched == list("123456")


def test_a_full_cache_of_objects_in_use(cache: FileCache, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "ROOM_S", 0.2)
    with ExitStack() as stack:
        for digit in "123":
            stack.enter_context(source.kilobyte(cache, digit))
        with (
            pytest.raises(StoreError, match=r"3,000 of 3,000 bytes .* in use, which leaves no room for 1,000 more"),
            source.kilobyte(cache, "4"),
        ):
            pass
    assert used(cache) == 3 * KILOBYTE
    with source.kilobyte(cache, "4") as path:
        assert path.read_bytes() == b"4" * KILOBYTE


def test_room_that_is_free_in_a_moment_is_waited_for(cache: FileCache, source: Source) -> None:
    def read() -> bytes:
        with source.kilobyte(cache, "4") as path:
            return path.read_bytes()

    with ThreadPoolExecutor(1) as pool, ExitStack() as others:
        with source.kilobyte(cache, "1"):
            others.enter_context(source.kilobyte(cache, "2"))
            others.enter_context(source.kilobyte(cache, "3"))
            waiting = pool.submit(read)
            time.sleep(0.3)
            assert not waiting.done()
        assert waiting.result(10) == b"4" * KILOBYTE


def test_an_object_larger_than_the_cache(cache: FileCache) -> None:
    with (
        pytest.raises(ObjectError, match=r"A video of 3,001 bytes does not fit into the cache .* of 3,000 bytes"),
        cache.file("large", "", 3001, lambda file: None),
    ):
        pass
    assert used(cache) == 0


def test_a_failed_fetch_leaves_nothing(cache: FileCache, source: Source) -> None:
    def fail(file: BinaryIO) -> None:
        file.write(b"half of it")
        raise StoreError("It broke.", "Repair it.")

    with pytest.raises(StoreError, match=r"It broke\. Repair it\."), cache.file("1", ".mp4", KILOBYTE, fail):
        pass
    assert used(cache) == 0
    with source.kilobyte(cache, "1") as path:
        assert path.read_bytes() == b"1" * KILOBYTE


def test_concurrent_requests_fetch_once(cache: FileCache, source: Source) -> None:
    """The second waits for the first one's download and does not start its own."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(file: BinaryIO) -> None:
        begun.set()
        assert go_on.wait(10)
        file.write(b"1" * KILOBYTE)

    def read(fetch: Callable[[BinaryIO], object]) -> bytes:
        with cache.file("1", ".mp4", KILOBYTE, fetch) as path:
            return path.read_bytes()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(read, slow)
        assert begun.wait(10)
        second = pool.submit(read, lambda file: pytest.fail("fetched twice"))
        go_on.set()
        assert first.result(10) == second.result(10) == b"1" * KILOBYTE


def test_a_download_in_progress_counts(cache: FileCache, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bytes have not arrived yet, but its space is reserved."""
    monkeypatch.setattr(cache_module, "ROOM_S", 0.2)

    def fetch(file: BinaryIO) -> None:
        with (
            source.kilobyte(cache, "1"),
            source.kilobyte(cache, "2"),
            pytest.raises(StoreError, match="3,000 of 3,000"),
            source.kilobyte(cache, "3"),
        ):
            pass
        file.write(b"0" * KILOBYTE)

    with cache.file("0", ".mp4", KILOBYTE, fetch):
        pass


FOUR_HUNDRED_READS = """
import random, sys
from pathlib import Path
from storage.objects.cache import FileCache
seed, folder = int(sys.argv[1]), Path(sys.argv[2])
cache, chance = FileCache(folder, 5000), random.Random(seed)
for _ in range(400):
    digit = str(chance.randrange(10))
    with cache.file(digit, ".mp4", 1000, lambda file: file.write(digit.encode() * 1000)) as path:
        assert path.read_bytes() == digit.encode() * 1000, path
        with cache._locked():  # or a file that gets its name meanwhile is seen twice
            assert len(list(folder.glob("*.*"))) <= 5
"""


def test_processes_evict_concurrently(tmp_path: Path) -> None:
    """Three processes, ten files, room for five: every file that is read is complete, and the limit holds."""
    command = [sys.executable, "-c", FOUR_HUNDRED_READS]
    processes = [
        subprocess.Popen([*command, str(seed), str(tmp_path / "cache")], stderr=subprocess.PIPE, text=True)
        for seed in range(3)
    ]
    assert [process.communicate(timeout=60)[1] for process in processes] == ["", "", ""]
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {"", ".mp4"}


PROBES = """
import random, sys
from pathlib import Path
from storage.objects.cache import FileCache
from storage.video.probe import probe_video
seed, source, folder = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
videos = sorted(source.iterdir())
cache, chance = FileCache(folder, sum(video.stat().st_size for video in videos) * 2 // 3), random.Random(seed)
for _ in range(250):
    video = chance.choice(videos)
    data = video.read_bytes()
    with cache.file(video.name, ".mp4", len(data), lambda file: file.write(data)) as path:
        probe_video(path)
"""


@pytest.mark.slow
def test_two_workers_probe_a_shared_cache(tmp_path: Path) -> None:
    """500 probes of unchanged files: use by another worker is not a change."""
    (tmp_path / "archive").mkdir()
    for number in range(4):
        make_video(tmp_path / "archive" / f"{number}.mp4", 10 + number)
    command = [sys.executable, "-c", PROBES]
    workers = [
        subprocess.Popen(
            [*command, str(seed), str(tmp_path / "archive"), str(tmp_path / "cache")],
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(2)
    ]
    assert [worker.communicate(timeout=120)[1] for worker in workers] == ["", ""]


KILLED = """
import os, signal, sys
from pathlib import Path
from storage.objects.cache import FileCache
kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
def fetch(file):
    file.write(b"x" * 500)
    file.flush()
    if sys.argv[2] == "while fetching":
        kill()
Path.rename = kill
with FileCache(Path(sys.argv[1]), 3000).file("1", ".mp4", 1000, fetch):
    pass
"""


@pytest.mark.parametrize("moment", ["while fetching", "before the name"])
def test_leftovers_of_a_killed_process_are_removed(moment: str, cache: FileCache, source: Source) -> None:
    """A leftover of a killed process is never served, is fetched again on request, and otherwise removed."""
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", KILLED, str(cache.folder), moment], check=False)
        assert done.returncode == -9
        assert [path.suffix for path in cache.folder.glob("*.*")] == [".part"]
    with source.kilobyte(cache, "2"):
        assert not list(cache.folder.glob("*.part"))
    with source.kilobyte(cache, "1") as path:
        assert path.read_bytes() == b"1" * KILOBYTE
