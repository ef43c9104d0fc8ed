"""Analyses: the due ones, their claims, and the rows that the views show, on both databases."""

import numpy as np
import pytest
from alembic import command
from sqlalchemy import Engine, text, update

from storage.ledger import analysis_claims, analysis_upkeep, due_analyses
from storage.ledger.analysis_claims import AnalysisClaim, AnalysisEnd, AnalysisLost
from storage.ledger.commit import commit_segment
from storage.ledger.due_analyses import Due
from storage.ledger.leases import quarantine_segment
from storage.sql.analyses.versions import register_analysis, show_first_analysis
from storage.sql.catalogue import show_model, supersede
from storage.sql.database import _alembic_config, migrate, writing
from storage.sql.query import query
from storage.sql.tables import analyses as analyses_table
from storage.sql.tables import segments
from storage.track_rows import POSE_TRACKS
from tests.storage.analysed import rows_of
from tests.storage.samples import (
    make_labels,
    make_model,
    make_poses,
    make_report,
    make_video,
    must_claim,
    planned_batch,
    record_file,
    register_video,
)

LEASE_S = 60.0


class Film:
    """A video of 60 frames in three segments, two people in each frame; `done`: the committed segments."""

    def __init__(self, engine: Engine, sha256: str = "a" * 64, done: int = 3) -> None:
        self.engine = engine
        self.video_id, self.model_version_id, self._batch = planned_batch(engine, make_video(sha256, 60), length=20)
        record_file(engine, "archive/", f"{sha256[:4]}.mp4", 1, "etag", video_id=self.video_id)
        show_model(engine, "pose", self.model_version_id)
        self.commit(done)

    def commit(self, count: int) -> None:
        for _ in range(count):
            claim = must_claim(self.engine, self._batch)
            rows = make_poses(claim.segment.start_frame, claim.segment.stop_frame)
            assert commit_segment(self.engine, claim, rows, make_report(20))

    def quarantine(self) -> None:
        assert quarantine_segment(self.engine, must_claim(self.engine, self._batch), "rotten", retry=True)

    def replay(self) -> None:
        """Commit the quarantined segment after all, as another batch would."""
        with writing(self.engine) as connection:
            again = {"status": "planned", "tries": 0, "finished_at": None, "reason": None}
            connection.execute(update(segments).where(segments.c.status == "quarantined").values(again))
        self.commit(1)

    @property
    def due(self) -> Due:
        return Due(self.video_id, self.model_version_id, 0)


@pytest.fixture
def version(engine: Engine) -> int:
    """The id of the shown analysis version."""
    found = register_analysis(engine, "e" * 64, "{}")
    assert show_first_analysis(engine, found)
    return found


def claimed(engine: Engine, film: Film, version: int, owner: str = "me", lease_s: float = LEASE_S) -> AnalysisClaim:
    found = analysis_claims.claim_analysis(engine, film.due, version, owner, lease_s)
    assert found is not None
    return found


def analysed(engine: Engine, film: Film, version: int, first_track: int = 1) -> AnalysisClaim:
    claim = claimed(engine, film, version)
    analysis_claims.add_analysis_rows(engine, claim, LEASE_S, rows_of(claim, first_track))
    analysis_claims.complete_analysis(engine, claim, AnalysisEnd(claim.rows, 2))
    return claim


def answer(engine: Engine, sql: str) -> list[tuple]:
    return [tuple(row) for row in query(engine, sql)[1]]


def counts(engine: Engine) -> list[int]:
    """Rows of each table of an analysis, with any status."""
    return [answer(engine, f"SELECT count(*) FROM {name}")[0][0] for name in ("pose_tracks", "tracks", "motion")]


def test_a_video_is_due_when_none_of_its_segments_is_open(engine: Engine, version: int) -> None:
    film = Film(engine, done=2)
    assert due_analyses.awaiting(engine) == due_analyses.outdated(engine, version) == []
    film.commit(1)
    due = [Due(film.video_id, film.model_version_id, 120)]
    assert due_analyses.awaiting(engine) == due_analyses.awaiting(engine, film.model_version_id) == due
    assert due_analyses.outdated(engine, version) == due
    assert due_analyses.awaiting(engine, film.model_version_id + 1) == []


