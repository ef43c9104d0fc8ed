"""Opening and migrating the database, SQLite or PostgreSQL, and its transactions. No tables, no rows of ours.

Every fault becomes one DatabaseError that says what happened and what repairs it, and never contains a password.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NewType
from urllib.parse import unquote

import psycopg
from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

if TYPE_CHECKING:
    from alembic.config import Config

from models.types import ErrorWithRemedy
from storage.private import make_file, make_folder, tighten
from storage.sql.postgresql_session import ENCODING, PostgresqlSession, Server
from storage.sql.statement_guard import StatementGuard

MIGRATIONS = Path(__file__).parents[1] / "migrations"
# Time that a writer waits for another one. A segment's rows take a tenth of a second.
BUSY_TIMEOUT_S = 30
CONNECT_TIMEOUT_S = 10
# SQLite's own pages of 4 KB hold eight poses, its cache of 2 MB less than a segment: that costs a quarter of a load.
PAGE_BYTES, CACHE_BYTES = 1 << 14, 1 << 24
# Any fixed number, of the lock that a migrating process holds and the others wait for ("nightjar" in ASCII).
MIGRATION_LOCK = 0x6E696768746A6172
GUARD = "statement guard"  # of a connection to SQLite, in its info
DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}


class DatabaseError(ErrorWithRemedy):
    """A fault of the database or its use."""


class DataRefusedError(DatabaseError):
    """A value that the database refuses, such as a NUL in a text or a number beyond its column.

    Waiting does not help: the same values are refused again.
    """


class DatabaseAwayError(DatabaseError):
    """A temporarily unavailable database: stopped, starting, full of connections, or disconnected."""


# Messages of a server that starts, stops or is full, and of PgBouncer for a server that is down. The
# driver gives no SQLSTATE for it.
STARTING = (
    "is starting up",
    "is shutting down",
    "not yet accepting connections",
    "in recovery mode",
    "too many clients",
    "too many connections",
    "connection slots are reserved",
    "server login has been failing",
    "cannot connect to server",
    "server conn crashed",
)
REFUSED = ("FATAL", "Name or service not known", "certificate", "SSL")  # not repaired by waiting
AWAY_STATES = ("08", "53300", "57P01", "57P02", "57P03")  # connection lost, too many, shut down, crashed, starting

# (part of the driver's message, remedy), of which the first match counts
REMEDIES = (
    ("file is not a database", "Give the path of another file, or move this one away."),
    ("malformed", "Restore a copy of the database, or rebuild it from the Parquet results."),
    ("readonly database", "Change the owner or the permissions of the file, or of its disk."),
    ("unable to open database file", "Check the path and its permissions."),
    ("disk is full", "Free some space and run again. Nothing was half-written."),
    ("database is locked", f"End the other program that has held the database for {BUSY_TIMEOUT_S} s."),
    ("password authentication failed", "Correct the user and the password in NIGHTJAR_DATABASE_URL."),
    ("no password supplied", "Write the password into NIGHTJAR_DATABASE_URL."),
    ("permission denied", "Grant the role this right, or use the database's owner."),
    ("No space left on device", "Free some space on the server's disk. Nothing was half-written."),
    ("cannot execute", "Use the primary server, not a standby."),
    ("read-write mode", "Use the primary server, not a standby."),
    ("statement pooling mode", "Set pool_mode = transaction in PgBouncer."),
    ("unsupported startup parameter", "Remove the parameter from the URL or from PGOPTIONS: the pooler refuses it."),
    ("other objects depend on it", "Drop your own view on Nightjar's, and create it again afterwards."),
    ("does not exist", "Create it ('createdb NAME' creates a database), or correct the name."),
    *((words, "Wait until the PostgreSQL server takes connections.") for words in STARTING),
    ("connection", "Start the PostgreSQL server, or correct NIGHTJAR_DATABASE_URL."),
    ("resolve host", "Correct the host name in NIGHTJAR_DATABASE_URL."),
    ("", "Run 'nightjar doctor'."),
)

# An open database as the other folders see it: they pass it to functions of storage, and dispose of it at the end.
Database = NewType("Database", Engine)

# SQLite's driver raises Python's own OverflowError for an integer beyond 64 bits.
DRIVER_ERRORS = (DBAPIError, sqlite3.Error, sqlite3.Warning, psycopg.Error, OverflowError)
REFUSALS = (sqlite3.DataError, sqlite3.IntegrityError, psycopg.DataError, psycopg.IntegrityError, OverflowError)
# Raised by a driver for a value that it can neither send nor read, without an Error of its own.
VALUE_ERRORS = (TypeError, ValueError, OverflowError)  # a UnicodeError is a ValueError


def storable(text: str) -> str:
    """Make text from outside (a file's name, a decoder's message) storable in both databases: no NUL, valid UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def describe(url: URL) -> str:
    """Return the address without its password, and without options, which could contain one."""
    return url.set(query={}).render_as_string(hide_password=True)


