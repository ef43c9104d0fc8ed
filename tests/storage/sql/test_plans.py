"""Query plans on a large archive, and SQLite's number of steps: the cost depends on the size of the answer."""

import os
import re
import signal
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from sqlalchemy import Engine, text

from storage.ledger.account import read_batch, read_crowds, read_devices, read_notes, read_refused, read_whole_videos
from storage.ledger.batches import count_segments, expect_segments, finish_batch, start_batch
from storage.ledger.commit import commit_segment
from storage.ledger.due_analyses import awaiting
from storage.sql.catalogue import mark_gone, mark_seen, show_model
from storage.sql.database import open_database, reading
from tests.servers_postgres import write_migrated
from tests.storage.analysed import analyse_all
from tests.storage.many_videos import key_of, multiply
from tests.storage.samples import make_poses, make_report, make_video, must_claim, planned_batch, record_file

SMALL, LARGE = 300, 3000
STEP = 100  # instructions of SQLite's virtual machine


def archive_of(engine: Engine, videos: int) -> tuple[int, int]:
    """Insert this number of videos, all done: (model_version_id, batch_id)."""
    video_id, model_version_id, batch_id = planned_batch(engine, make_video(frames=20))
    record_file(engine, "archive/", key_of(0), 1234, "etag", video_id=video_id)
    show_model(engine, "pose", model_version_id)
    assert commit_segment(engine, must_claim(engine, batch_id), make_poses(0, 20), make_report(20), "key", "0" * 64)
    finish_batch(engine, batch_id)
    analyse_all(engine)
    multiply(engine, videos)
    return model_version_id, batch_id


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Engine]]:
    """Number of videos -> a SQLite database with this number, all in one archive and done by batch 1."""
    folder = tmp_path_factory.mktemp("plans")
    made: dict[int, Engine] = {}
    for videos in (SMALL, LARGE):
        made[videos] = open_database(write_migrated(folder / f"{videos}.sqlite"))
        archive_of(made[videos], videos)
    yield made
    for engine in made.values():
        engine.dispose()


def steps(engine: Engine, sql: str) -> int:
    """Return the cost of the answer, in STEPs."""
    count = 0

    def look() -> None:
        nonlocal count
        count += 1

    connection = sqlite3.connect(str(engine.url.database))
    connection.set_progress_handler(look, STEP)
    connection.execute(sql).fetchall()
    connection.close()
    return count


FEW = [
    "SELECT * FROM video_summary WHERE video_id = 7",
    "SELECT * FROM video_summary WHERE video_id IN (7, 70, 170)",
    "SELECT s.video FROM (SELECT 7 AS video_id) AS mine JOIN video_summary AS s ON s.video_id = mine.video_id",
    "SELECT * FROM video_names WHERE video_id = 7",
    "SELECT * FROM keypoints WHERE video_id = 7",
    "SELECT * FROM keypoints WHERE video_id = 7 AND frame < 3 AND keypoint = 'nose'",
    "SELECT * FROM people WHERE video_id = 7",
    "SELECT video, track FROM people WHERE video_id = 7 AND frame < 3",
    "SELECT * FROM track_summary WHERE video_id = 7",
    "SELECT * FROM track_motion WHERE video_id = 7",
    "SELECT * FROM quarantine",
    "SELECT * FROM quarantine WHERE archive = 'archive/'",
    "SELECT * FROM batch_summary",
    "SELECT * FROM device_summary WHERE batch_id = 2",
]
ALL = [
    "SELECT * FROM video_summary ORDER BY video",
    f"SELECT * FROM video_summary WHERE video = '{key_of(7)}'",
    f"SELECT * FROM keypoints WHERE video = '{key_of(7)}'",
    "SELECT video, count(*) FROM keypoints WHERE keypoint = 'nose' GROUP BY video",
    "SELECT video, track, count(*) FROM people GROUP BY video, track",
    f"SELECT * FROM people WHERE video = '{key_of(7)}'",
    "SELECT * FROM track_summary",
    "SELECT video, track, max(speed_px_per_s) FROM track_motion GROUP BY video, track",
    "SELECT * FROM video_names",
    "SELECT * FROM device_summary",
    "SELECT * FROM presence_intervals",
    "SELECT * FROM absence",
    "SELECT video, most_people FROM pose_seconds JOIN video_summary USING (video_id, model_version_id)",
]


@pytest.mark.parametrize("sql", FEW)
def test_a_few_rows_cost_the_same_in_small_and_large_archives(engines: dict[int, Engine], sql: str) -> None:
    assert steps(engines[LARGE], sql) <= steps(engines[SMALL], sql) + 10


@pytest.mark.parametrize("sql", ALL)
def test_the_cost_of_all_rows_is_linear(engines: dict[int, Engine], sql: str) -> None:
    few, many = steps(engines[SMALL], sql), steps(engines[LARGE], sql)
    assert many < 1.3 * LARGE / SMALL * few + 10


