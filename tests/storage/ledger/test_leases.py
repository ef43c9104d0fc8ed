"""The ledger: plans, leases, fences, quarantine and accounts."""

import threading
from typing import Any

import pytest
from sqlalchemy import Engine, select, text, update
from sqlalchemy.exc import IntegrityError

from models.types import Segment
from storage.ledger.batches import (
    cancel_batch,
    count_segments,
    expect_segments,
    finish_batch,
    given_up,
    release_dead,
    requeue_quarantined,
    start_batch,
)
from storage.ledger.commit import commit_segment
from storage.ledger.leases import MAX_TRIES, claim, quarantine_segment, release, renew
from storage.ledger.plan import enter_video
from storage.sql.catalogue import RecordedFile, known_file, register_model
from storage.sql.database import DatabaseError
from storage.sql.query import query
from storage.sql.result_rows import read_poses
from storage.sql.tables import segments
from tests.storage.samples import (
    assert_same,
    cut,
    make_model,
    make_poses,
    make_report,
    make_video,
    must_claim,
    plan_video,
    planned_batch,
    record_file,
    register_video,
)

EXPIRED_S = -1.0  # a lease that ended a second ago, so that no test has to wait


def ranges(engine: Engine) -> list[tuple[int, int]]:
    with engine.connect() as connection:
        rows = connection.execute(
            select(segments.c.start_frame, segments.c.stop_frame).order_by(segments.c.start_frame)
        ).all()
    return [(start, stop) for start, stop in rows]


def one_segment(engine: Engine) -> dict[str, Any]:
    with engine.connect() as connection:
        return dict(connection.execute(select(segments).order_by(segments.c.segment_id).limit(1)).one()._mapping)


# Plans


def test_a_video_is_planned_once_for_any_later_segment_length(engine: Engine) -> None:
    video, model_version_id = make_video(frames=95), register_model(engine, make_model())
    video_id = register_video(engine, video)
    assert plan_video(engine, video_id, model_version_id, cut(video, 20)) == 5
    assert plan_video(engine, video_id, model_version_id, cut(video, 20)) == 0
    assert plan_video(engine, video_id, model_version_id, cut(video, 7)) == 0
    assert ranges(engine) == [(0, 20), (20, 40), (40, 60), (60, 80), (80, 95)]


def test_a_plan_fills_gaps_without_overlap(engine: Engine) -> None:
    video_id, model_version_id, _ = planned_batch(engine, make_video(), length=20)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM batch_segments"))
        connection.execute(text("DELETE FROM segments WHERE start_frame IN (20, 80)"))
    assert plan_video(engine, video_id, model_version_id, cut(make_video(), 30)) == 4
    assert ranges(engine) == [(0, 20), (20, 30), (30, 40), (40, 60), (60, 80), (80, 90), (90, 100)]


@pytest.mark.parametrize("bad", [[(0, 50)], [(0, 50), (60, 100)], [(0, 60), (50, 100)], [(1, 100)], []])
def test_a_plan_with_gaps_or_overlaps_is_refused_completely(engine: Engine, bad: list[tuple[int, int]]) -> None:
    video = make_video(frames=100)
    video_id, model_version_id = register_video(engine, video), register_model(engine, make_model())
    with pytest.raises(ValueError, match=r"gap or overlap|end at frame"):
        plan_video(engine, video_id, model_version_id, [Segment(video.sha256, *each) for each in bad])
    assert ranges(engine) == []


def test_a_file_is_entered_with_its_plan_or_not_at_all(engine: Engine) -> None:
    video, model_version_id = make_video(frames=100), register_model(engine, make_model())
    file = RecordedFile("archive/", "a.mp4", video.size_bytes, "etag")
    with pytest.raises(ValueError, match="end at frame"):
        enter_video(engine, file, video, model_version_id, cut(video, 20)[:-1])
    assert ranges(engine) == []
    assert list(query(engine, "SELECT count(*) FROM videos")[1]) == [(0,)]
    assert known_file(engine, "archive/", "a.mp4") is None
    video_id = enter_video(engine, file, video, model_version_id, cut(video, 50))
    assert video_id == register_video(engine, video)
    found = known_file(engine, "archive/", "a.mp4")
    assert found is not None
    assert (found.video_id, found.size_bytes, found.etag) == (video_id, video.size_bytes, "etag")
    assert ranges(engine) == [(0, 50), (50, 100)]


def test_concurrent_planners_make_one_plan(engine: Engine) -> None:
    video, model_version_id = make_video(frames=1000), register_model(engine, make_model())
    video_id = register_video(engine, video)
    start, made = threading.Barrier(4), []

    def plan(length: int) -> None:
        start.wait()
        made.append(plan_video(engine, video_id, model_version_id, cut(video, length)))

    threads = [threading.Thread(target=plan, args=(length,)) for length in (10, 30, 70, 110)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made)[:3] == [0, 0, 0]
    assert len(ranges(engine)) == max(made)
    assert sum(stop - start for start, stop in ranges(engine)) == 1000


