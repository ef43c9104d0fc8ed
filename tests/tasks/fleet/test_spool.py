"""Results that cannot be uploaded are kept, bounded, and uploaded later by any run."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models.types import NightjarError, Segment
from storage.objects.artifacts import FolderArtifacts
from storage.objects.places import StoreError
from storage.parquet import Result
from tasks.fleet.spool import Spool
from tasks.segment.result_files import ResultReader, load, result_key
from tests.storage.samples import make_model, make_poses, make_report, make_video

pytestmark = pytest.mark.usefixtures("forked_sandboxes")

VIDEO, VERSION = make_video(frames=100), make_model().version_sha256
PLENTY = 1 << 20


def result_of(start: int) -> Result:
    segment = Segment(VIDEO.sha256, start, start + 20)
    return Result(VIDEO, segment, VERSION, make_poses(start, start + 20), make_report(20))


def key_of(start: int) -> str:
    return result_key(VERSION, result_of(start).segment, 1)


class Store(FolderArtifacts):
    """A store that is down whenever `before` says so."""

    before: Callable[[str], None] = staticmethod(lambda key: None)

    def put_file(self, key: str, path: Path) -> None:
        self.before(key)
        super().put_file(key, path)


def away(key: str) -> None:
    raise StoreError("The store does not answer.", "Wait.")


MANIFEST: Any = SimpleNamespace(version_id=VERSION, task="pose")


@pytest.fixture
def reader() -> Iterator[ResultReader]:
    with ResultReader() as reader:
        yield reader


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_spooled_results_are_sent_when_the_store_is_back(store: Store, tmp_path: Path, reader: ResultReader) -> None:
    spool = Spool(tmp_path / "spool", store, PLENTY)
    store.before = away
    stored = [spool.keep(key_of(start), result_of(start)) for start in (0, 20)]
    assert not spool.send()
    assert list(store.list("")) == []
    store.before = lambda key: None
    assert Spool(tmp_path / "spool", store, PLENTY).send(), "the next run on this machine sends it"
    for one, start in zip(stored, (0, 20), strict=True):
        assert load(store, reader, one, MANIFEST, result_of(start).segment).version_sha256 == VERSION
        assert hashlib.sha256(store.get_bytes(one.key)).hexdigest() == one.sha256
    assert spool.size_bytes() == 0
    assert spool.send(), "the spool is empty"


def test_a_full_spool_reports_it_and_keeps_its_files(store: Store, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", store, limit_bytes=100)
    store.before = away
    spool.keep(key_of(0), result_of(0))
    with pytest.raises(NightjarError, match="NIGHTJAR_SPOOL_BYTES"):
        spool.keep(key_of(20), result_of(20))
    store.before = lambda key: None
    assert spool.send()
    assert list(store.list("")) == [key_of(0)]


def test_files_sent_by_another_run_hide_none_of_ours(store: Store, tmp_path: Path) -> None:
    """Two runs of one machine share the spool: one finds a file missing, and must still send the others."""
    spool = Spool(tmp_path / "spool", store, PLENTY)
    for start in (0, 20, 40):
        spool.keep(key_of(start), result_of(start))
    first = sorted(key_of(start) for start in (0, 20, 40))[0]

    def taken(key: str) -> None:
        if key == first:
            (tmp_path / "spool" / key).unlink()
            raise StoreError("There is no such file.", "List again.")

    store.before = taken
    assert spool.send()
    assert sorted(store.list("")) == sorted({key_of(start) for start in (0, 20, 40)} - {first})
