"""Users' SQL ends at its limits, on both databases, and can only call functions that just compute."""

import resource
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, QueuePool, make_url, text

from storage.sql.database import DatabaseError, open_database, reading
from storage.sql.query import SQLITE_FUNCTIONS, QueryLimitError, QueryLimits, query, superuser_warning

SHORT = QueryLimits(timeout_s=0.5)
LIMIT_S = 30.0  # on a busy machine; the queries that are ended would take hours
NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
ENDLESS = {
    "no row ever": NUMBERS + "SELECT count(*) FROM n",
    "endless rows": NUMBERS + "SELECT i FROM n",
    "a queue that grows": "WITH RECURSIVE n(i) AS (SELECT 1 UNION SELECT i + 1 FROM n) SELECT max(i) FROM n",
    "a product": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
    "SELECT count(*) FROM n AS a, n AS b, n AS c WHERE a.i + b.i + c.i < 0",
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_endless_query_is_ended(engine: Engine, kind: str) -> None:
    begun = time.monotonic()
    with pytest.raises(QueryLimitError, match=r"ended after 0\.5 s.*--timeout"):
        for _ in query(engine, ENDLESS[kind], SHORT)[1]:
            pass
    assert time.monotonic() - begun < LIMIT_S


def test_time_spent_reading_rows_counts(engine: Engine) -> None:
    _, rows = query(engine, NUMBERS + "SELECT i FROM n", SHORT)
    begun = time.monotonic()
    slow = (row for row in rows if time.sleep(0.01) is None)  # type: ignore[func-returns-value]
    with pytest.raises(QueryLimitError, match="ended after"):
        list(slow)
    assert time.monotonic() - begun < LIMIT_S


@pytest.mark.parametrize("limits", [SHORT, QueryLimits(max_rows=3), QueryLimits(max_bytes=1000)])
def test_a_limit_gives_connection_and_memory_back_at_once(pg_url: str, limits: QueryLimits) -> None:
    """Not only when the error, whose traceback holds the rows, is forgotten."""
    engine = open_database(pg_url)
    bounds = resource.getrlimit(resource.RLIMIT_AS)
    rows = query(engine, "SELECT i, pg_sleep(0.001) FROM generate_series(1, 5000) AS n(i)", limits)[1]
    with pytest.raises(QueryLimitError) as raised:
        list(rows)
    assert raised.traceback, "the error is still held"
    assert resource.getrlimit(resource.RLIMIT_AS) == bounds
    assert isinstance(engine.pool, QueuePool)
    assert engine.pool.checkedout() == 0
    engine.dispose()


@pytest.mark.parametrize("setting", ["local", "session"])
def test_a_query_cannot_extend_its_time(pg_url: str, setting: str) -> None:
    engine = open_database(pg_url)
    local = str(setting == "local").lower()
    more = f"set_config('statement_timeout', '0', {local})"
    sql = f"SELECT {more}, pg_sleep(0.001 * i) FROM generate_series(1, 5000) AS n(i)"
    begun = time.monotonic()
    with pytest.raises(QueryLimitError):
        list(query(engine, sql, SHORT)[1])
    assert time.monotonic() - begun < LIMIT_S
    with reading(engine) as connection:
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "0", (
            "Nightjar's own statements have no limits"
        )
    engine.dispose()


def test_rows_are_limited(engine: Engine) -> None:
    sql = NUMBERS + "SELECT i FROM n LIMIT 7"
    assert len(list(query(engine, sql, QueryLimits(max_rows=7))[1])) == 7
    seen: list[Any] = []
    with pytest.raises(QueryLimitError, match=r"more than 6 rows, its --max-rows\. Add LIMIT"):
        seen += query(engine, sql, QueryLimits(max_rows=6))[1]


HUNDRED = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) "
GIGABYTE = {
    "sqlite": [
        "SELECT zeroblob(900000000)",
        "SELECT hex(zeroblob(450000000))",
        "SELECT replace(hex(zeroblob(300000)), '00', hex(zeroblob(2000)))",
        HUNDRED + "SELECT group_concat(hex(zeroblob(500000))) FROM n",
        HUNDRED + "SELECT json_group_array(hex(zeroblob(500000))) FROM n",
    ],
    "postgresql": ["SELECT repeat('x', 300000000)", "SELECT convert_to(repeat('x', 300000000), 'UTF8')"],
}


