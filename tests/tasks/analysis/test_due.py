"""Due analyses, with the real tracker and the real motion, on both databases."""

from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import Engine, update

from models.tracking.params import TrackParams
from models.tracking.tracker import track_poses
from models.types import Poses
from storage.ledger import analysis_claims
from storage.ledger.commit import commit_segment
from storage.ledger.leases import quarantine_segment
from storage.sql.catalogue import show_model
from storage.sql.database import writing
from storage.sql.query import query
from storage.sql.tables import segments
from tasks.analysis.analyse import analyse
from tasks.analysis.due import analyse_history, analyse_night, outcome
from tasks.analysis.params import AnalysisParams
from tasks.analysis.wanted import is_analysis_due, wanted_params
from tests.storage.samples import make_report, make_video, must_claim, planned_batch, record_file
from tests.storage.walkers import walkers

FRAMES, LEASE_S = 300, 60.0
PLACES = 6  # columns of a view: camera, at, local_at and ids
ROWS = {
    "tracks": "SELECT * FROM track_summary ORDER BY video, track",
    "people": "SELECT video, frame, person, track FROM people ORDER BY video, frame, person",
    "motion": "SELECT * FROM track_motion ORDER BY video, track, frame",
}


def plan(engine: Engine, name: str = "a", length: int = 50, frames: int = FRAMES) -> tuple[int, int]:
    """A video of walkers, none of whose segments is done: (model_version_id, batch_id)."""
    video = replace(make_video(name * 64, frames), width=1920, height=1080)
    video_id, model_version_id, batch_id = planned_batch(engine, video, length)
    record_file(engine, "archive/", f"{name}.mp4", 1, "etag", video_id=video_id)
    show_model(engine, "pose", model_version_id)
    return model_version_id, batch_id


def commit(engine: Engine, batch_id: int, count: int) -> None:
    for _ in range(count):
        claim = must_claim(engine, batch_id)
        rows = walkers(claim.segment.start_frame, claim.segment.stop_frame)
        assert commit_segment(engine, claim, rows, make_report(claim.segment.frames))