def test_an_analysis_is_visible_when_it_is_complete(engine: Engine, version: int) -> None:
    film = Film(engine)
    claim = claimed(engine, film, version)
    assert [part.start_frame for part in claim.parts] == [0, 20, 40]
    assert (claim.width, claim.height, claim.fps, claim.rows) == (640, 480, 25.0, 120)
    analysis_claims.add_analysis_rows(engine, claim, LEASE_S, rows_of(claim))
    assert answer(engine, "SELECT count(*), count(track) FROM people") == [(120, 0)]
    assert answer(engine, "SELECT * FROM track_summary") == answer(engine, "SELECT * FROM track_motion") == []
    analysis_claims.complete_analysis(engine, claim, AnalysisEnd(120, 2))
    assert answer(engine, "SELECT track, count(*) FROM people GROUP BY track ORDER BY track") == [(1, 60), (2, 60)]
    assert answer(engine, "SELECT DISTINCT person, track FROM keypoints ORDER BY person") == [(0, 1), (1, 2)]
    assert answer(engine, "SELECT video, track, frames, duration_s FROM track_summary ORDER BY track") == [
        ("aaaa.mp4", 1, 60, 2.36),
        ("aaaa.mp4", 2, 60, 2.36),
    ]
    motion = "SELECT centre_x_px, trunk_angle_deg, nose_x FROM track_motion WHERE track = 2 AND frame = 7"
    assert answer(engine, motion) == [(7.0, None, None)]
    assert due_analyses.awaiting(engine) == due_analyses.outdated(engine, version) == []
    assert analysis_claims.claim_analysis(engine, film.due, version, "me", LEASE_S) is None


def test_rows_that_come_late_are_analysed_and_the_old_analysis_is_deleted(engine: Engine, version: int) -> None:
    film = Film(engine, done=2)
    film.quarantine()
    analysed(engine, film, version)
    assert counts(engine) == [80, 2, 80]
    film.replay()
    assert answer(engine, "SELECT count(*), count(track) FROM people") == [(120, 80)]
    assert len(due_analyses.awaiting(engine)) == len(due_analyses.outdated(engine, version)) == 1
    analysed(engine, film, version, first_track=5)
    assert answer(engine, "SELECT track, count(*) FROM people GROUP BY track ORDER BY track") == [(5, 60), (6, 60)]
    assert counts(engine) == [200, 4, 200]
    assert analysis_upkeep.delete_replaced(engine) == 1
    assert counts(engine) == [120, 2, 120]
    assert analysis_upkeep.delete_replaced(engine) == 0
    assert due_analyses.awaiting(engine) == []


def test_rows_that_come_during_an_analysis_cause_another(engine: Engine, version: int) -> None:
    film = Film(engine, done=2)
    film.quarantine()
    claim = claimed(engine, film, version)
    film.replay()
    analysis_claims.add_analysis_rows(engine, claim, LEASE_S, rows_of(claim))
    analysis_claims.complete_analysis(engine, claim, AnalysisEnd(claim.rows, 2))
    assert len(due_analyses.awaiting(engine)) == len(due_analyses.outdated(engine, version)) == 1
    analysed(engine, film, version)
    assert due_analyses.awaiting(engine) == []


def test_one_process_at_a_time(engine: Engine, version: int) -> None:
    film = Film(engine)
    first = claimed(engine, film, version, "first")
    assert analysis_claims.claim_analysis(engine, film.due, version, "second", LEASE_S) is None
    assert analysis_upkeep.analysing(engine, version) == ["first"]
    analysis_claims.abandon_analysis(engine, first)
    assert analysis_upkeep.analysing(engine, version) == []
    claimed(engine, film, version, "second")


def test_a_process_that_lost_its_lease_changes_nothing(engine: Engine, version: int) -> None:
    film = Film(engine)
    slow = claimed(engine, film, version, "slow", lease_s=-1.0)
    other = claimed(engine, film, version, "other")
    for late in (
        lambda: analysis_claims.add_analysis_rows(engine, slow, LEASE_S, rows_of(slow)),
        lambda: analysis_claims.keep_analysis(engine, slow, LEASE_S),
        lambda: analysis_claims.complete_analysis(engine, slow, AnalysisEnd(120, 2)),
    ):
        with pytest.raises(AnalysisLost):
            late()
    analysis_claims.abandon_analysis(engine, slow)
    assert counts(engine) == [0, 0, 0]
    analysis_claims.keep_analysis(engine, other, LEASE_S)
    analysis_upkeep.delete_replaced(engine)
    with pytest.raises(AnalysisLost):  # also when its row is gone, and its number
        analysis_claims.add_analysis_rows(engine, slow, LEASE_S, rows_of(slow))
    assert counts(engine) == [0, 0, 0]