def test_a_value_of_a_gigabyte_is_refused(engine: Engine) -> None:
    """On SQLite before it is created; on PostgreSQL before it fills this process."""
    before_kb = peak_kb()
    for sql in GIGABYTE[engine.dialect.name]:
        with pytest.raises(QueryLimitError, match=r"takes more than 16 MB, its --max-mb\."):
            list(query(engine, sql, QueryLimits(max_bytes=16 << 20))[1])
    assert peak_kb() - before_kb < 400_000
    assert list(query(engine, "SELECT 1", QueryLimits())[1]) == [(1,)]


def peak_kb() -> int:
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])


def test_the_total_size_is_limited(engine: Engine) -> None:
    wide = "x" * 1000
    with pytest.raises(QueryLimitError, match="more than 1 MB"):
        for _ in query(engine, NUMBERS + f"SELECT '{wide}' FROM n", QueryLimits(max_bytes=1 << 20))[1]:
            pass


def test_an_expensive_like_pattern_is_refused(tmp_path: Path) -> None:
    """SQLite cannot be interrupted while it matches one."""
    engine = open_database(f"sqlite:///{tmp_path}/one.sqlite")
    begun = time.monotonic()
    with pytest.raises(DatabaseError, match="pattern too complex"):
        list(query(engine, f"SELECT printf('%20000s', 'x') LIKE '{'%x_' * 1000}y'", SHORT)[1])
    assert time.monotonic() - begun < LIMIT_S
    engine.dispose()


@pytest.mark.parametrize(
    "call",
    [
        *(
            "fts3_tokenizer('simple')",
            "FTS3_Tokenizer('simple', x'00')",
            "load_extension('x')",
            "readfile('/etc/passwd')",
        ),
        *("sqlite_compileoption_get(1)", "sqlite_log(1, 'x')", "rtreecheck('x')", "sqlite_rename_table(1,2,3,4,5,6,7)"),
    ],
)
def test_functions_that_do_more_than_compute_are_refused(tmp_path: Path, call: str) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/one.sqlite")
    with pytest.raises(DatabaseError, match=r"not authorized to use function|no such function"):
        list(query(engine, f"SELECT {call}")[1])
    engine.dispose()


def test_every_function_of_sqlite_is_classified(tmp_path: Path) -> None:
    """All other functions of this SQLite were reviewed: none of them is needed in a query."""
    with sqlite3.connect(tmp_path / "one.sqlite") as connection:
        known = {name for (name,) in connection.execute("SELECT DISTINCT name FROM pragma_function_list")}
    others = known - SQLITE_FUNCTIONS
    assert "fts3_tokenizer" in others
    inner = ("fts", "sqlite_", "rtree", "geopoly", "match", "snippet", "offsets", "optimize", "bm25", "highlight")
    state = ("subtype", "load_extension", "changes", "total_changes", "last_insert_rowid", "regexp", "icu_", "jsonb")
    assert not [name for name in others if not name.startswith(inner + state) and name[0].isalpha()]


def test_ordinary_queries_are_answered(engine: Engine) -> None:
    for sql in (
        "SELECT upper('a') || lower('B'), round(1.25, 1), coalesce(NULL, 2), abs(-1), replace('a', 'a', 'b')",
        "SELECT count(*), sum(1), avg(1), min(1), max(1), row_number() OVER (ORDER BY 1)",
        "SELECT CASE WHEN 'abc' LIKE 'a%' THEN 1 END, CAST('1' AS integer), CURRENT_TIMESTAMP",
    ):
        assert len(list(query(engine, sql, QueryLimits())[1])) == 1


def test_a_superuser_is_warned(pg_url: str, tmp_path: Path) -> None:
    engine = open_database(pg_url)
    assert "is a superuser" in (superuser_warning(engine) or "")
    with engine.begin() as connection:
        connection.execute(text("CREATE ROLE asker LOGIN PASSWORD 'asker'"))
    plain = open_database(make_url(pg_url).set(username="asker", password="asker").render_as_string(False))
    assert superuser_warning(plain) is None
    plain.dispose()
    with engine.begin() as connection:
        connection.execute(text("DROP ROLE asker"))
    engine.dispose()
    sqlite = open_database(f"sqlite:///{tmp_path}/one.sqlite")
    assert superuser_warning(sqlite) is None
    sqlite.dispose()
