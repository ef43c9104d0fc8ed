"""Rows do not depend on a role's settings, on a database's encoding, or on other clients of a pooler."""

import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg
import pytest
from psycopg import sql
from sqlalchemy import BigInteger, Engine, literal, make_url, select, text

from storage.ledger.commit import commit_segment
from storage.sql.catalogue import RecordedFile, record_unreadable
from storage.sql.database import DatabaseError, migrate, open_database, reading, writing
from storage.sql.query import query
from storage.sql.tables import poses
from tests.servers_pgbouncer import running_pgbouncer
from tests.storage.samples import make_poses, make_report, make_video, must_claim, planned_batch, record_file

# Settings that a role, a database or another client of the same pooler may have made; each has an effect.
HOSTILE = {
    "DateStyle": "German, DMY",
    "IntervalStyle": "iso_8601",
    "TimeZone": "America/St_Johns",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "search_path": "nowhere",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "statement_timeout": "50",
    "lock_timeout": "50",
    "idle_in_transaction_session_timeout": "50",
    "transform_null_equals": "on",
    "client_encoding": "LATIN1",
}


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    engine = open_database(url)
    migrate(engine)
    try:
        yield engine
    finally:
        engine.dispose()


def assert_it_works(engine: Engine) -> None:
    """A segment's rows, times, names and texts survive a round trip to the last digit."""
    name = "日本\\'ünï.mp4"
    video_id, _, batch_id = planned_batch(engine, make_video(frames=20))
    record_file(engine, "archive/", name, 1, "e", video_id=video_id)
    expected = make_poses(0, 20)
    assert commit_segment(engine, must_claim(engine, batch_id), expected, make_report(20))
    with reading(engine) as connection:
        found = connection.execute(select(poses.c.t_s, poses.c.nose_x).order_by(poses.c.frame, poses.c.person)).all()
    np.testing.assert_array_equal([row.t_s for row in found], expected.t_s)
    x = np.array([row.nose_x for row in found], np.float32)
    np.testing.assert_array_equal(x, expected.keypoints[:, 0, 0])
    question = "SELECT key, seen_at, seen_at - seen_at + interval '1 day', '\\x41'::bytea FROM archive_files"
    with reading(engine) as connection:
        connection.execute(text("SELECT pg_sleep(0.1)"))
        time.sleep(0.1)
    [(key, seen_at, day, letter)] = query(engine, question)[1]
    assert (key, day, bytes(letter)) == (name, timedelta(days=1), b"A")
    assert abs(datetime.now(UTC) - seen_at) < timedelta(minutes=5)
    assert seen_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize("of", ["ROLE", "DATABASE"])
def test_settings_of_a_role_or_database_have_no_effect(pg_url: str, pg_admin_url: str, of: str) -> None:
    role = "nightjar_" + secrets.token_hex(4)
    database = str(make_url(pg_url).database)
    with psycopg.connect(pg_admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(sql.Identifier(role)))
        admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(database), sql.Identifier(role)))
        target = sql.SQL("ALTER {} {}").format(sql.SQL(of), sql.Identifier(role if of == "ROLE" else database))
        for name, value in HOSTILE.items():
            admin.execute(target + sql.SQL(" SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
    try:
        mine = make_url(pg_url).set(username=role, password="x").render_as_string(hide_password=False)
        with opened(mine) as engine:
            assert_it_works(engine)
    finally:
        with psycopg.connect(pg_admin_url, autocommit=True) as admin:
            admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO CURRENT_USER").format(sql.Identifier(database)))
            admin.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(sql.Identifier(database)))
        with psycopg.connect(pg_url, autocommit=True) as admin:
            admin.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(sql.Identifier(role)))
            admin.execute(sql.SQL("DROP OWNED BY {}; DROP ROLE {}").format(sql.Identifier(role), sql.Identifier(role)))


def test_the_tables_are_found_in_any_schema(pg_url: str) -> None:
    """A later change of the search path creates no second, empty set of tables; a path in the URL is respected."""
    with psycopg.connect(pg_url, autocommit=True) as admin:
        admin.execute('CREATE SCHEMA "Site 1"; CREATE SCHEMA other')
    here = make_url(pg_url).set(query={"options": '-csearch_path="Site\\ 1"'}).render_as_string(hide_password=False)
    with opened(here) as engine:
        assert_it_works(engine)
    with opened(pg_url) as engine:
        assert list(query(engine, "SELECT count(*) FROM poses")[1]) == [(40,)]
    with psycopg.connect(pg_url) as admin:
        tables = admin.execute("SELECT DISTINCT schemaname FROM pg_tables WHERE tablename = 'poses'").fetchall()
    assert tables == [("Site 1",)]


def test_a_temporary_table_hides_none_of_nightjars(pg_url: str) -> None:
    with opened(pg_url) as engine, writing(engine) as connection:
        connection.execute(text("CREATE TEMPORARY TABLE videos (x integer)"))
        assert connection.execute(text("SELECT count(sha256) FROM videos")).scalar() == 0


