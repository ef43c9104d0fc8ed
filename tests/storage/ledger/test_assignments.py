"""Assignments of a fleet's runs, on both databases: their holders, their ends, and late reports."""

import time

import pytest
from sqlalchemy import Engine

from storage.ledger import assignments, batches
from storage.ledger import leases as ledger
from storage.ledger.assignments import Assignment
from storage.ledger.commit import commit_segment
from storage.ledger.leases import MAX_TRIES, Claim
from storage.sql.query import query
from tests.storage.samples import make_poses, make_report, make_video, planned_batch

LEASE_S = 60.0
FRAMES, LENGTH = 100, 20


def batch_of(engine: Engine) -> int:
    """A batch of five segments of 20 frames."""
    return planned_batch(engine, make_video(frames=FRAMES), LENGTH)[2]


def given(engine: Engine, batch_id: int, frames: int = 40, lease_s: float = LEASE_S) -> tuple[Assignment, list[Claim]]:
    one = assignments.create(engine, batch_id)
    return one, assignments.grant(engine, one, "pi-1", "CPU", frames, lease_s)


def ask(engine: Engine, sql: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in query(engine, sql)[1]]


def commit(engine: Engine, claim: Claim) -> bool:
    start, stop = claim.segment.start_frame, claim.segment.stop_frame
    return commit_segment(engine, claim, make_poses(start, stop), make_report(stop - start))


def test_a_grant_has_about_the_requested_frames_leased_to_the_assignment(engine: Engine) -> None:
    one, claims = given(engine, batch_of(engine), frames=50)
    assert [claim.segment.frames for claim in claims] == [20, 20, 20]
    assert ask(engine, "SELECT DISTINCT owner FROM segments WHERE status = 'leased'") == [(one.owner,)]
    assert ask(engine, "SELECT status, worker, device, segments, frames FROM assignments") == [
        ("working", "pi-1", "CPU", 3, 60)
    ]


def test_no_segment_is_assigned_twice_and_others_keep_waiting(engine: Engine) -> None:
    batch_id = batch_of(engine)
    _, first = given(engine, batch_id, frames=60)
    _, second = given(engine, batch_id, frames=600)
    third, nothing = given(engine, batch_id)
    assert not {claim.segment_id for claim in first} & {claim.segment_id for claim in second}
    assert (len(first), len(second), nothing) == (3, 2, [])
    assert ask(engine, f"SELECT status FROM assignments WHERE assignment_id = '{third.assignment_id}'") == [
        ("waiting",)
    ]


def test_a_grant_requested_again_is_the_same(engine: Engine) -> None:
    """The answer to COMMIT was lost: the parent asks again, and must neither receive more nor lose its segments."""
    one, claims = given(engine, batch_of(engine))
    assert assignments.grant(engine, one, "pi-1", "CPU", 40, LEASE_S) == claims
    assignments.end(engine, one.assignment_id, "lost", "silent")
    assert assignments.grant(engine, one, "pi-1", "CPU", 40, LEASE_S) == []


def test_planned_and_expired_segments_are_free(engine: Engine) -> None:
    batch_id = batch_of(engine)
    assert ledger.count_free(engine, batch_id) == (5, 100)
    _, claims = given(engine, batch_id, frames=20)
    given(engine, batch_id, frames=20, lease_s=-1)
    assert ledger.count_free(engine, batch_id) == (4, 80)
    assert commit(engine, claims[0])
    assert ledger.count_free(engine, batch_id) == (4, 80)


def test_only_assignments_silent_past_their_lease_have_lapsed(engine: Engine) -> None:
    batch_id = batch_of(engine)
    silent, _ = given(engine, batch_id, lease_s=0.05)
    given(engine, batch_id)
    time.sleep(0.1)
    assert [one.assignment_id for one in assignments.lapsed(engine, batch_id)] == [silent.assignment_id]
    assert assignments.renew(engine, silent.assignment_id, LEASE_S) == 2
    assert assignments.lapsed(engine, batch_id) == []


def test_an_ended_assignment_is_fenced_and_only_its_current_segment_counts_as_tried(engine: Engine) -> None:
    batch_id = batch_of(engine)
    one, claims = given(engine, batch_id)
    assert assignments.end(engine, one.assignment_id, "lost", "its stick vanished", claims[1]) == 2
    assert not commit(engine, claims[0]), "fenced"
    assert assignments.renew(engine, one.assignment_id, LEASE_S) == 0
    tried = ask(engine, "SELECT segment_id, tries, reason FROM segments WHERE tries > 0")
    assert tried == [(claims[1].segment_id, 1, "its stick vanished")]
    _, again = given(engine, batch_id)
    assert claims[1].segment_id not in {claim.segment_id for claim in again}, (
        "segments with the fewest tries come first"
    )


def test_ending_twice_changes_nothing(engine: Engine) -> None:
    one, claims = given(engine, batch_of(engine))
    assignments.end(engine, one.assignment_id, "lost", "silent", claims[0])
    before = ask(engine, "SELECT * FROM assignments")
    assert assignments.end(engine, one.assignment_id, "done", "late word", claims[0]) == 0
    assert ask(engine, "SELECT * FROM assignments") == before


def test_a_segment_that_kills_its_runs_is_quarantined(engine: Engine) -> None:
    batch_id = planned_batch(engine, make_video(frames=LENGTH), LENGTH)[2]
    for _ in range(MAX_TRIES):
        one, claims = given(engine, batch_id)
        assignments.end(engine, one.assignment_id, "lost", "killed", claims[0])
    [(status, reason)] = ask(engine, "SELECT status, reason FROM segments")
    assert (status, reason) == ("quarantined", "5 attempts failed, the last one: killed")


def test_done_segments_are_not_freed_when_the_run_is_lost(engine: Engine) -> None:
    one, claims = given(engine, batch_of(engine))
    assert commit(engine, claims[0])
    assert assignments.end(engine, one.assignment_id, "lost", "silent", claims[1]) == 1
    assert ask(engine, "SELECT count(*) FROM segments WHERE status = 'done'") == [(1,)]


@pytest.mark.parametrize(("archive", "adopted"), [("archive/", 1), ("another/", 0)])
def test_the_next_batch_adopts_assignments_of_a_dead_one(engine: Engine, archive: str, adopted: int) -> None:
    video_id, model, batch_id = planned_batch(engine, make_video(frames=FRAMES), LENGTH)
    one, claims = given(engine, batch_id)
    assert assignments.adopt(engine, batch_id) == 0
    batches.finish_batch(engine, batch_id, "killed")
    following = batches.start_batch(engine, archive, model, "fleet", "another owner")
    batches.expect_segments(engine, following, [video_id], 1, 0)
    assert assignments.adopt(engine, following) == adopted
    assert [each.assignment_id for each in assignments.open_assignments(engine, following)] == (
        [one.assignment_id] * adopted
    )
    assert assignments.claims(engine, one.assignment_id) == claims, "it still holds its segments, with the same attempt"
    assert commit(engine, claims[0])
    assert [done.people for done in batches.done_segments(engine, following)] == [40] * adopted


def test_assignments_of_a_running_batch_are_not_adopted(engine: Engine) -> None:
    _, model, batch_id = planned_batch(engine, make_video(frames=FRAMES), LENGTH)
    given(engine, batch_id)
    following = batches.start_batch(engine, "archive/", model, "fleet", "another owner")
    assert assignments.adopt(engine, following) == 0
