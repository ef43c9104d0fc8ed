"""Rows of segments: equal when read back, replaced completely, refused if they belong to another segment."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select, text

from models.types import Poses, Segment
from storage.ledger.commit import commit_segment, load_result
from storage.ledger.leases import claim, release
from storage.parquet import Result
from storage.sql.catalogue import register_model
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
    poses_of,
)

VIDEO = make_video(frames=100)


def make_result(start_frame: int, stop_frame: int, people: int = 2) -> Result:
    segment = Segment(VIDEO.sha256, start_frame, stop_frame)
    poses = make_poses(start_frame, stop_frame, people)
    return Result(VIDEO, segment, make_model().version_sha256, poses, make_report(segment.frames))


def dump(engine: Engine) -> list[Any]:
    """Everything that a load may change, including times."""
    with engine.connect() as connection:
        tables = ("poses", "pose_seconds", "segments", "videos")
        return [connection.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4")).all() for table in tables]


@given(drawn=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_rows_survive_a_round_trip(engine: Engine, drawn: st.DataObject) -> None:
    with engine.begin() as connection:
        for table in ("poses", "pose_seconds", "batch_segments", "segments"):
            connection.execute(text(f"DELETE FROM {table}"))
    video_id, model_version_id, batch_id = planned_batch(engine, VIDEO, length=60)
    mine = must_claim(engine, batch_id)
    poses = drawn.draw(poses_of(mine.segment))
    assert commit_segment(engine, mine, poses, make_report(60))
    assert_same(read_poses(engine, video_id, model_version_id, 0, 60), poses)


def test_more_rows_than_one_copy_block_are_written(engine: Engine) -> None:
    video_id, model_version_id, batch_id = planned_batch(engine, make_video(frames=6000), length=6000)
    poses = make_poses(0, 6000, people=3)
    assert commit_segment(engine, must_claim(engine, batch_id), poses, make_report(6000))
    assert_same(read_poses(engine, video_id, model_version_id, 0, 6000), poses)
    part = read_poses(engine, video_id, model_version_id, 100, 200)
    assert_same(part, make_poses(100, 200, people=3))


def test_a_missing_keypoint_is_null(engine: Engine) -> None:
    _, _, batch_id = planned_batch(engine, VIDEO, length=100)
    poses = make_poses(0, 100)
    commit_segment(engine, must_claim(engine, batch_id), poses, make_report(100))
    missing = int(np.isnan(poses.keypoints[:, 0, 0]).sum())
    assert missing > 0
    assert list(query(engine, "SELECT count(*) FROM poses WHERE nose_x IS NULL")[1]) == [(missing,)]


def seconds(engine: Engine) -> list[tuple[float, ...]]:
    columns = "frame, second, first_s, last_s, frames_seen, most_people"
    return [tuple(row) for row in query(engine, f"SELECT {columns} FROM pose_seconds ORDER BY frame")[1]]


def test_each_second_with_people_has_a_row(engine: Engine) -> None:
    """At 25 frames per second: nobody in frames 3 to 79, and frame 40 begins another segment."""
    _, _, batch_id = planned_batch(engine, VIDEO, length=40)
    own = np.concatenate([np.arange(3), np.arange(80, 100)])
    for start in (0, 40, 80):
        everybody = make_poses(start, min(start + 40, 100), people=3)
        there = np.isin(everybody.frame, own) & ((everybody.person < 1) | (everybody.frame == 90))
        rows = Poses(*(getattr(everybody, name)[there] for name in everybody.__dataclass_fields__))
        assert commit_segment(engine, must_claim(engine, batch_id), rows, make_report(min(40, 100 - start)))
    assert seconds(engine) == [(0, 0, 0, 2 / 25, 3, 1), (80, 3, 80 / 25, 99 / 25, 20, 3)]


def test_a_second_shared_by_two_segments_has_two_replaceable_rows(engine: Engine) -> None:
    register_model(engine, make_model())
    for start in (0, 20, 40):
        assert load_result(engine, make_result(start, start + 20, people=2))
    before = seconds(engine)
    assert [row[:2] for row in before] == [(0, 0), (20, 0), (25, 1), (40, 1), (50, 2)]
    with engine.begin() as connection:
        connection.execute(text("UPDATE segments SET status = 'planned', finished_at = NULL WHERE start_frame = 20"))
    assert load_result(engine, make_result(20, 40, people=3))
    assert seconds(engine) == [(*row[:5], 3 if 20 <= row[0] < 40 else 2) for row in before]


def test_the_ledger_records_how_a_segment_was_processed(engine: Engine) -> None:
    _, _, batch_id = planned_batch(engine, VIDEO, length=100)
    report = make_report(97, (3, 50))
    commit_segment(engine, must_claim(engine, batch_id), make_poses(0, 3), report, "results/a.parquet", "f" * 64)
    with engine.connect() as connection:
        row = connection.execute(select(segments)).one()
    assert (row.status, row.frames_done, row.undecodable_frames, row.undecodable) == ("done", 97, 2, "[3, 50]")
    assert (row.people, row.device, row.precision, row.worker, row.wall_s) == (6, "CPU (test)", "f32", "worker-1", 1.5)
    assert (row.result_key, row.result_sha256, row.owner) == ("results/a.parquet", "f" * 64, None)
    assert row.finished_at.utcoffset().total_seconds() == 0


def changed(poses: Poses, **values: Any) -> Poses:
    return dataclasses.replace(poses, **values)


GOOD = make_poses(0, 50)
BAD = {
    "a frame of another segment": make_poses(0, 51),
    "unsorted": changed(GOOD, frame=GOOD.frame[::-1].copy()),
    "twice the same person": changed(GOOD, person=np.zeros_like(GOOD.person)),
    "a negative person": changed(GOOD, person=(GOOD.person - 1).astype(np.int16)),
    "an infinite score": changed(GOOD, scores=np.full_like(GOOD.scores, np.inf)),
    "no time": changed(GOOD, t_s=np.full_like(GOOD.t_s, np.nan)),
    "a keypoint at infinity": changed(GOOD, keypoints=np.full_like(GOOD.keypoints, -np.inf)),
    "another precision": changed(GOOD, keypoints=GOOD.keypoints.astype(np.float64)),
    "fewer keypoints": changed(GOOD, keypoint_scores=GOOD.keypoint_scores[:, :16]),
}


@pytest.mark.parametrize("fault", BAD)
def test_rows_of_another_segment_are_refused(engine: Engine, fault: str) -> None:
    video_id, model_version_id, batch_id = planned_batch(engine, VIDEO, length=50)
    mine = must_claim(engine, batch_id)
    with pytest.raises(ValueError, match=r"(?i)pose|keypoint|time"):
        commit_segment(engine, mine, BAD[fault], make_report(50))
    assert len(read_poses(engine, video_id, model_version_id, 0, 100)) == 0
    assert commit_segment(engine, mine, GOOD, make_report(50))


@pytest.mark.parametrize(
    "report", [make_report(51), make_report(49, (1, 2)), make_report(1, (2, 1)), make_report(1, (50,))]
)
def test_a_report_that_counts_a_frame_twice_is_refused(engine: Engine, report: Any) -> None:
    _, _, batch_id = planned_batch(engine, VIDEO, length=50)
    with pytest.raises(ValueError, match="undecodable"):
        commit_segment(engine, must_claim(engine, batch_id), GOOD, report)


def test_a_commit_with_a_lost_answer_is_recognised(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    video_id, model_version_id, batch_id = planned_batch(engine, VIDEO, length=100)
    mine, really = must_claim(engine, batch_id), engine.dialect.do_commit

    def lose_the_answer(connection: Any) -> None:
        really(connection)
        monkeypatch.setattr(engine.dialect, "do_commit", really)
        raise engine.dialect.dbapi.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(engine.dialect, "do_commit", lose_the_answer)
    assert commit_segment(engine, mine, make_poses(0, 100), make_report(100))
    assert_same(read_poses(engine, video_id, model_version_id, 0, 100), make_poses(0, 100))


def test_a_connection_lost_halfway_commits_nothing_and_the_retry_works(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    video_id, model_version_id, batch_id = planned_batch(engine, VIDEO, length=100)
    mine, really = must_claim(engine, batch_id), engine.dialect.do_commit

    def refuse(connection: Any) -> None:
        monkeypatch.setattr(engine.dialect, "do_commit", really)
        raise engine.dialect.dbapi.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(engine.dialect, "do_commit", refuse)
    with pytest.raises(DatabaseError, match="closed the connection"):
        commit_segment(engine, mine, make_poses(0, 100), make_report(100))
    assert len(read_poses(engine, video_id, model_version_id, 0, 100)) == 0
    assert commit_segment(engine, mine, make_poses(0, 100), make_report(100))


# From result files


def test_sql_is_rebuilt_from_results_in_any_order(engine: Engine) -> None:
    model_version_id = register_model(engine, make_model())
    for start in (60, 0):
        assert load_result(engine, make_result(start, start + 20), f"results/{start}", "f" * 64)
    video_id = 1
    assert_same(read_poses(engine, video_id, model_version_id, 0, 20), make_poses(0, 20))
    assert_same(read_poses(engine, video_id, model_version_id, 60, 80), make_poses(60, 80))
    assert plan_video(engine, video_id, model_version_id, cut(VIDEO, 20)) == 3
    counts = "SELECT count(*), sum(stop_frame - start_frame) FROM segments"
    assert list(query(engine, counts)[1]) == [(5, 100)]


def test_loading_twice_changes_nothing(engine: Engine) -> None:
    register_model(engine, make_model())
    assert load_result(engine, make_result(0, 20))
    before = dump(engine)
    assert not load_result(engine, make_result(0, 20))
    assert not load_result(engine, make_result(0, 20, people=3))
    assert dump(engine) == before


def test_loading_a_result_fences_a_worker_that_repeats_it(engine: Engine) -> None:
    video_id, model_version_id, batch_id = planned_batch(engine, VIDEO, length=100)
    busy = must_claim(engine, batch_id)
    assert load_result(engine, make_result(0, 100))
    assert not commit_segment(engine, busy, make_poses(0, 100, people=3), make_report(100))
    assert not release(engine, busy, "failed")
    assert claim(engine, batch_id, "other", 60) is None
    assert_same(read_poses(engine, video_id, model_version_id, 0, 100), make_poses(0, 100))


def test_loading_replaces_only_the_rows_of_its_frames(engine: Engine) -> None:
    video_id, model_version_id, _ = planned_batch(engine, VIDEO, length=20)
    with engine.begin() as connection:
        stray = "INSERT INTO poses (video_id, model_version_id, frame, person, t_s, score) VALUES (:v, :m, :f, 9, 0, 0)"
        for frame in (19, 20, 39, 40):
            connection.execute(text(stray), {"v": video_id, "m": model_version_id, "f": frame})
    assert load_result(engine, make_result(20, 40))
    assert_same(read_poses(engine, video_id, model_version_id, 20, 40), make_poses(20, 40))
    assert read_poses(engine, video_id, model_version_id, 0, 100).frame[[0, -1]].tolist() == [19, 40]


def test_a_result_of_another_plan_is_refused(engine: Engine) -> None:
    planned_batch(engine, VIDEO, length=20)
    before = dump(engine)
    with pytest.raises(ValueError, match="another plan"):
        load_result(engine, make_result(10, 30))
    assert dump(engine) == before


def test_a_result_of_an_unknown_model_is_refused(engine: Engine) -> None:
    with pytest.raises(DatabaseError, match="Register the model"):
        load_result(engine, make_result(0, 20))
    assert dump(engine) == [[], [], [], []]


def test_a_result_of_another_geometry_is_converted(engine: Engine) -> None:
    """A video from before pixel aspects existed, and a worker that uses them: all rows agree."""
    old = dataclasses.replace(make_video(frames=40), width=160, stored_width=160)
    now = dataclasses.replace(old, width=320, pixel_aspect=2.0)
    video_id, model_version_id, batch_id = planned_batch(engine, old, length=20)
    poses = make_poses(0, 20)
    assert commit_segment(engine, must_claim(engine, batch_id), poses, make_report(20), video=now)
    result = Result(now, Segment(old.sha256, 20, 40), make_model().version_sha256, make_poses(20, 40), make_report(20))
    assert load_result(engine, result)
    for start, was in ((0, poses), (20, result.rows)):
        read = read_poses(engine, video_id, model_version_id, start, start + 20)
        assert read.keypoints[..., 0] == pytest.approx((was.keypoints[..., 0] + 0.5) / 2 - 0.5, rel=1e-5, nan_ok=True)
        assert np.array_equal(read.keypoints[..., 1], was.keypoints[..., 1], equal_nan=True)
