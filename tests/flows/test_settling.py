"""Segments of a night on one machine: each is stored and committed while the next one is inferred."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models.inference.spec import RuntimeSpec
from models.types import AttemptError
from storage.ledger import batches
from storage.objects.places import ObjectError, StoreError
from storage.sql.database import DatabaseError
from storage.sql.query import query
from tasks.batch import local
from tasks.batch.listing import ArchiveListing, read_archive
from tasks.batch.local import run_segments, set_up
from tasks.batch.night import Night, NightKey, open_night
from tasks.model.store import take_model
from tasks.site.owner import this_owner
from tasks.site.site import open_site
from tasks.text.progress import FrameProgress
from tests.flows.conftest import has_spot, register_tiny_model, spot_video

FRAMES = 60  # two seconds, in segments of half a second
WAIT_S = 30.0


@pytest.fixture
def planned(home: Path, tiny_model: Path, tmp_path: Path) -> Iterator[tuple[Night, ArchiveListing]]:
    """A night over one film in four segments, without any work done."""
    register_tiny_model(tiny_model)
    archive = tmp_path / "archive"
    archive.mkdir()
    spot_video(archive / "one.mp4", FRAMES, gop=15)
    with open_site() as site:
        model_version_id, folder, manifest = take_model(site, "tiny")
        batch_id = batches.start_batch(site.engine, str(archive), model_version_id, "local", this_owner())
    with open_night(NightKey(str(archive), batch_id, model_version_id, folder, manifest)) as night:
        listing = read_archive(night, 0.5)
        assert batches.expect_segments(night.site.engine, batch_id, listing.entries, 1, 0).expected == 4
        yield night, listing


def run(planned: tuple[Night, ArchiveListing]) -> FrameProgress:
    night, listing = planned
    progress = FrameProgress(FRAMES)
    run_segments(night, listing.entries, listing.probes, set_up(night, RuntimeSpec()), progress)
    return progress


def asked(night: Night, question: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in query(night.site.engine, question)[1]]


def assert_complete(night: Night) -> None:
    """Every frame has its row once, and no lease is left."""
    assert asked(night, "SELECT status, owner, count(*) FROM segments GROUP BY 1, 2") == [("done", None, 4)]
    frames = [number for (number,) in asked(night, "SELECT frame FROM poses ORDER BY frame")]
    assert frames == [number for number in range(FRAMES) if has_spot(number)]


def in_turns(monkeypatch: pytest.MonkeyPatch, name: str, before: Callable[[int], None]) -> None:
    """Let a function of the loop's module call `before` with the number of its call, from 0, before its work."""
    function, calls = getattr(local, name), iter(range(1000))

    def called(*args: Any, **kwargs: Any) -> Any:
        before(next(calls))
        return function(*args, **kwargs)

    monkeypatch.setattr(local, name, called)


def test_a_segment_is_committed_while_the_next_one_is_inferred(
    planned: tuple[Night, ArchiveListing], monkeypatch: pytest.MonkeyPatch
) -> None:
    second_began = threading.Event()
    in_turns(monkeypatch, "infer_segment", lambda number: second_began.set() if number == 1 else None)

    def hold_the_first(number: int) -> None:
        assert number or second_began.wait(WAIT_S), "the second segment waits for the first one's commit"

    in_turns(monkeypatch, "commit_segment", hold_the_first)
    assert run(planned).done == FRAMES
    assert_complete(planned[0])


def test_at_most_two_segments_are_held(planned: tuple[Night, ArchiveListing], monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    count = "SELECT count(*) FROM segments WHERE status = 'leased'"
    in_turns(monkeypatch, "infer_segment", lambda _: held.append(int(asked(planned[0], count)[0][0])))
    run(planned)
    assert held[0] == 1
    assert max(held) <= 2


def test_an_interruption_keeps_inferred_results_and_leaves_no_lease(
    planned: tuple[Night, ArchiveListing], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted = threading.Event()

    def interrupt_the_third(number: int) -> None:
        if number == 2:
            interrupted.set()
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        in_turns(patched, "infer_segment", interrupt_the_third)
        in_turns(patched, "commit_segment", lambda number: None if number == 0 else _wait(interrupted))
        with pytest.raises(KeyboardInterrupt):
            run(planned)
    status = asked(planned[0], "SELECT status, count(*) FROM segments GROUP BY 1 ORDER BY 1")
    assert status == [("done", 2), ("planned", 2)]
    assert asked(planned[0], "SELECT max(tries) FROM segments WHERE status = 'planned'") == [(0,)]
    run(planned)
    assert_complete(planned[0])


def _wait(event: threading.Event) -> None:
    assert event.wait(WAIT_S)


@pytest.mark.parametrize("name", ["put", "commit_segment"])
@pytest.mark.parametrize("error", [ObjectError("one.mp4 is not there.", "Look for it."), AttemptError("no memory")])
def test_a_result_that_cannot_be_stored_is_computed_again(
    planned: tuple[Night, ArchiveListing], monkeypatch: pytest.MonkeyPatch, name: str, error: Exception
) -> None:
    monkeypatch.setattr(local, "pause", lambda failures: None)

    def fail_twice(number: int) -> None:
        if number in (1, 2):
            raise error

    in_turns(monkeypatch, name, fail_twice)
    assert run(planned).done == FRAMES
    assert_complete(planned[0])


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("put", StoreError("The disk is full.", "Free some space.")),
        ("commit_segment", DatabaseError("It is gone.", "Start it.")),
    ],
)
def test_a_store_that_fails_ends_the_run_and_the_next_one_resumes(
    planned: tuple[Night, ArchiveListing], monkeypatch: pytest.MonkeyPatch, name: str, error: Exception
) -> None:
    def fail(number: int) -> None:
        if number >= 1:
            raise error

    with monkeypatch.context() as patched:
        in_turns(patched, name, fail)
        with pytest.raises(type(error)):
            run(planned)
    status = asked(planned[0], "SELECT status, count(*) FROM segments GROUP BY 1 ORDER BY 1")
    assert status == [("done", 1), ("planned", 3)]
    run(planned)
    assert_complete(planned[0])
