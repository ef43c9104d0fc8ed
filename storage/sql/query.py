"""A user's own SQL, strictly read-only on both databases, within limits. No statement of ours."""

import resource
import sqlite3
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from sqlalchemy import Engine

from storage.sql.database import (
    DRIVER_ERRORS,
    VALUE_ERRORS,
    DatabaseError,
    describe,
    explain,
    session_of,
    storable,
)
from storage.sql.statement_guard import StatementGuard

Row = tuple[Any, ...]
Rows = Generator[Row, None, None]  # closing it ends the statement and gives its connection back
# The actions of a SELECT; all others (ATTACH, PRAGMA, INSERT …) are denied while the statement is compiled.
SQLITE_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
# Functions that only compute. Others depend on the build of SQLite, such as fts3_tokenizer, which takes a pointer to
# code, or load_extension, readfile and edit of its shell.
# fmt: off
SQLITE_FUNCTIONS = frozenset({
    # scalar, https://www.sqlite.org/lang_corefunc.html
    "abs", "char", "coalesce", "concat", "concat_ws", "format", "glob", "hex", "ifnull", "iif", "instr", "length",
    "like", "likelihood", "likely", "lower", "ltrim", "max", "min", "nullif", "octet_length", "printf", "quote",
    "random", "randomblob", "replace", "round", "rtrim", "sign", "soundex", "sqlite_version", "substr", "substring",
    "trim", "typeof", "unhex", "unicode", "unlikely", "upper", "zeroblob",
    # mathematical
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "ceil", "ceiling", "cos", "cosh", "degrees", "exp",
    "floor", "ln", "log", "log10", "log2", "mod", "pi", "pow", "power", "radians", "sin", "sinh", "sqrt", "tan", "tanh",
    "trunc",
    # dates
    "current_date", "current_time", "current_timestamp", "date", "datetime", "julianday", "strftime", "time",
    "timediff", "unixepoch",
    # of many rows
    "avg", "count", "cume_dist", "dense_rank", "first_value", "group_concat", "lag", "last_value", "lead", "median",
    "nth_value", "ntile", "percent_rank", "percentile", "percentile_cont", "percentile_disc", "rank", "row_number",
    "string_agg", "sum", "total",
    # JSON
    "->", "->>", "json", "json_array", "json_array_length", "json_error_position", "json_extract", "json_group_array",
    "json_group_object", "json_insert", "json_object", "json_patch", "json_pretty", "json_quote", "json_remove",
    "json_replace", "json_set", "json_type", "json_valid",
})
# fmt: on
PATTERN_BYTES = 1000  # of a LIKE, whose wildcards SQLite matches without a chance to interrupt it
ROWS_AT_ONCE = 1000
ROOM_BYTES = 256 << 20  # of address space, for copies of the answer on its way
REMEDY = "Give one SELECT, which changes nothing. docs/schema.md lists the tables, views and columns."


@dataclass(frozen=True)
class QueryLimits:
    """Limits of a query.

    timeout_s: from its start to its last row, with the time that the caller takes for each row
    max_rows: None for any number
    max_bytes: of the answer's values together, and so of a single one
    """

    timeout_s: float = 60.0
    max_rows: int | None = None
    max_bytes: int = 1 << 30


class QueryLimitError(DatabaseError):
    """The query was ended at one of its limits. The rows before it are not the whole answer."""


def query(engine: Engine, sql: str, limits: QueryLimits | None = None) -> tuple[list[str], Rows]:
    """Run a query. Returns the names of the columns, and the rows as a stream in bounded memory.

    The text is sent to the database unchanged. Raises DatabaseError for anything but one valid SELECT,
    QueryLimitError beyond the limits; an error halfway comes from the iterator. limits: None for a trusted statement
    """
    clock = _Clock(limits)
    rows = _sqlite_rows(engine, sql, clock) if engine.dialect.name == "sqlite" else _pg_rows(engine, sql, clock)
    guarded = _guarded(engine, _limited(rows, clock), limits)
    return list(next(guarded)), guarded