def explain(error: Exception, url: URL) -> DatabaseError:
    """Turn a driver's error into one of ours, with its first line only: the rest is the statement."""
    original = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    message = (str(original).strip() or type(original).__name__).splitlines()[0]
    if isinstance(original, REFUSALS):  # of PostgreSQL: SQLSTATE classes 22 and 23
        return DataRefusedError(f"{describe(url)} says '{message}'.", "Give values that fit the columns.")
    remedy = next(remedy for part, remedy in REMEDIES if part in message)
    kind = DatabaseAwayError if _is_away(original, message) else DatabaseError
    return kind(f"{describe(url)} says '{message}'.", remedy)


def _is_away(original: BaseException, message: str) -> bool:
    """Return whether the same call may succeed later without any change."""
    if not isinstance(original, psycopg.Error):
        return "database is locked" in message
    if original.sqlstate is not None:
        return original.sqlstate.startswith(AWAY_STATES)
    if any(words in message for words in STARTING):
        return True
    return isinstance(original, psycopg.OperationalError) and not any(words in message for words in REFUSED)


def open_database(url: str) -> Database:
    """Open the database at sqlite:///PATH (made where the file is missing) or postgresql://…, without migrating it.

    Raises DatabaseError where it does not answer.
    """
    parsed = _parse(url)
    engine = _open_sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _open_postgresql(parsed)
    event.listen(engine, "handle_error", _pass_signals_on)
    event.listen(engine, "handle_error", _explain_values)
    with reading(engine) as connection:
        if parsed.get_backend_name() == "postgresql":
            _check_encoding(session_of(engine).settle(connection), parsed)
        return Database(engine)


def _parse(url: str) -> URL:
    remedy = (
        "Set NIGHTJAR_DATABASE_URL to sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME, with an @ in the "
        "password as %40."
    )
    parsed = _make_url(url)
    # An @ in the password moves the rest of it into the host's or the database's name, which errors show.
    if parsed is None or (parsed.host and "@" in f"{parsed.host}{parsed.database}"):
        raise DatabaseError("The database URL cannot be read.", remedy)
    backend = parsed.drivername.split("+")[0]
    if backend not in DRIVERS or (backend == "sqlite" and parsed.database in (None, "", ":memory:")):
        raise DatabaseError(f"The database URL {describe(parsed)} names no database that Nightjar can use.", remedy)
    if backend == "sqlite":  # SQLAlchemy does not decode a file's name in the URL, where '?' has to be %3F
        parsed = parsed.set(database=unquote(str(parsed.database)))
    return parsed.set(drivername=DRIVERS[backend])


def _make_url(url: str) -> URL | None:
    """Parse the URL. None instead of SQLAlchemy's exception, which may repeat a part of the password."""
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        return None


def _open_sqlite(url: URL) -> Engine:
    folder = Path(str(url.database)).parent
    try:
        make_folder(folder)
    except OSError as error:
        raise DatabaseError(
            f"The database's folder {folder} cannot be created: {error.strerror}.", "Give another path."
        ) from error
    with suppress(OSError):  # SQLite's own message is better
        _keep_private(Path(str(url.database)))
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _keep_private(path: Path) -> None:
    """Restrict the database's files. SQLite gives a new log the database's mode, but an old log keeps its own."""
    make_file(path)
    tighten(path.parent, {f"{path.name}-{log}" for log in ("wal", "shm", "journal")})


def _set_up_sqlite(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    record.info[GUARD] = StatementGuard(connection)
    connection.isolation_level = None  # we send BEGIN ourselves: the driver's own is late and not IMMEDIATE
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # of a new file
    connection.execute(f"PRAGMA cache_size = -{CACHE_BYTES // 1024}")
    connection.execute("PRAGMA synchronous = FULL")  # WAL with NORMAL can lose a commit at power loss
    _use_wal(connection)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Set WAL mode, with retries for processes that open a new file at once: SQLite's busy timeout does not apply."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            break
    if mode != "wal":
        raise DatabaseError(
            f"SQLite's journal mode is {mode}, and Nightjar needs WAL.", "Put the database on a local disk."
        )


def _begin_sqlite(connection: Connection) -> None:
    only_reads = connection.get_execution_options().get("only_reads", False)
    connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")


def _open_postgresql(url: URL) -> Engine:
    """Open PostgreSQL without prepared statements, and without settings that outlast a transaction.

    Both belong to one connection of the server, and behind a pooler such as PgBouncer the next transaction may get
    another one.
    """
    connect = {"connect_timeout": CONNECT_TIMEOUT_S, "prepare_threshold": None, "client_encoding": "UTF8"}
    engine = create_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args=connect)
    engine.update_execution_options(session=PostgresqlSession())
    event.listen(engine, "connect", _meet_postgresql, once=True, insert=True)
    event.listen(engine, "begin", _begin_postgresql)
    return engine


