"""The migrations create the tables of tables.py once, for any caller; docs/schema.md describes all of them."""

import dataclasses
import hashlib
import json
import multiprocessing
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text

from storage.ledger.batches import finish_batch
from storage.ledger.commit import commit_segment
from storage.ledger.leases import quarantine_segment
from storage.sql.catalogue import RecordedFile, record_unreadable, register_model, show_when_complete
from storage.sql.database import DatabaseError, _alembic_config, check, migrate, open_database, writing
from storage.sql.evaluations import find_evaluation, record_evaluation
from storage.sql.query import query
from storage.sql.tables import metadata
from storage.sql.views import drop_views, view_queries
from tests.storage.older_database import make_older
from tests.storage.samples import (
    make_model,
    make_poses,
    make_report,
    make_video,
    must_claim,
    planned_batch,
    record_file,
    register_video,
)
from tests.storage.sql.test_evaluations import ONE as EVALUATED
from tests.storage.workers import migrate_it

SCHEMA = Path(__file__).parents[3] / "docs" / "schema.md"
# SQLite keeps a table's own text, and appends added columns to its last column's line. Not a comma in parentheses.
COLUMN_END = re.compile(r",\s*(?![^(]*\))|\n")


def described(connection: Connection, schema: str | None = None) -> set[tuple[str, ...]]:
    """The tables, columns, constraints and indexes as the database reports them, unordered."""
    if connection.dialect.name == "sqlite":
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type <> 'view' AND sql IS NOT NULL"))
        lines = ((name, line.strip().rstrip(",")) for name, sql in rows for line in re.split(COLUMN_END, sql))
    else:
        found = connection.execute(text(POSTGRESQL_SCHEMA), {"schema": schema})
        lines = ((str(name), re.sub(rf"\b{schema}\.", "", sql)) for name, sql in found)
    return {line for line in lines if "alembic_version" not in line[0]}


POSTGRESQL_SCHEMA = """
SELECT table_name, concat_ws(' ', column_name, data_type, is_nullable, column_default)
FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
WHERE table_schema = :schema AND table_type = 'BASE TABLE'
UNION ALL
SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = :schema
UNION ALL
SELECT conrelid::regclass::text, conname || ' ' || pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = CAST(:schema AS regnamespace)
"""


def test_the_migrated_database_equals_tables(engine: Engine, tmp_path: Path) -> None:
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("CREATE SCHEMA direct"))
            metadata.create_all(connection.execution_options(schema_translate_map={None: "direct"}))
            migrated, direct = described(connection, "public"), described(connection, "direct")
            direct = {(name.removeprefix("direct."), line) for name, line in direct}
        else:
            other = open_database(f"sqlite:///{tmp_path}/direct.sqlite")
            metadata.create_all(other)
            migrated = described(connection)
            with other.connect() as there:
                direct = described(there)
    assert migrated == direct
    assert {name for name, _ in direct} >= set(metadata.tables)


def test_migrating_again_changes_nothing(engine: Engine) -> None:
    register_video(engine, make_video())
    migrate(engine)
    assert list(query(engine, "SELECT count(*) FROM videos")[1]) == [(1,)]


