"""That an analysis is done again or was done, wherever its process is killed, on both databases."""

import multiprocessing
import random
import signal
import time
from datetime import datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, text, update

from storage.ledger import analysis_upkeep, due_analyses
from storage.ledger.leases import quarantine_segment
from storage.sql.analyses.versions import read_shown_analysis
from storage.sql.database import open_database, reading, writing
from storage.sql.query import query
from storage.sql.tables import archive_files, segments
from tasks.analysis.due import analyse_history
from tasks.analysis.recordings import arrange
from tasks.site.owner import is_dead
from tests.servers_postgres import write_migrated
from tests.storage.samples import must_claim
from tests.tasks.analysis.filmed import MIDNIGHT
from tests.tasks.analysis.killed import analyse_until_killed
from tests.tasks.analysis.test_due import FRAMES, LEASE_S, answers, commit, film, plan

PROCESSES, KILLS, LIMIT_S = 2, 20, 300.0
SEEN = "SELECT video, count(track), count(*) FROM people GROUP BY video ORDER BY video"

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.tasks.analysis.killed"])


def start(engine: Engine, in_the_middle: bool = False) -> BaseProcess:
    url = engine.url.render_as_string(hide_password=False)
    process = processes.Process(target=analyse_until_killed, args=(url, in_the_middle), daemon=True)
    process.start()
    return process


def of_videos(engine: Engine, together: bool) -> None:
    """Three videos: one whose last segment came after an analysis, and two that were never analysed.

    together: they are one recording
    """
    _, batch_id = plan(engine, "a", 50)
    commit(engine, batch_id, 5)
    assert quarantine_segment(engine, must_claim(engine, batch_id), "rotten", retry=True)
    place(engine, "a", 0, together)
    analyse_history(engine, {}, LEASE_S)
    again = {"status": "planned", "tries": 0, "finished_at": None, "reason": None}
    with writing(engine) as connection:
        connection.execute(update(segments).where(segments.c.status == "quarantined").values(again))
    commit(engine, batch_id, 1)
    for number, name in enumerate("bc", start=1):
        film(engine, name)
        place(engine, name, number, together)


def place(engine: Engine, name: str, number: int, together: bool) -> None:
    start_at = MIDNIGHT + timedelta(seconds=number * FRAMES / 25)
    values = {"camera": "door", "start_at": start_at, "time_zone": "UTC"} if together else {"camera": None}
    with writing(engine) as connection:
        connection.execute(update(archive_files).where(archive_files.c.key == f"{name}.mp4").values(values))
    arrange(engine, 2.0)


def seen(engine: Engine) -> dict[str, int]:
    """Video -> its rows with a track."""
    return {row[0]: row[1] for row in query(engine, SEEN)[1]}


def rounded(found: dict[str, list[tuple]]) -> dict[str, list[tuple]]:
    """Answers of either database: one returns a REAL as it is, the other its shortest text."""
    return {name: [tuple(map(_of_either, row)) for row in rows] for name, rows in found.items()}


def _of_either(value: object) -> object:
    if isinstance(value, datetime):  # text on SQLite
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return np.float32(value) if isinstance(value, float) else value


def version_of(engine: Engine) -> int:
    shown = read_shown_analysis(engine)
    assert shown is not None
    return shown.analysis_version_id


@pytest.mark.parametrize(
    "together",
    [pytest.param(False, id="three recordings", marks=pytest.mark.slow), pytest.param(True, id="one recording")],
)
def test_an_analysis_is_done_again_or_was_done(engine: Engine, tmp_path: Path, together: bool) -> None:
    """And a reader sees the former analysis of a video or the new one, never a part of either.

    In a recording, the next video's analysis changes the last rows, so that there is more than one former one.
    """
    other = open_database(write_migrated(tmp_path / "undisturbed.sqlite"))
    of_videos(other, together)
    before = seen(other)
    analyse_history(other, {}, LEASE_S)
    after, expected = seen(other), answers(other)
    of_videos(engine, together)
    version, rng, kills = version_of(engine), random.Random(3), 0
    deadline, workers = time.monotonic() + LIMIT_S, [start(engine, in_the_middle=True) for _ in range(PROCESSES)]
    try:
        for worker in workers:
            worker.join(LIMIT_S)
            assert worker.exitcode == -signal.SIGKILL
        workers[:] = [start(engine) for _ in range(PROCESSES)]
        while kills < KILLS or due_analyses.outdated(engine, version):
            assert time.monotonic() < deadline
            time.sleep(rng.uniform(0.02, 0.15))
            found = seen(engine)
            assert together or all(found[video] in (before[video], after[video]) for video in found), found
            if kills < KILLS:
                kills += 1
                number = rng.randrange(PROCESSES)
                workers[number].kill()
                workers[number].join()
                workers[number] = start(engine)
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    assert rounded(answers(engine)) == rounded(expected)
    analysis_upkeep.release_dead_analyses(engine, is_dead)
    analysis_upkeep.delete_replaced(engine)
    with reading(engine) as connection:
        given = connection.execute(text("SELECT count(*), max(analysis_id) FROM analyses")).one()
        stored = connection.execute(text("SELECT count(*) FROM pose_tracks")).scalar_one()
    assert given[0] == 3
    assert given[1] > 4  # the kills did interrupt analyses
    assert stored == sum(after.values())
    assert stored > FRAMES * 3
    other.dispose()
