"""A person's own SQL, strictly read-only on both databases. No statement of ours."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from sqlalchemy import Engine

from storage.database import DRIVER_ERRORS, VALUE_ERRORS, DatabaseError, describe, explain, storable

Row = tuple[Any, ...]
# All that a SELECT does; everything else (ATTACH, PRAGMA, INSERT …) is denied while the statement is compiled.
SQLITE_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
ONE_SELECT, REMEDY = "one SELECT, which changes nothing", "docs/schema.md has the tables, views and columns"


def query(engine: Engine, sql: str) -> tuple[list[str], Iterator[Row]]:
    """The columns' names, and the rows as they come: any number of them in bounded memory.

    The text goes to the database as it is. Raises DatabaseError for anything but one SELECT that the database takes;
    an error halfway comes from the iterator.
    """
    rows = _guarded(engine, _sqlite_rows(engine, sql) if engine.dialect.name == "sqlite" else _pg_rows(engine, sql))
    return list(next(rows)), rows


def _guarded(engine: Engine, rows: Iterator[Row]) -> Iterator[Row]:
    try:
        yield from rows
    except DRIVER_ERRORS as error:
        raise _explain(engine, error) from error
    except VALUE_ERRORS as error:  # nothing but the driver's own work is inside
        raise DatabaseError(
            f"{describe(engine.url)} cannot take this: {storable(str(error))}", ONE_SELECT, REMEDY
        ) from error


def _sqlite_rows(engine: Engine, sql: str) -> Iterator[Row]:
    """First the columns' names, then the rows."""
    path = quote(str(Path(str(engine.url.database)).resolve()))
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.text_factory = _text
        connection.execute("PRAGMA query_only = ON")
        connection.set_authorizer(
            lambda action, *_: sqlite3.SQLITE_OK if action in SQLITE_ALLOWED else sqlite3.SQLITE_DENY
        )
        cursor = connection.execute(sql)
        if cursor.description is None:
            raise sqlite3.ProgrammingError("no SELECT in this text")
        yield tuple(column[0] for column in cursor.description)
        yield from cursor


def _text(stored: bytes) -> str:
    """Text as another program may have stored it: what is no UTF-8 is shown as escapes."""
    return stored.decode("utf-8", "backslashreplace")


def _pg_rows(engine: Engine, sql: str) -> Iterator[Row]:
    """First the columns' names, then the rows. DECLARE CURSOR takes a SELECT only, and psycopg sends it by the
    extended protocol, which takes one statement only: a COMMIT cannot end the read-only transaction.
    """
    with engine.connect().execution_options(only_reads=True) as connection, connection.begin():
        driver = connection.connection.driver_connection
        if not isinstance(driver, psycopg.Connection):
            raise TypeError(f"the driver is {type(driver)}, expected psycopg")
        with driver.cursor(name="nightjar_query") as cursor:
            cursor.execute(sql)
            yield tuple(column.name for column in cursor.description or ())
            yield from cursor


def _explain(engine: Engine, error: Exception) -> DatabaseError:
    if (
        _is_postgresql_statement(error)
        or isinstance(error, sqlite3.Warning | sqlite3.ProgrammingError)
        or _is_statement(error)
    ):
        message = (str(error).strip() or type(error).__name__).splitlines()[0]
        return DatabaseError(f"{describe(engine.url)} says '{message}'", ONE_SELECT, REMEDY)
    return explain(error, engine.url)


def _is_postgresql_statement(error: Exception) -> bool:
    """Whether it is about the statement or its answer (DataError: a date beyond Python's), not about the server."""
    state = getattr(error, "sqlstate", None)
    about_server = state is None or state[:2] in ("08", "53", "57", "58")
    return isinstance(error, psycopg.DataError) or (isinstance(error, psycopg.Error) and not about_server)


def _is_statement(error: Exception) -> bool:
    """Whether SQLite's code is about the statement (SCHEMA: a denied CREATE); the other codes are about the file."""
    extended = getattr(error, "sqlite_errorcode", 0)
    return extended & 0xFF in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_SCHEMA)