def test_migrating_works_from_any_folder(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    engine = open_database(database_url)
    migrate(engine)
    assert set(inspect(engine).get_view_names()) == set(view_queries(engine.dialect.name))
    engine.dispose()


def test_concurrent_migrations_do_not_interfere(database_url: str) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.storage.workers"])
    three = [processes.Process(target=migrate_it, args=(database_url,)) for _ in range(3)]
    for process in three:
        process.start()
    for process in three:
        process.join(60)
    assert [process.exitcode for process in three] == [0, 0, 0]
    engine = open_database(database_url)
    assert set(inspect(engine).get_table_names()) == {*metadata.tables, "alembic_version"}
    engine.dispose()


def test_a_newer_database_is_refused(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(
        DatabaseError, match=r"has schema 9999, and this Nightjar knows \d{4} and older\. A newer Nightjar"
    ):
        migrate(engine)


def test_evaluations_survive_their_new_column_and_the_way_back(engine: Engine) -> None:
    """A doubtful speed is newer than the way back, and goes."""
    model, config = register_model(engine, make_model()), _alembic_config()
    record_evaluation(engine, model, EVALUATED)
    record_evaluation(engine, model, dataclasses.replace(EVALUATED, protocol_sha256="d" * 64, inferences_per_s=None))
    for revision in ("0026", "head"):
        with writing(engine) as connection:
            config.attributes["connection"] = connection
            (command.downgrade if revision == "0026" else command.upgrade)(config, revision)
    assert find_evaluation(engine, model, EVALUATED.protocol_sha256) == EVALUATED
    assert list(query(engine, "SELECT evaluation_id, inferences_per_s FROM evaluations")[1]) == [(1, 400.0)]
    record_evaluation(engine, model, dataclasses.replace(EVALUATED, protocol_sha256="e" * 64))
    assert list(query(engine, "SELECT count(DISTINCT evaluation_id) FROM evaluations")[1]) == [(2,)]


def test_down_and_up_again(engine: Engine) -> None:
    config = _alembic_config()
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    assert inspect(engine).get_view_names() == []
    migrate(engine)
    assert set(inspect(engine).get_view_names()) == set(view_queries(engine.dialect.name))


def test_a_table_may_become_a_view_of_its_name(engine: Engine) -> None:
    """As `events` did: the views are dropped before the migrations, when it is still a table."""
    config = _alembic_config()
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0028")
    assert "events" in inspect(engine).get_table_names()
    migrate(engine)
    assert "events" in inspect(engine).get_view_names()
    assert "event_rows" in inspect(engine).get_table_names()


def test_a_users_view_that_blocks_a_migration_is_named(pg_url: str) -> None:
    engine = open_database(pg_url)
    migrate(engine)
    with writing(engine) as connection:
        connection.exec_driver_sql("CREATE VIEW mine AS SELECT * FROM keypoints")
    with pytest.raises(DatabaseError, match="Drop your own view"), writing(engine) as connection:
        drop_views(connection)
    assert "keypoints" in inspect(engine).get_view_names()
    engine.dispose()


def test_a_changed_view_requires_a_migration() -> None:
    """Existing databases keep the old view without a migration. Add one, and write its number and the new hash here."""
    written = json.dumps([view_queries(dialect) for dialect in ("sqlite", "postgresql")])
    head = ScriptDirectory.from_config(_alembic_config()).get_current_head()
    assert (head, hashlib.sha256(written.encode()).hexdigest()[:16]) == ("0035", "80c06598cb20c477")


# Databases from before the first release


@pytest.mark.parametrize("revision", ["0001", "0009", "0023"])
def test_a_database_from_before_the_first_release_is_refused_unchanged(database_url: str, revision: str) -> None:
    engine = open_database(database_url)
    make_older(engine, revision)
    for use in (migrate, check):
        with pytest.raises(DatabaseError) as refused:
            use(engine)
        told = str(refused.value)
        assert re.search(
            rf"has schema {revision}, and this Nightjar migrates 0024 and newer\. "
            "A version from before the first release",
            told,
        )
        assert ("Move this file aside" if "sqlite" in database_url else "'createdb NAME'") in told
        assert "run 'nightjar run' again. It fills the new database from the results in the store" in told
    assert set(inspect(engine).get_table_names()) == {"alembic_version", "videos"}
    assert list(query(engine, "SELECT * FROM video_summary")[1]) == [(1, "aa")]
    engine.dispose()


# The views


def fill(engine: Engine) -> None:
    """Two videos, one twice in the archive; three segments: one done, one quarantined, one planned; a bad file."""
    video_id, model_version_id, batch_id = planned_batch(engine, make_video(frames=60), length=20)
    other = register_video(engine, make_video("b" * 64))
    record_file(engine, "archive/", "été.mp4", 1234, "e1", video_id=video_id)
    record_file(engine, "archive/", "Zoo.mp4", 1234, "e1", video_id=video_id)
    record_file(engine, "archive/", "b.mp4", 1234, "e2", video_id=other)
    record_unreadable(engine, RecordedFile("archive/", "bad.mp4", 9, "e3"), "no video stream")
    show_when_complete(engine, "pose", model_version_id)
    commit_segment(engine, must_claim(engine, batch_id), make_poses(0, 19), make_report(19, (19,)))
    quarantine_segment(engine, must_claim(engine, batch_id), "rotten")
    finish_batch(engine, batch_id)


QUESTIONS = [
    "SELECT video, frame, t_s, person, keypoint, x, y, score FROM keypoints ORDER BY frame, person, keypoint",
    "SELECT * FROM keypoints WHERE keypoint = 'left_wrist' AND video = 'Zoo.mp4' AND frame < 3 ORDER BY frame, person",
    "SELECT keypoint, count(*) AS n, avg(score) AS score FROM keypoints GROUP BY keypoint ORDER BY keypoint",
    "SELECT video, frames, task, model, segments, segments_done, segments_quarantined, frames_done, \
     frames_undecodable, people, wall_s, sha256 FROM video_summary ORDER BY video",
    "SELECT status, archive, model, files_listed, segments_expected, segments_done, segments_missing, frames_expected, \
     frames_done, frames_undecodable, frames_quarantined, frames_missing, people, estimated_s, \
     duration_s BETWEEN 0 AND 3600 AS took FROM batch_summary",
    "SELECT * FROM device_summary ORDER BY worker",
    "SELECT archive, key, model, start_frame, stop_frame, reason FROM quarantine ORDER BY key",
]


def rounded(rows: Any) -> list[tuple[Any, ...]]:
    return [tuple(np.float32(value) if isinstance(value, float) else value for value in row) for row in rows]


def test_the_views_give_equal_answers_on_both_databases(pg_url: str, tmp_path: Path) -> None:
    engines = [open_database(url) for url in (f"sqlite:///{tmp_path}/nightjar.sqlite", pg_url)]
    for engine in engines:
        migrate(engine)
        fill(engine)
    for question in QUESTIONS:
        sqlite, postgresql = ((columns, rounded(rows)) for columns, rows in (query(each, question) for each in engines))
        assert sqlite == postgresql
        assert sqlite[1]
    for engine in engines:
        engine.dispose()


def test_the_views_give_the_expected_rows(engine: Engine) -> None:
    fill(engine)
    poses, (_, rows) = make_poses(0, 19), query(engine, QUESTIONS[0])
    found = ~np.isnan(poses.keypoints[:, :, 0])
    assert len(list(rows)) == found.sum()
    wrists = "SELECT frame, person, x, y, score FROM keypoints WHERE keypoint = 'left_wrist' ORDER BY frame, person"
    first = rounded(query(engine, wrists)[1])[0]
    row = int(found[:, 9].argmax())
    assert first == (poses.frame[row], poses.person[row], *poses.keypoints[row, 9], poses.keypoint_scores[row, 9])
    assert [tuple(row) for row in query(engine, QUESTIONS[3])[1]] == [
        ("Zoo.mp4", 60, "pose", "posenet-075", 3, 1, 1, 19, 1, 38, 1.5, "a" * 64),
        ("b.mp4", 100, "pose", "posenet-075", 0, 0, 0, 0, 0, 0, None, "b" * 64),
    ]
    assert list(query(engine, QUESTIONS[6])[1]) == [
        ("archive/", "Zoo.mp4", "posenet-075", 20, 40, "rotten"),
        ("archive/", "bad.mp4", None, None, None, "no video stream"),
    ]


def test_one_keypoint_is_one_scan(pg_url: str) -> None:
    """PostgreSQL's plan reads poses once, for one of the 17 arms."""
    engine = open_database(pg_url)
    migrate(engine)
    with engine.connect() as connection:
        plan = connection.execute(text("EXPLAIN SELECT * FROM keypoints WHERE keypoint = 'nose'")).scalars().all()
    assert sum("on poses" in line for line in plan) == 1
    assert not any("Append" in line for line in plan)
    engine.dispose()


@pytest.mark.parametrize("view", ["keypoints", "people"])
def test_tracks_are_looked_up_only_where_they_are_asked_for(view: str, pg_url: str) -> None:
    """PostgreSQL's plan: the joins that find a row's track are left out, also of sums over all rows."""
    engine = open_database(pg_url)
    migrate(engine)

    def tables_read(sql: str) -> set[str]:
        with engine.connect() as connection:
            plan = connection.execute(text(f"EXPLAIN {sql}")).scalars()
            return {name for line in plan for name in re.findall(r" on (\w+)", line)}

    for sql in (f"SELECT count(*) FROM {view}", f"SELECT video, frame, person FROM {view}"):
        assert not tables_read(sql) & {"pose_tracks", "analyses"}
    assert tables_read(f"SELECT track FROM {view}") >= {"pose_tracks", "analyses"}
    engine.dispose()


# The document


def documented() -> dict[str, set[str]]:
    """Table or view -> the columns that docs/schema.md names in the first column of its table."""
    parts = re.split(r"^### (\w+)$", SCHEMA.read_text(), flags=re.MULTILINE)[1:]
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    return {
        name: {column for cells in re.findall(r"^\| (\w[^|]*) \|", body, re.MULTILINE) for column in cells.split(", ")}
        - {"column"}
        for name, body in sections.items()
    }


def test_the_document_names_every_table_view_and_column(engine: Engine) -> None:
    found = inspect(engine)
    names = [*metadata.tables, *found.get_view_names()]
    assert documented() == {name: {column["name"] for column in found.get_columns(name)} for name in names}


def test_the_joins_of_the_document_return_rows(engine: Engine) -> None:
    fill(engine)
    joins = re.findall(r"```sql\n(.*?)```", SCHEMA.read_text(), re.DOTALL)
    assert len(joins) == 5
    for join in joins:
        assert list(query(engine, join)[1])