# Claims and fences


def test_each_segment_is_claimed_once(engine: Engine) -> None:
    _, _, batch_id = planned_batch(engine, make_video(), length=20)
    claims = [claim(engine, batch_id, "me", 60) for _ in range(6)]
    starts = [each.segment.start_frame for each in claims if each]
    assert sorted(starts) == [0, 20, 40, 60, 80]
    assert claims[-1] is None


def test_a_batch_claims_only_what_it_expects(engine: Engine) -> None:
    _, model_version_id, first = planned_batch(engine, make_video("a" * 64))
    other = start_batch(engine, "archive/", model_version_id, "local", "other")
    assert claim(engine, other, "other", 60) is None
    assert claim(engine, first, "me", 60) is not None


def test_a_worker_paused_past_its_lease_commits_nothing(engine: Engine) -> None:
    video_id, model_version_id, batch_id = planned_batch(engine, make_video(), length=100)
    paused = must_claim(engine, batch_id, "paused", EXPIRED_S)
    awake = must_claim(engine, batch_id, "awake", 60)
    assert awake.attempt == paused.attempt + 1
    assert not commit_segment(engine, paused, make_poses(0, 100, people=3), make_report(100))
    assert not renew(engine, paused, 60)
    assert not release(engine, paused, "gave up")
    assert not quarantine_segment(engine, paused, "gave up")
    assert len(read_poses(engine, video_id, model_version_id, 0, 100)) == 0
    assert commit_segment(engine, awake, make_poses(0, 100), make_report(100))
    assert not commit_segment(engine, awake, make_poses(0, 100, people=3), make_report(100))
    assert_same(read_poses(engine, video_id, model_version_id, 0, 100), make_poses(0, 100))


def test_a_renewed_lease_is_not_reassigned(engine: Engine) -> None:
    _, _, batch_id = planned_batch(engine, make_video(), length=100)
    mine = must_claim(engine, batch_id, "me", EXPIRED_S)
    assert renew(engine, mine, 60)
    assert claim(engine, batch_id, "other", 60) is None


def test_a_late_owner_may_commit_an_unclaimed_segment(engine: Engine) -> None:
    _, _, batch_id = planned_batch(engine, make_video(), length=100)
    mine = must_claim(engine, batch_id, "me", EXPIRED_S)
    assert commit_segment(engine, mine, make_poses(0, 100), make_report(100))


# Failures


def test_five_failures_quarantine_a_segment_and_a_replay_resets_it(engine: Engine) -> None:
    video_id, _, batch_id = planned_batch(engine, make_video(), length=100)
    record_file(engine, "archive/", "a.mp4", 1234, "etag", video_id=video_id)
    for attempt in range(1, MAX_TRIES + 1):
        mine = must_claim(engine, batch_id)
        assert mine.attempt == attempt
        assert release(engine, mine, "stick \x00 unplugged")
    assert claim(engine, batch_id, "me", 60) is None
    assert one_segment(engine)["reason"] == "5 attempts failed, the last one: stick \\0 unplugged"
    assert finish_batch(engine, batch_id) == "incomplete", "the video is not at fault"
    assert requeue_quarantined(engine, "elsewhere/") == (0, 0)
    assert requeue_quarantined(engine, "archive/") == (0, 1)
    again = must_claim(engine, batch_id)
    assert again.attempt == MAX_TRIES + 1  # never a number that a worker may still use


def test_segments_given_up_leave_the_batch_incomplete_and_are_retried_by_the_next(engine: Engine) -> None:
    """Failures that say nothing about the video are never final: only the input's own fault is."""
    video_id, model_version_id, batch_id = planned_batch(engine, make_video(frames=40), length=20)
    assert quarantine_segment(engine, must_claim(engine, batch_id), "rotten")
    for _ in range(MAX_TRIES):
        assert release(engine, must_claim(engine, batch_id), "the decoder was killed")
    assert (count_segments(engine, batch_id).missing, given_up(engine, batch_id)) == (0, 1)
    assert finish_batch(engine, batch_id) == "incomplete"

    following = start_batch(engine, "archive/", model_version_id, "local", "me")
    counts = expect_segments(engine, following, [video_id], 1, 0)
    assert (counts.expected, counts.missing) == (1, 1), "the quarantined one is not tried again"
    again = must_claim(engine, following)
    assert commit_segment(engine, again, make_poses(20, 40), make_report(20))
    assert (given_up(engine, following), finish_batch(engine, following)) == (0, "completed")


def test_unreadable_files_leave_the_batch_incomplete(engine: Engine) -> None:
    _, model_version_id, _ = planned_batch(engine, make_video())
    empty = start_batch(engine, "archive/", model_version_id, "local", "me")
    assert finish_batch(engine, empty, unread=1) == "incomplete"


def test_silent_workers_quarantine_a_segment_too(engine: Engine) -> None:
    _, _, batch_id = planned_batch(engine, make_video(), length=100)
    for _ in range(MAX_TRIES):
        assert claim(engine, batch_id, "silent", EXPIRED_S)
    assert claim(engine, batch_id, "me", 60) is None
    assert one_segment(engine)["reason"] == "5 attempts failed, the last one: silent was silent past its lease"
    assert count_segments(engine, batch_id).quarantined == 1