# Encodings


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_JP", "WIN1252"])
def test_a_database_other_than_utf8_is_refused(pg_admin_url: str, encoding: str) -> None:
    name = "test_" + secrets.token_hex(4)
    with psycopg.connect(pg_admin_url, autocommit=True) as admin:
        made = f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
        admin.execute(made.encode())
        try:
            with pytest.raises(
                DatabaseError, match=f"stores text as {encoding}, and .* need UTF8.*createdb --encoding=UTF8"
            ):
                open_database(make_url(pg_admin_url).set(database=name).render_as_string(hide_password=False))
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
def test_a_sqlite_file_in_another_unicode_encoding_works(tmp_path: Path, encoding: str) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "wide.sqlite") as wide:
        wide.execute(f"PRAGMA encoding = '{encoding}'")
        wide.execute("CREATE TABLE other (x)")
    with opened(f"sqlite:///{tmp_path}/wide.sqlite") as engine:
        record_unreadable(engine, RecordedFile("archive/", "日本ü.mp4", 1, "e"), "ß")
        assert list(query(engine, "SELECT key, reason FROM archive_files")[1]) == [("日本ü.mp4", "ß")]


@pytest.mark.parametrize("value", ["\udcff", 2**70, object(), "nul\0"], ids=["surrogate", "huge", "object", "nul"])
def test_values_that_the_driver_refuses_are_database_errors(engine: Engine, value: object) -> None:
    """SQLite accepts a NUL and returns it unchanged."""
    asked = select(literal(value, BigInteger)) if isinstance(value, int) else text("SELECT :x").bindparams(x=value)
    taken = (value, engine.dialect.name) == ("nul\0", "sqlite")
    with (
        nullcontext()
        if taken
        else pytest.raises(DatabaseError, match=r"Correct the value|Give values|nightjar doctor"),
        reading(engine) as connection,
    ):
        assert connection.execute(asked).scalar() == value


@pytest.mark.parametrize("statement", ["SELECT '\udcff'", "SELECT '\0'", "SELECT \udcff"])
def test_an_invalid_statement_is_a_database_error(engine: Engine, statement: str) -> None:
    with pytest.raises(DatabaseError, match="Give one SELECT") as caught:
        list(query(engine, statement)[1])
    assert str(caught.value).isprintable()


UNREADABLE = {"sqlite": "SELECT CAST(x'41ff' AS TEXT)", "postgresql": "SELECT timestamptz '20000-01-01'"}


def test_an_undecodable_answer_is_shown_or_refused(engine: Engine) -> None:
    """SQLite stores any bytes as text; PostgreSQL has dates beyond Python's."""
    if engine.dialect.name == "sqlite":
        assert list(query(engine, UNREADABLE["sqlite"])[1]) == [("A\\xff",)]
    else:
        with pytest.raises(DatabaseError, match="Give one SELECT"):
            list(query(engine, UNREADABLE["postgresql"])[1])


# A pooler


def test_the_pooler_breaks_prepared_statements(pgbouncer_url: str) -> None:
    """The control: the error that Nightjar would get if it prepared its statements."""
    with psycopg.connect(pgbouncer_url) as one, psycopg.connect(pgbouncer_url) as two:
        for client in (one, two):
            client.prepare_threshold = 0
        one.execute("SELECT 1")
        one.commit()
        with pytest.raises(psycopg.errors.DuplicatePreparedStatement):
            two.execute("SELECT 2")


def test_clients_of_one_pooler_do_not_interfere(pgbouncer_url: str) -> None:
    """Two of our clients share one server connection with a third one that leaves its settings behind each time."""
    with opened(pgbouncer_url) as one, opened(pgbouncer_url) as two:
        *_, batch_id = planned_batch(one, make_video(frames=400), length=20)

        def work(engine: Engine) -> None:
            for _ in range(10):
                mine = must_claim(engine, batch_id, owner=str(id(engine)))
                frames = mine.segment.start_frame, mine.segment.stop_frame
                assert commit_segment(engine, mine, make_poses(*frames), make_report(20))
                list(query(engine, "SELECT count(*) FROM keypoints")[1])

        left_behind = {name: value for name, value in HOSTILE.items() if "timeout" not in name}  # they reach it

        def disturb() -> None:
            with psycopg.connect(pgbouncer_url, autocommit=True, prepare_threshold=None) as other:
                for _ in range(20):
                    for name, value in left_behind.items():
                        other.execute(sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))

        with ThreadPoolExecutor(3) as pool:
            for job in [pool.submit(work, one), pool.submit(work, two), pool.submit(disturb)]:
                job.result(60)
        assert list(query(one, "SELECT count(*), count(DISTINCT frame) FROM poses")[1]) == [(800, 400)]


def test_rows_are_exact_behind_a_pooler(pgbouncer_url: str) -> None:
    with opened(pgbouncer_url) as engine:
        assert_it_works(engine)


def test_a_pooler_in_statement_mode_is_one_clear_error(pg_url: str) -> None:
    with (
        running_pgbouncer(pg_url, pool_mode="statement") as url,
        pytest.raises(DatabaseError, match="Set pool_mode = transaction in PgBouncer"),
    ):
        open_database(url)