class _Clock:
    """Remaining time of a query."""

    def __init__(self, limits: QueryLimits | None) -> None:
        self.limits = limits
        self._end = time.monotonic() + limits.timeout_s if limits else None

    @property
    def left_s(self) -> float | None:
        return None if self._end is None else max(self._end - time.monotonic(), 0.001)

    def over(self) -> BaseException | None:
        """Return the error where no time is left."""
        if self.limits is None or self._end is None or time.monotonic() < self._end:
            return None
        return _too_slow(self.limits)


def _too_slow(limits: QueryLimits) -> QueryLimitError:
    return QueryLimitError(
        f"The query was ended after {limits.timeout_s:g} s, its --timeout.",
        "Ask for less, with WHERE or LIMIT, or give it longer, such as --timeout 600.",
    )


def _too_large(limits: QueryLimits) -> QueryLimitError:
    return QueryLimitError(
        f"The answer takes more than {limits.max_bytes / 2**20:,.0f} MB, its --max-mb.",
        "Ask for fewer or smaller columns, add LIMIT, or raise --max-mb.",
    )


def _limited(rows: Rows, clock: _Clock) -> Rows:
    """Yield the names of the columns, then the rows, up to the limits."""
    limits = clock.limits
    with closing(rows):  # or an error's traceback keeps the connection, and this process within its bounds of memory
        yield next(rows)
        if limits is None:
            yield from rows
            return
        size_bytes = 0
        for number, row in enumerate(rows):
            if number == limits.max_rows:
                raise QueryLimitError(
                    f"The answer has more than {limits.max_rows:,} rows, its --max-rows.",
                    "Add LIMIT, or raise --max-rows.",
                )
            size_bytes += sum(len(value) if isinstance(value, str | bytes | memoryview) else 8 for value in row)
            if size_bytes > limits.max_bytes:
                raise _too_large(limits)
            if (error := clock.over()) is not None:  # the caller's work with the rows takes time, too
                raise error
            yield row


def _guarded(engine: Engine, rows: Rows, limits: QueryLimits | None) -> Rows:
    try:
        yield from rows
    except DRIVER_ERRORS as error:
        raise _explain(engine, error, limits) from error
    except MemoryError as error:
        raise _too_large(limits or QueryLimits()) from error
    except VALUE_ERRORS as error:  # only the driver's own work is inside
        raise DatabaseError(f"{describe(engine.url)} cannot run this query: {storable(str(error))}.", REMEDY) from error


def _sqlite_rows(engine: Engine, sql: str, clock: _Clock) -> Rows:
    """Yield the names of the columns, then the rows."""
    path = quote(str(Path(str(engine.url.database)).resolve()))
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.text_factory = _text
        connection.execute("PRAGMA query_only = ON")
        guard = StatementGuard(connection, clock.over)
        if clock.limits is not None:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, clock.limits.max_bytes)
            connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, PATTERN_BYTES)
        connection.set_authorizer(_authorize)
        try:
            cursor = connection.execute(sql)
            if cursor.description is None:
                raise sqlite3.ProgrammingError("There is no SELECT in this text")
            yield tuple(column[0] for column in cursor.description)
            yield from cursor
        except sqlite3.OperationalError:
            if (reason := guard.take_reason()) is not None:
                raise reason from None
            raise


def _authorize(action: int, _first: str | None, second: str | None, *_: str | None) -> int:
    """Allow or deny an action while a statement is compiled. second: of a function, its name"""
    if action == sqlite3.SQLITE_FUNCTION:
        return sqlite3.SQLITE_OK if (second or "").lower() in SQLITE_FUNCTIONS else sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in SQLITE_ALLOWED else sqlite3.SQLITE_DENY


def _text(stored: bytes) -> str:
    """Decode text that another program may have stored. Bytes that are not UTF-8 become escapes."""
    return stored.decode("utf-8", "backslashreplace")


