"""A real PgBouncer in transaction mode in front of the tests' PostgreSQL; skipped if it is not installed."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.servers_postgres import free_port, unprivileged, wait_until_up

CONFIG = """
[databases]
* = host={host} port={server_port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {pool_mode}
default_pool_size = {pool_size}
logfile = {folder}/log
"""


def find_pgbouncer() -> str | None:
    """Debian installs it in /usr/sbin, which is not on every user's path."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def running_pgbouncer(pg_url: str, pool_mode: str = "transaction", pool_size: int = 1) -> Iterator[str]:
    """Yield the URL of the same database through a pooler with this number of connections."""
    program = find_pgbouncer()
    if program is None:
        pytest.skip("no pgbouncer here: install Debian's package pgbouncer")
    server, folder, user, port = make_url(pg_url), Path(tempfile.mkdtemp(prefix="pgb-")), unprivileged(), free_port()
    parts = {"host": server.host, "server_port": server.port, "user": server.username, "password": server.password}
    config = folder / "pgbouncer.ini"
    config.write_text(CONFIG.format(**parts, port=port, pool_mode=pool_mode, pool_size=pool_size, folder=folder))
    if user:
        shutil.chown(folder, user)
        shutil.chown(config, user)
    try:
        pooler = subprocess.Popen([program, config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user)
        try:
            wait_until_up(server.set(port=port).render_as_string(hide_password=False), pooler, folder / "log")
            yield server.set(port=port).render_as_string(hide_password=False)
        finally:
            pooler.kill()  # it keeps nothing; version 1.18 ignores SIGQUIT, later ones wait for clients after SIGTERM
            pooler.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def pgbouncer_url(pg_url: str) -> Iterator[str]:
    """An empty database behind a pooler whose clients all share one connection, transaction by transaction."""
    with running_pgbouncer(pg_url) as url:
        yield url