def test_the_analyses_of_dead_processes_are_given_up(engine: Engine, version: int) -> None:
    film = Film(engine)
    claimed(engine, film, version, "dead")
    assert analysis_upkeep.release_dead_analyses(engine, lambda owner: owner == "other") == 0
    assert analysis_upkeep.release_dead_analyses(engine, lambda owner: owner == "dead") == 1
    claimed(engine, film, version, "alive")


def test_a_version_is_shown_when_it_has_analysed_everything(engine: Engine, version: int) -> None:
    films = [Film(engine, digit * 64) for digit in "ab"]
    for film in films:
        analysed(engine, film, version)
    newer = register_analysis(engine, "f" * 64, "{}")
    assert not show_first_analysis(engine, newer)
    assert len(due_analyses.outdated(engine, newer)) == 2
    shown = "SELECT track, count(*) FROM people GROUP BY track ORDER BY track"
    for film in films:
        assert not due_analyses.show_when_current(engine, newer)
        assert answer(engine, shown) == [(1, 120), (2, 120)]
        analysed(engine, film, newer, first_track=7)
    assert answer(engine, shown) == [(1, 120), (2, 120)]
    assert due_analyses.show_when_current(engine, newer)
    assert answer(engine, shown) == [(7, 120), (8, 120)]
    assert due_analyses.show_when_current(engine, version)  # it is complete, too: back again, without work
    assert answer(engine, shown) == [(1, 120), (2, 120)]


def test_an_analysis_of_another_version_leaves_the_shown_one_due(engine: Engine, version: int) -> None:
    film = Film(engine)
    analysed(engine, film, register_analysis(engine, "f" * 64, "{}"))
    assert len(due_analyses.awaiting(engine)) == len(due_analyses.outdated(engine, version)) == 1


def test_videos_that_are_superseded_and_classifiers_have_no_tracks(engine: Engine, version: int) -> None:
    film = Film(engine)
    whole = register_video(engine, make_video("b" * 64, 90))
    record_file(engine, "archive/", "aaaa.mp4", 2, "new", video_id=whole)
    assert supersede(engine, film.video_id, whole)
    _, _, batch_id = planned_batch(
        engine, make_video("c" * 64), length=100, model=make_model("c" * 64, "cars", "classification")
    )
    assert commit_segment(engine, must_claim(engine, batch_id), make_labels(0, 100), make_report(100))
    assert due_analyses.awaiting(engine) == due_analyses.outdated(engine, version) == []


def test_every_chunk_of_a_long_analysis_is_deleted(engine: Engine, version: int) -> None:
    film = Film(engine)
    claim = claimed(engine, film, version)
    many = np.zeros(100, POSE_TRACKS)
    many["frame"] = np.arange(100) * 1000
    rows = rows_of(claim)
    analysis_claims.add_analysis_rows(engine, claim, LEASE_S, rows._replace(pose_tracks=many))
    analysis_claims.abandon_analysis(engine, claim)
    assert analysis_upkeep.delete_replaced(engine) == 1
    assert counts(engine) == [0, 0, 0]


def test_the_migration_marks_existing_poses(engine: Engine) -> None:
    film = Film(engine)
    _, _, batch_id = planned_batch(
        engine, make_video("c" * 64), length=100, model=make_model("c" * 64, "cars", "classification")
    )
    assert commit_segment(engine, must_claim(engine, batch_id), make_labels(0, 100), make_report(100))
    config = _alembic_config()
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0025")
    migrate(engine)
    assert due_analyses.awaiting(engine) == [Due(film.video_id, film.model_version_id, 120)]


def test_the_number_of_an_analysis_is_never_used_again(engine: Engine, version: int) -> None:
    film = Film(engine)
    numbers = set()
    for _ in range(3):
        claim = claimed(engine, film, version)
        numbers.add(claim.analysis_id)
        analysis_claims.abandon_analysis(engine, claim)
        analysis_upkeep.delete_replaced(engine)
    assert len(numbers) == 3
    with writing(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM analyses")).scalar_one() == 0
        assert analyses_table.c.analysis_id.primary_key