def test_copies_of_a_file_cost_one_index_lookup(tmp_path: Path) -> None:
    """A thousand copies of the same clip under other names; the first by name gives the video its name."""
    engine = open_database(write_migrated(tmp_path / "copies.sqlite"))
    archive_of(engine, 3)
    with sqlite3.connect(str(engine.url.database)) as connection:
        connection.executemany(
            "INSERT INTO archive_files (archive, key, size_bytes, etag, video_id, seen_at, read_at)"
            " SELECT archive, ?, size_bytes, etag, video_id, seen_at, read_at FROM archive_files WHERE key = ?",
            [(f"copy{number:04d}.mp4", key_of(0)) for number in range(1000)],
        )
    assert steps(engine, "SELECT * FROM video_summary WHERE video_id = 1") <= 10
    engine.dispose()


def test_sqlite_sorts_no_files_for_a_name(engines: dict[int, Engine]) -> None:
    with reading(engines[SMALL]) as connection:
        plan = connection.execute(text("EXPLAIN QUERY PLAN SELECT video, gone_at FROM video_summary")).all()
    told = [row[3] for row in plan]
    assert any("USING COVERING INDEX ix_archive_files_name (video_id=?)" in line for line in told)
    assert not [line for line in told if re.search("MATERIALIZE|TEMP B-TREE|SCAN f|SCAN s$", line)]


def test_postgresql_looks_up_only_the_requested_rows(pg_migrated_url: str) -> None:
    """The plans read rows of large tables only through an index, and do not sort a video's files."""
    engine = open_database(pg_migrated_url)
    archive_of(engine, LARGE)
    for sql in FEW:
        with reading(engine) as connection:
            plan = connection.execute(text(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) {sql}")).scalars()
            lines = list(plan)
        scanned = [
            line
            for line in lines
            if re.search(
                r"Seq Scan on (videos|archive_files|segments|poses|analyses|pose_tracks|tracks|motion)\b.*loops=", line
            )
        ]
        assert not scanned, (sql, lines)
    with reading(engine) as connection:
        named = list(connection.execute(text("EXPLAIN (COSTS OFF) SELECT video FROM video_summary")).scalars())
    assert any("using ix_archive_files_name_c on archive_files" in line for line in named), named
    assert not any("Sort" in line for line in named), named
    engine.dispose()


def test_a_night_with_nothing_new_costs_the_same_in_large_archives(engines: dict[int, Engine]) -> None:
    """All statements of its account take no more steps over 3000 videos than over 300."""
    taken = {}
    for videos, engine in engines.items():
        count = 0

        def look() -> None:
            nonlocal count
            count += 1

        with engine.connect() as connection:  # of the pool, which returns it to the next caller
            driver = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            driver.set_progress_handler(look, STEP)
        batch_id = start_batch(engine, "archive/", 1, "local", "owner")
        counts = expect_segments(engine, batch_id, range(1, videos + 1), videos, 0)
        assert awaiting(engine, 1) == []
        assert (counts.expected, count_segments(engine, batch_id).expected) == (0, 0)
        assert finish_batch(engine, batch_id) == "completed"
        batch = read_batch(engine, batch_id)
        assert read_whole_videos(engine, batch_id, 200) == read_notes(engine, batch_id) == []
        assert read_devices(engine, batch_id) == read_crowds(engine, batch, 3) == read_refused(engine, "archive/") == []
        taken[videos] = count
    assert taken[LARGE] <= taken[SMALL] + 10


def test_listed_files_are_marked_and_missing_ones_return(engines: dict[int, Engine]) -> None:
    engine, keys = engines[LARGE], [key_of(number) for number in range(1, LARGE)]
    gone = "SELECT count(*) FROM archive_files WHERE gone_at IS NOT NULL"
    mark_gone(engine, "archive/", keys[:1500])
    with reading(engine) as connection:
        assert connection.execute(text(gone)).scalar_one() == 1500
    mark_seen(engine, "archive/", keys)
    with reading(engine) as connection:
        assert connection.execute(text(gone)).scalar_one() == 0


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


def test_a_signal_ends_an_endless_statement_on_sqlite(tmp_path: Path) -> None:
    """It ends with the handler's exception, and the connection remains usable."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    engine = open_database(f"sqlite:///{tmp_path}/one.sqlite")
    before = signal.signal(signal.SIGTERM, interrupt)
    asked = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    try:
        asked.start()
        with pytest.raises(KeyboardInterrupt), reading(engine) as connection:
            connection.execute(text(ENDLESS))
    finally:
        asked.join()
        signal.signal(signal.SIGTERM, before)
    with reading(engine) as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    engine.dispose()