def film(engine: Engine, name: str = "a", length: int = 50) -> int:
    """A video of walkers with all of its rows."""
    model_version_id, batch_id = plan(engine, name, length)
    commit(engine, batch_id, -(-FRAMES // length))
    return model_version_id


def answers(engine: Engine) -> dict[str, list[tuple]]:
    return {name: [tuple(row) for row in query(engine, sql)[1]] for name, sql in ROWS.items()}


def test_a_night_analyses_its_videos_once(engine: Engine) -> None:
    model_version_id = film(engine)
    assert is_analysis_due(engine, model_version_id)
    done = analyse_night(engine, model_version_id, LEASE_S)
    assert (done.videos, done.rows, done.failed, done.shown) == (1, len(walkers(0, FRAMES)), {}, True)
    assert outcome(done).startswith(f"1 video analysed, {done.rows} person-frames in ")
    found = answers(engine)
    assert len(found["people"]) == done.rows
    tracked = [row for row in found["people"] if row[-1] is not None]
    assert len(tracked) > 0.9 * done.rows
    assert sum(row[7] for row in found["tracks"]) == len(tracked)
    assert len(found["motion"]) >= len(tracked)
    assert not is_analysis_due(engine, model_version_id)
    again = analyse_night(engine, model_version_id, LEASE_S)
    assert (again.videos, again.rows) == (0, 0)
    assert answers(engine) == found


def test_the_summary_of_a_track_is_that_of_its_rows(engine: Engine) -> None:
    analyse_night(engine, film(engine), LEASE_S)
    poses = walkers(0, FRAMES)
    track = np.array([row[-1] or 0 for row in answers(engine)["people"]])
    for row in answers(engine)["tracks"]:
        mine = np.flatnonzero(track == row[1])
        low, high = np.fmin.reduce(poses.keypoints[mine], 1), np.fmax.reduce(poses.keypoints[mine], 1)
        box = np.median(np.concatenate([low, high - low], 1), 0)
        assert row[2:8] == (
            pytest.approx(poses.t_s[mine[0]]),
            pytest.approx(poses.t_s[mine[-1]]),
            pytest.approx(poses.t_s[mine[-1]] - poses.t_s[mine[0]]),
            poses.frame[mine[0]],
            poses.frame[mine[-1]],
            len(mine),
        )
        assert row[8:13] == pytest.approx((poses.scores[mine].mean(), *box), rel=1e-5)


@pytest.mark.parametrize("length", [25, 125, 300])
def test_the_rows_do_not_depend_on_how_the_night_was_cut(
    engine: Engine, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither on segments, nor on the order of their results, nor on the chunks that are read and written."""
    film(engine, "a", 50)
    model_version_id, batch_id = plan(engine, "b", length)
    claims = [must_claim(engine, batch_id) for _ in range(-(-FRAMES // length))]
    for claim in np.random.default_rng(length).permutation(np.arange(len(claims))):
        mine = claims[claim]
        rows = walkers(mine.segment.start_frame, mine.segment.stop_frame)
        assert commit_segment(engine, mine, rows, make_report(mine.segment.frames))
    monkeypatch.setattr("tasks.analysis.analyse.ROWS_AT_ONCE", length)
    analyse_night(engine, model_version_id, LEASE_S)
    untold = {"people": 0, "motion": PLACES, "tracks": PLACES + 3}  # last columns: names, times and ids
    for kind, rows_of_all in answers(engine).items():
        first, second = (
            [row[1 : len(row) - untold[kind]] for row in rows_of_all if row[0] == name] for name in ("a.mp4", "b.mp4")
        )
        assert first == second
        assert first


def test_a_quarantined_segment_is_a_gap_until_it_is_replayed(engine: Engine) -> None:
    model_version_id, batch_id = plan(engine)
    commit(engine, batch_id, 5)
    assert quarantine_segment(engine, must_claim(engine, batch_id), "rotten", retry=True)
    assert analyse_night(engine, model_version_id, LEASE_S).videos == 1
    before = answers(engine)
    assert len(before["people"]) == len(walkers(0, 250))
    again = {"status": "planned", "tries": 0, "finished_at": None, "reason": None}
    with writing(engine) as connection:
        connection.execute(update(segments).where(segments.c.status == "quarantined").values(again))
    commit(engine, batch_id, 1)
    assert is_analysis_due(engine, model_version_id)
    assert analyse_night(engine, model_version_id, LEASE_S).videos == 1
    assert len(answers(engine)["people"]) == len(walkers(0, FRAMES))
    assert list(query(engine, "SELECT count(*) FROM analyses")[1]) == [(1,)]


def test_other_parameters_are_shown_when_all_videos_are_analysed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        model_version_id = film(engine, name)
    analyse_night(engine, model_version_id, LEASE_S)
    before, changes = answers(engine), {"fill_gap_s": 0.0, "smoothed_keypoints": True}
    video_id = next(query(engine, "SELECT min(video_id) FROM videos")[1])[0]
    part = analyse_history(engine, changes, LEASE_S, video_id=video_id)
    assert (part.videos, part.shown) == (1, False)
    assert answers(engine) == before
    rest = analyse_history(engine, changes, LEASE_S)
    assert (rest.videos, rest.shown) == (1, True)
    assert [row[-1 - PLACES] for row in answers(engine)["motion"]].count(None) < len(before["motion"])
    assert wanted_params(engine) == AnalysisParams().replaced(changes)
    assert analyse_night(engine, model_version_id, LEASE_S).videos == 0  # a night uses the shown parameters
    back = analyse_history(engine, {"fill_gap_s": AnalysisParams().motion.fill_gap_s, "smoothed_keypoints": False}, 60)
    assert (back.videos, back.shown) == (0, True)  # it was kept
    assert answers(engine) == before


def test_after_an_update_of_the_tracker_a_night_analyses_all_history(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        model_version_id = film(engine, name)
    analyse_night(engine, model_version_id, LEASE_S)
    monkeypatch.setattr("models.tracking.params.TRACKER_VERSION", 99)
    assert is_analysis_due(engine, model_version_id)
    done = analyse_night(engine, model_version_id, LEASE_S)
    assert (done.videos, done.shown) == (2, True)
    assert not is_analysis_due(engine, model_version_id)


def test_a_video_that_cannot_be_analysed_is_left_out_and_stays_due(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "ab":
        model_version_id = film(engine, name)

    def fail_once(engine: Engine, claim: analysis_claims.AnalysisClaim, *args: object) -> None:
        if claim.video_id == 1:
            raise ZeroDivisionError("odd poses")
        analyse(engine, claim, *args)

    monkeypatch.setattr("tasks.analysis.due.analyse", fail_once)
    done = analyse_night(engine, model_version_id, LEASE_S)
    assert (done.videos, done.failed) == (1, {"a.mp4": "odd poses"})
    assert "a.mp4 cannot be analysed: odd poses" in caplog.text
    assert outcome(done).endswith(", 1 failed")
    monkeypatch.undo()
    assert analyse_night(engine, model_version_id, LEASE_S).videos == 1


def test_a_day_without_new_rows_is_left_out(engine: Engine) -> None:
    from datetime import UTC, datetime, timedelta

    film(engine)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert analyse_history(engine, {}, LEASE_S, since=tomorrow).videos == 0
    assert analyse_history(engine, {}, LEASE_S, since=tomorrow - timedelta(days=2)).videos == 1


def test_two_people_in_one_frame_are_two_tracks() -> None:
    """One of four walkers appears in the frame in which another one is seen last."""
    poses = walkers(5440, 5480, people=4)
    [tracked] = track_poses([poses], TrackParams(), (1920, 1080), 1 / 25)
    mine = tracked.track > 0
    assert mine.any()
    found = set(zip(poses.frame[mine].tolist(), tracked.track[mine].tolist(), strict=True))
    assert len(found) == mine.sum()


ODD = {
    "nobody": walkers(0, 0),
    "one frame": walkers(0, 1),
    "a crowd": walkers(0, 30, people=60),
}


@pytest.mark.parametrize("poses", ODD.values(), ids=ODD)
def test_odd_videos_are_analysed(engine: Engine, poses: Poses) -> None:
    frames = int(poses.frame[-1]) + 1 if len(poses) else 30
    model_version_id, batch_id = plan(engine, length=frames, frames=frames)
    assert commit_segment(engine, must_claim(engine, batch_id), poses, make_report(frames))
    done = analyse_night(engine, model_version_id, LEASE_S)
    assert (done.videos, done.rows) == (1, len(poses))
    assert not is_analysis_due(engine, model_version_id)


def test_parameters_survive_json_and_unknown_ones_are_left_out() -> None:
    params = AnalysisParams().replaced({"max_gap_s": 5.0, "fill_gap_s": 0.25, "smoothed_keypoints": True})
    assert AnalysisParams.from_json(params.to_json()) == params
    assert AnalysisParams.from_json('{"track": {"of_the_future": 1}}') == AnalysisParams()
    assert params.sha256() != AnalysisParams().sha256()
    with pytest.raises(ValueError, match="max_gap_s"):
        params.replaced({"max_gap_s": -1.0})
