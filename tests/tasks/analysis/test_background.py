"""Analyses in the background of a night, in a real process."""

import os
import time
from pathlib import Path

import psutil
import pytest

from storage.ledger import due_analyses
from storage.sql.database import DatabaseAwayError
from storage.sql.query import query
from tasks.analysis import background
from tasks.analysis.background import analysing_meanwhile
from tasks.analysis.events import EventsMade
from tasks.analysis.night import analyse_batch, analysing, tracks_line
from tasks.analysis.wanted import ANALYSED_TASK
from tasks.site.settings import read_settings
from tasks.site.site import open_site
from tests.servers_postgres import write_migrated
from tests.tasks.analysis.test_due import film

LIMIT_S = 60.0


@pytest.fixture
def model_version_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """A site with one video that is not analysed yet."""
    monkeypatch.setenv("NIGHTJAR_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NIGHTJAR_DATABASE_URL", raising=False)
    read_settings.cache_clear()
    write_migrated(tmp_path / "home" / "nightjar.db")
    with open_site() as site:
        return film(site.engine)


def children() -> list[psutil.Process]:
    return [each for each in psutil.Process(os.getpid()).children() if is_analysis(each)]


def is_analysis(process: psutil.Process) -> bool:
    try:
        return "tasks.analysis.background" in process.cmdline()
    except psutil.ZombieProcess:  # of another file's tests: one of these would be waited for
        return False


def due() -> list[due_analyses.Due]:
    with open_site() as site:
        return due_analyses.awaiting(site.engine)


def evaluated() -> int:
    """Count the videos whose events are made."""
    with open_site() as site:
        [[number]] = query(site.engine, "SELECT count(*) FROM event_runs")[1]
        return int(number)


def test_a_video_is_analysed_while_others_are_inferred(model_version_id: int) -> None:
    with analysing_meanwhile(model_version_id, start_after_s=0.0):
        deadline = time.monotonic() + LIMIT_S
        while due() or not evaluated():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        [child] = children()
        assert child.nice() == min(psutil.Process().nice() + background.NICENESS, 19)
    assert not children()


def test_a_short_night_starts_no_process(model_version_id: int) -> None:
    with analysing_meanwhile(model_version_id):
        time.sleep(0.1)
        assert not children()
    assert due()


def test_a_failed_night_ends_its_process_at_once(model_version_id: int) -> None:
    def night() -> None:
        with analysing_meanwhile(model_version_id, start_after_s=0.0):
            while not children():
                time.sleep(0.01)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        night()
    assert not children()


def test_remaining_videos_are_analysed_at_the_end(model_version_id: int) -> None:
    with analysing(model_version_id, ANALYSED_TASK):
        pass
    done = analyse_batch(model_version_id)
    assert (done.videos, due()) == (1, [])
    assert tracks_line(done) == "1 video analysed"
    assert tracks_line(None) == "none, because a classifier labels whole frames"


def test_events_follow_the_site_file_and_its_faults_do_not_fail_the_night(
    model_version_id: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site_file = tmp_path / "home" / "nightjar.toml"
    site_file.write_text('[[rules]]\nrule = "fall"\nwhen = "trunk_angle > 60"\n')
    done = analyse_batch(model_version_id)
    assert done.videos == 1
    assert "The events of this batch are not all made yet, and the next run continues" in caplog.text
    assert "There is no column 'trunk_angle'" in caplog.text
    assert tracks_line(done) == "1 video analysed; 0 events, but none of the rest. Run 'nightjar analyze' to retry"
    site_file.write_text('[[rules]]\nrule = "seen"\nwhen = "seen"\nmin_duration_s = 2\n')
    again = analyse_batch(model_version_id)
    assert again.events is not None
    assert again.events.shown
    assert tracks_line(again) == f"nothing new; {again.events.events} events"
    assert again.events.events >= 2
    assert analyse_batch(model_version_id).events == EventsMade(seconds=pytest.approx(0, abs=60))


def test_a_database_that_fails_does_not_fail_the_night(
    model_version_id: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise DatabaseAwayError("The database is down.", "Wait.")

    monkeypatch.setenv("NIGHTJAR_OUTAGE_S", "0")
    read_settings.cache_clear()
    monkeypatch.setattr("tasks.analysis.night.analyse_night", fail)
    done = analyse_batch(model_version_id)
    assert "not all followed yet, and the next run continues: The database is down" in caplog.text
    assert tracks_line(done).endswith("but not the rest. Run 'nightjar analyze' to retry")
    assert due()
