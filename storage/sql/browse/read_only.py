"""A database that cannot be changed through this connection."""

import sqlite3
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Connection, create_engine, event

from storage.sql.database import BUSY_TIMEOUT_S, Database, migrate, open_database


def open_read_only(url: str) -> Database:
    """Open the database of a setting so that every write fails. Migrates it first if it is older than this code.

    SQLite: the file is opened with mode=ro and query_only. PostgreSQL: every transaction is READ ONLY.
    Raises DatabaseError.
    """
    database = open_database(url)
    try:
        migrate(database)
    except BaseException:
        database.dispose()
        raise
    return _read_only(database)


def reopen_read_only(url: str) -> Database:
    """Open, in another process, a database that `open_read_only` has opened before. Raises DatabaseError."""
    return _read_only(open_database(url))


def _read_only(database: Database) -> Database:
    if database.dialect.name == "postgresql":
        return Database(database.execution_options(only_reads=True))
    database.dispose()
    return _open_sqlite(database.url)


def _open_sqlite(url: URL) -> Database:
    address = f"file:{quote(str(Path(str(url.database)).resolve()))}?mode=ro"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            address, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA query_only = ON")
        return connection

    engine = create_engine(url, creator=connect, hide_parameters=True)
    event.listen(engine, "begin", _begin)
    return Database(engine)


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