def test_a_cancelled_attempt_does_not_count_as_failure(engine: Engine) -> None:
    _, _, batch_id = planned_batch(engine, make_video(), length=100)
    for _ in range(2 * MAX_TRIES):
        mine = must_claim(engine, batch_id)
        assert release(engine, mine, None)
    assert one_segment(engine)["status"] == "planned"


def test_a_fault_of_the_input_is_quarantined_at_once(engine: Engine) -> None:
    _, _, batch_id = planned_batch(engine, make_video(), length=50)
    mine = must_claim(engine, batch_id)
    assert quarantine_segment(engine, mine, "no frame can be decoded")
    counts = count_segments(engine, batch_id)
    assert (counts.quarantined, counts.frames_quarantined, counts.missing) == (1, 50, 1)


def test_segments_of_a_dead_run_are_free_at_once(engine: Engine) -> None:
    _, _, batch_id = planned_batch(engine, make_video(), length=20, owner="killed")
    held, kept = must_claim(engine, batch_id, "killed"), must_claim(engine, batch_id, "alive")
    assert release_dead(engine, lambda owner: False) == 0
    assert release_dead(engine, lambda owner: owner == "killed") == 1
    assert renew(engine, kept, 60)
    assert not renew(engine, held, 60)
    _, rows = query(engine, "SELECT status, error, segments_missing FROM batch_summary")
    assert list(rows) == [("crashed", "killed died", 5)]


@pytest.mark.parametrize("end", [cancel_batch, finish_batch], ids=["cancelled", "crashed"])
def test_a_batch_that_ends_early_releases_only_its_own_segments(engine: Engine, end: Any) -> None:
    """A signal between the commit of a claim and its return leaves a segment that its process does not know."""
    _, _, batch_id = planned_batch(engine, make_video(frames=100), length=20, owner="me")
    must_claim(engine, batch_id, "me")
    kept = must_claim(engine, batch_id, "another one")
    end(engine, batch_id, "called off")
    _, rows = query(engine, "SELECT status, tries, owner FROM segments ORDER BY status, segment_id")
    assert list(rows) == [("leased", 1, "another one"), *[("planned", 0, None)] * 4]
    assert renew(engine, kept, 60)


# Accounts


def test_a_batch_counts_expected_done_and_missing_segments(engine: Engine) -> None:
    video = make_video(frames=100)
    _, model_version_id, batch_id = planned_batch(engine, video, length=25)
    claims = [must_claim(engine, batch_id) for _ in range(3)]
    assert commit_segment(engine, claims[0], make_poses(0, 24), make_report(24, (24,)))
    assert quarantine_segment(engine, claims[1], "rotten")
    counts = count_segments(engine, batch_id)
    assert counts == (1, 1, 1, 1, 100, 24, 1, 25, 50, 48)
    assert counts.expected == 4
    account = "segments_expected, segments_done, segments_quarantined, segments_missing, frames_expected, frames_done"
    account = f"SELECT {account}, frames_undecodable, frames_quarantined, frames_missing, people FROM batch_summary"
    live = list(query(engine, account)[1])
    assert finish_batch(engine, batch_id) == "incomplete"
    assert live == [(4, 1, 1, 2, 100, 24, 1, 25, 50, 48)]

    tomorrow = start_batch(engine, "archive/", model_version_id, "local", "owner")
    assert expect_segments(engine, tomorrow, [claims[0].video_id], 1, 0).expected == 2
    assert expect_segments(engine, tomorrow, [claims[0].video_id], 1, 0).expected == 2
    assert commit_segment(engine, claims[2], make_poses(50, 75), make_report(25))
    rest = must_claim(engine, tomorrow)
    assert commit_segment(engine, rest, make_poses(75, 100), make_report(25))
    assert finish_batch(engine, tomorrow) == "completed"
    # The first batch still shows what was missing at its end.
    assert list(query(engine, f"{account} WHERE batch_id = 1")[1]) == live


def test_a_crashed_batch_records_its_error(engine: Engine) -> None:
    _, _, batch_id = planned_batch(engine, make_video())
    assert finish_batch(engine, batch_id, "disk full") == "crashed"
    assert list(query(engine, "SELECT status, error FROM batch_summary")[1]) == [("crashed", "disk full")]


def test_the_database_refuses_invalid_rows(engine: Engine) -> None:
    planned_batch(engine, make_video())
    for values in ({"status": "lost"}, {"status": "leased"}, {"status": "done"}, {"stop_frame": 0}, {"tries": 7}):
        with pytest.raises(IntegrityError, match=r"(?i)check"), engine.begin() as connection:
            connection.execute(update(segments).values(values))
    with pytest.raises(DatabaseError, match=r"(?i)foreign key"):
        start_batch(engine, "archive/", 999, "local", "me")