def _meet_postgresql(connection: psycopg.Connection[Any], _record: object) -> None:
    """Begin with our settings before SQLAlchemy examines the first connection, until it rolls back."""
    connection.execute(PostgresqlSession().begin(only_reads=True).encode())


def _begin_postgresql(connection: Connection) -> None:
    options = connection.get_execution_options()
    connection.exec_driver_sql(options["session"].begin(only_reads=options.get("only_reads", False)))


def _check_encoding(server: Server, url: URL) -> None:
    if server.encoding != ENCODING:
        raise DatabaseError(
            f"{describe(url)} stores text as {server.encoding}, and the names of files and labels need {ENCODING}.",
            f"Create another database with 'createdb --encoding={ENCODING} --locale=C --template=template0 NAME'.",
        )


def session_of(engine: Engine) -> PostgresqlSession:
    """Return the settings of this PostgreSQL engine's transactions."""
    session = engine.get_execution_options()["session"]
    assert isinstance(session, PostgresqlSession)
    return session


def _pass_signals_on(context: ExceptionContext) -> None:
    """Raise the exception of a signal's handler while SQLite worked, in place of SQLite's report of an interrupt."""
    guard = context.connection.info.get(GUARD) if context.connection is not None else None
    reason = guard.take_reason() if guard is not None else None
    if reason is not None:
        raise reason


def _explain_values(context: ExceptionContext) -> None:
    """Raise DatabaseError for a value that the driver cannot send or read, as SQLAlchemy passes its own error on."""
    error = context.original_exception
    if context.execution_context is not None and isinstance(error, VALUE_ERRORS) and context.engine is not None:
        raise explain_value(error, context.engine.url) from error


def explain_value(error: BaseException, url: URL) -> DataRefusedError:
    message = (str(error).strip() or type(error).__name__).splitlines()[0]
    return DataRefusedError(
        f"The driver of {describe(url)} says '{storable(message)}'.",
        "Correct the value: numbers must be within the column's bounds, and text valid UTF-8.",
    )


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Run one transaction that writes, all of it or nothing. Raises DatabaseError for the database's own faults."""
    try:
        with engine.begin() as connection:
            yield connection
    except DRIVER_ERRORS as error:
        raise explain(error, engine.url) from error


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Run one transaction that only reads, and on SQLite waits for no writer."""
    try:
        with engine.connect().execution_options(only_reads=True) as connection, connection.begin():
            yield connection
    except DRIVER_ERRORS as error:
        raise explain(error, engine.url) from error


def migrate(engine: Engine) -> None:
    """Bring the tables and views to this code's schema. Concurrent migrations wait for each other.

    Raises DatabaseError where the database is newer than the code, or from before the oldest migration.
    """
    from alembic import command

    config = _alembic_config()
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        found, newest = _revisions(connection)
        if found != newest:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _alembic_config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _revisions(connection: Connection) -> tuple[str | None, str]:
    """Return the database's revision (None: it has no tables) and this code's.

    Raises DatabaseError where no migration connects the two.
    """
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    known = [script.revision for script in ScriptDirectory.from_config(_alembic_config()).walk_revisions()]
    newest, oldest = known[0], known[-1]
    found = MigrationContext.configure(connection).get_current_revision()
    if found is not None and found not in known:
        raise _refused_schema(connection.engine.url, found, oldest, newest)
    return found, newest


def _refused_schema(url: URL, found: str, oldest: str, newest: str) -> DatabaseError:
    if not (found.isdecimal() and int(found) < int(oldest)):
        return DatabaseError(
            f"{describe(url)} has schema {found}, and this Nightjar knows {newest} and older. A newer Nightjar or "
            "another program has used this database.",
            "Install the newer Nightjar, or use another database.",
        )
    move = (
        "Move this file aside"
        if url.get_backend_name() == "sqlite"
        else "Create another database ('createdb NAME'), name it in NIGHTJAR_DATABASE_URL"
    )
    return DatabaseError(
        f"{describe(url)} has schema {found}, and this Nightjar migrates {oldest} and newer. A version from before the "
        "first release made this database.",
        f"{move}, then run 'nightjar run' again. It fills the new database from the results in the store, without "
        "inferring a frame again.",
    )


def check(engine: Engine) -> str:
    """Describe the database and its content in one line.

    Raises DatabaseError where it does not answer or is not migrated.
    """
    with reading(engine) as connection:
        found, newest = _revisions(connection)
        version = ".".join(str(part) for part in engine.dialect.server_version_info or ())
    if found != newest:
        raise DatabaseError(
            f"{describe(engine.url)} has schema {found}, and this Nightjar needs {newest}.",
            "Run any batch: it migrates the database.",
        )
    return f"{engine.dialect.name} {version}, schema {found}, at {describe(engine.url)}"