def _pg_rows(engine: Engine, sql: str, clock: _Clock) -> Rows:
    """Yield the names of the columns, then the rows.

    DECLARE CURSOR takes only a SELECT, and psycopg sends it by the extended protocol, which takes only one statement: a
    COMMIT cannot end the read-only transaction.
    """
    with engine.connect().execution_options(only_reads=True) as connection, connection.begin():
        driver = connection.connection.driver_connection
        if not isinstance(driver, psycopg.Connection):
            raise TypeError(f"The driver is {type(driver)}, not psycopg.")
        with driver.cursor(name="nightjar_query") as cursor, _bounded_memory(clock.limits):
            _give_time(driver, clock)
            cursor.execute(sql)
            yield tuple(column.name for column in cursor.description or ())
            try:
                while rows := _fetch(driver, cursor, clock):
                    yield from rows
            except GeneratorExit:
                connection.invalidate()  # no time may be left for the statement that closes the cursor
                raise
            except psycopg.Error as error:
                if clock.limits is None or not _is_out_of_memory(driver, error):
                    raise
                connection.invalidate()  # the rest of the row is still to come
                raise _too_large(clock.limits) from error


def _is_out_of_memory(driver: "psycopg.Connection[Any]", error: psycopg.Error) -> bool:
    """Return whether libpq had no memory for a row: it reports that, or drops the row with an error of its own."""
    gave_up = isinstance(error, psycopg.InternalError) and error.sqlstate is None
    return gave_up or b"out of memory" in driver.pgconn.error_message


def _fetch(driver: "psycopg.Connection[Any]", cursor: "psycopg.ServerCursor[Any]", clock: _Clock) -> list[Row]:
    if (error := clock.over()) is not None:
        raise error
    _give_time(driver, clock)
    return cursor.fetchmany(ROWS_AT_ONCE)


def _give_time(driver: "psycopg.Connection[Any]", clock: _Clock) -> None:
    """Set the time limit before each fetch, as the query itself may have changed it by set_config."""
    if clock.left_s is not None:
        driver.execute(f"SET LOCAL statement_timeout = {max(round(clock.left_s * 1000), 1)}".encode())


@contextmanager
def _bounded_memory(limits: QueryLimits | None) -> Iterator[None]:
    """Let this process grow by the limit and some room only, as libpq accepts a row of up to a gigabyte."""
    if limits is None:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + 3 * limits.max_bytes + ROOM_BYTES
    soft = most if before[0] == resource.RLIM_INFINITY else min(most, before[0])
    resource.setrlimit(resource.RLIMIT_AS, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def superuser_warning(engine: Engine) -> str | None:
    """Return a warning where the role may do everything, even read the server's files."""
    if engine.dialect.name != "postgresql" or not session_of(engine).superuser:
        return None
    return (
        f"The role of {describe(engine.url)} is a superuser: a query can read the server's files and end other users' "
        "sessions. Use the role that owns Nightjar's tables, or one that may only SELECT from them."
    )


def _explain(engine: Engine, error: Exception, limits: QueryLimits | None) -> DatabaseError:
    if limits is not None and isinstance(error, psycopg.errors.QueryCanceled):
        return _too_slow(limits)
    text = str(error).lower()
    if limits is not None and ("too big" in text or "out of memory for query result" in text):
        return _too_large(limits)
    if (
        _is_postgresql_statement(error)
        or isinstance(error, sqlite3.Warning | sqlite3.ProgrammingError)
        or _is_statement(error)
    ):
        message = (str(error).strip() or type(error).__name__).splitlines()[0]
        return DatabaseError(f"{describe(engine.url)} says '{message}'.", REMEDY)
    return explain(error, engine.url)


def _is_postgresql_statement(error: Exception) -> bool:
    """Return whether an error concerns the statement or its answer (DataError: a date beyond Python's)."""
    state = getattr(error, "sqlstate", None)
    about_server = state is None or state[:2] in ("08", "53", "57", "58")
    return isinstance(error, psycopg.DataError) or (isinstance(error, psycopg.Error) and not about_server)


def _is_statement(error: Exception) -> bool:
    """Return whether SQLite's code concerns the statement (SCHEMA: a denied CREATE); other codes concern the file."""
    extended = getattr(error, "sqlite_errorcode", 0)
    return extended & 0xFF in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_SCHEMA)
