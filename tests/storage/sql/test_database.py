"""Opening, clear errors without a password, and read-only queries."""

import re
import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event, make_url, text

from storage.sql.database import DatabaseError, check, migrate, open_database, reading, writing
from storage.sql.query import query
from tests.servers_postgres import free_port
from tests.storage.samples import make_video, register_video


def assert_tells_no_password(error: BaseException, password: str) -> None:
    """Neither the error nor any of its causes."""
    at: BaseException | None = error
    while at is not None:
        assert password not in str(at)
        assert password not in repr(at)
        at = at.__cause__ or at.__context__


# Opening


def test_a_sqlite_file_is_created_with_its_folder_and_durable_settings(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/some/folder/nightjar.sqlite")
    with reading(engine) as connection:
        settings = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
        assert settings == ["wal", 2]
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_accepts_several_schemes_and_uses_utc(pg_url: str, scheme: str) -> None:
    engine = open_database(pg_url.replace("postgresql", scheme, 1))
    with reading(engine) as connection:
        assert connection.execute(text("SHOW timezone")).scalar() == "UTC"
    engine.dispose()


def test_writers_exclude_each_other_and_readers_do_not_wait(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/nightjar.sqlite")
    migrate(engine)
    with writing(engine), reading(engine) as reader:
        assert reader.execute(text("SELECT count(*) FROM videos")).scalar() == 0
        other = sqlite3.connect(tmp_path / "nightjar.sqlite", timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("INSERT INTO shown_models VALUES ('a', 1, 'b', 'batch')")
        other.close()


def test_a_failed_transaction_leaves_nothing(engine: Engine) -> None:
    row = text(
        "INSERT INTO archive_files (archive, key, size_bytes, etag, video_id, reason, seen_at, read_at) "
        "VALUES ('a', 'k', 1, 'e', NULL, 'r', :noon, :noon)"
    )

    def write_and_fail() -> None:
        with writing(engine) as connection:
            connection.execute(row, {"noon": "2026-11-23T12:00:00.000Z"})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    with reading(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM archive_files")).scalar() == 0


# Faults


@pytest.mark.parametrize(
    "url",
    [
        "mysql://me:secret-word@host/db",
        "secret-word",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql://me:x@host:secret-word/db",
        "postgresql://me:p@secret-word@host/db",
        "postgresql://me:p@x/secret-word@host/db",
    ],
)
def test_another_scheme_is_refused(url: str) -> None:
    with pytest.raises(DatabaseError, match="Set NIGHTJAR_DATABASE_URL to sqlite:///PATH or postgresql://") as caught:
        open_database(url)
    assert_tells_no_password(caught.value, "secret-word")


PG_FAULTS: dict[str, tuple[dict[str, str], str]] = {
    "a wrong password": ({"password": "secret-word"}, "Correct the user and the password"),
    "a wrong password among the options": ({"query": "password"}, "Correct the user and the password"),
    "no such database": ({"database": "nowhere"}, "does not exist.*Create it"),
    "no such host": ({"host": "nowhere.invalid"}, "Correct the host name"),
    "nobody listens": ({"port": "free"}, "Start the PostgreSQL server"),
}


def damaged(url: str, change: dict[str, str]) -> str:
    parts: dict[str, Any] = dict(change)
    if "port" in parts:
        parts["port"] = free_port()
    if "query" in parts:
        parts["query"] = {"password": "secret-word"}
    return make_url(url).set(**parts).render_as_string(hide_password=False)


@pytest.mark.parametrize("fault", PG_FAULTS)
def test_a_refused_login_is_one_clear_error(pg_url: str, fault: str) -> None:
    change, expected = PG_FAULTS[fault]
    with pytest.raises(DatabaseError, match=expected) as caught:
        open_database(damaged(pg_url, change))
    assert_tells_no_password(caught.value, "secret-word")
    assert_tells_no_password(caught.value, str(make_url(pg_url).password))


def test_a_server_that_stops_is_one_clear_error_until_it_restarts(pg_url: str, pg_admin_url: str) -> None:
    engine = open_database(pg_url)
    migrate(engine)

    def lose_the_server() -> None:
        with writing(engine) as connection, psycopg.connect(pg_admin_url, autocommit=True) as admin:
            mine = connection.execute(text("SELECT pg_backend_pid()")).scalar()
            admin.execute("SELECT pg_terminate_backend(%s)", [mine])
            connection.execute(text("SELECT 1"))

    with pytest.raises(DatabaseError) as caught:
        lose_the_server()
    assert_tells_no_password(caught.value, str(make_url(pg_url).password))
    assert register_video(engine, make_video()) == 1
    engine.dispose()


def test_a_foreign_file_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "holiday.mp4"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(DatabaseError, match="Give the path of another file"):
        open_database(f"sqlite:///{path}")
    assert path.read_bytes() == b"not a database at all" * 100


def test_an_impossible_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseError, match=r"The database's folder .* cannot be created"):
        open_database(f"sqlite:///{tmp_path}/file/nightjar.sqlite")
    with pytest.raises(DatabaseError, match="Check the path and its permissions"):
        open_database(f"sqlite:///{tmp_path}")


SQLITE_FAULTS = {
    "PRAGMA query_only = ON": "Change the owner or the permissions",
    "PRAGMA max_page_count = 1": "disk is full.*Free some space",
}


@pytest.mark.parametrize("pragma", SQLITE_FAULTS)
def test_a_read_only_file_is_one_clear_error(tmp_path: Path, pragma: str) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/nightjar.sqlite")
    event.listen(engine, "checkout", lambda connection, *_: connection.execute(pragma))
    with pytest.raises(DatabaseError, match=SQLITE_FAULTS[pragma]):
        migrate(engine)


def test_a_check_reports_the_schema_and_no_password(database_url: str) -> None:
    engine = open_database(database_url)
    with pytest.raises(DatabaseError, match="has schema None, and this Nightjar needs"):
        check(engine)
    migrate(engine)
    assert re.search(r"schema \d{4}, at ", check(engine))
    assert (make_url(database_url).password or "secret-word") not in check(engine)
    engine.dispose()


# Reading only


def test_a_query_yields_names_and_rows_as_a_stream(engine: Engine) -> None:
    register_video(engine, make_video())
    columns, rows = query(engine, "SELECT sha256, 7 % 4 AS three, ':x %s' AS text FROM videos -- ; a comment")
    assert columns == ["sha256", "three", "text"]
    assert list(rows) == [("a" * 64, 3, ":x %s")]


def test_a_query_of_many_rows_is_not_collected_in_memory(engine: Engine) -> None:
    digits = "(SELECT 0 AS n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5)"
    _, rows = query(engine, "SELECT 1 FROM " + ", ".join(f"{digits} AS t{n}" for n in range(12)))  # 2 thousand million
    assert next(rows) == (1,)
    rows.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM videos",
        "UPDATE videos SET codec = 'x'",
        "INSERT INTO shown_models VALUES ('pose', 1, '2026-11-23', 'batch')",
        "DROP TABLE poses",
        "CREATE TABLE x (y INTEGER)",
        "SELECT 1; DELETE FROM videos",
        "COMMIT; DELETE FROM videos",
        "ROLLBACK",
        "WITH gone AS (DELETE FROM videos RETURNING 1) SELECT * FROM gone",
        "SELECT * INTO copied FROM videos",
        "SELECT 1 FROM videos FOR UPDATE",
        "SELECT nextval('videos_video_id_seq')",
        "ATTACH '/tmp/other.sqlite' AS other",
        "PRAGMA journal_mode = DELETE",
        "VACUUM",
        "COPY videos TO '/tmp/videos'",
        "",
        "-- nothing",
        "SELECT nope FROM videos",
        "SELEC",
    ],
)
def test_everything_but_a_single_select_is_refused(engine: Engine, sql: str) -> None:
    register_video(engine, make_video())
    with pytest.raises(DatabaseError, match=r"Give one SELECT.*docs/schema.md"):
        list(query(engine, sql)[1])
    assert list(query(engine, "SELECT codec FROM videos")[1]) == [("h264",)]


HALFWAY = {
    "sqlite": "SELECT abs(-9223372036854775807 - (frames - 99)) FROM videos",
    "postgresql": "SELECT 1 / (frames - 100) FROM videos",
}


def test_an_error_while_reading_rows_is_a_database_error(engine: Engine) -> None:
    register_video(engine, make_video(frames=100))
    with pytest.raises(DatabaseError, match=r"overflow|division by zero"):
        list(query(engine, HALFWAY[engine.dialect.name])[1])
