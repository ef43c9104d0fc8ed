"""Refusals of the pages' server, and the headers of its answers."""

import base64
import dataclasses
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from deployments.browse.context import Browse
from deployments.browse.security import HEADERS
from models.types import NightjarError
from storage.sql.browse.read_only import open_read_only
from storage.sql.database import DatabaseError, open_database, reading, writing
from tasks.site.settings import Settings, environment_with
from tests.deployments.browse.conftest import client_of, open_browse

PAGES = ("/", "/events", "/sql", "/models")


@pytest.fixture
def browse(settings: Settings) -> Browse:
    return open_browse(settings)


@pytest.fixture
def client(browse: Browse) -> TestClient:
    return client_of(browse)


def basic(password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(password.encode()).decode()}"}


@pytest.mark.parametrize("path", ["/", "/static/app.css", "/nothing", "/favicon.ico"])
def test_each_answer_has_the_headers(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "'unsafe" not in HEADERS["Content-Security-Policy"]


def test_another_name_is_refused(client: TestClient) -> None:
    """A page of evil.example that resolves to 127.0.0.1 sends its own name."""
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 421
    assert client.get("/", headers={"Host": "localhost:4270"}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/static/app.css", "/nothing"])
def test_a_password_is_required_for_everything(browse: Browse, path: str) -> None:
    client = client_of(dataclasses.replace(browse, password="eve:secret", hosts=()))
    refused = client.get(path)
    assert refused.status_code == 401
    assert "Basic" in refused.headers["WWW-Authenticate"]
    for wrong in (basic("eve:secreT"), basic(""), {"Authorization": "Basic ???"}, {"Authorization": "Bearer x"}):
        assert client.get(path, headers=wrong).status_code == 401
    assert client.get(path, headers=basic("eve:secret")).status_code in (200, 404)


def test_a_change_needs_an_own_page(client: TestClient) -> None:
    for origin in ({}, {"Origin": "null"}, {"Origin": "http://evil.example"}, {"Origin": "http://testserver:1"}):
        assert client.post("/", headers=origin).status_code == 403
    assert client.post("/", headers={"Origin": "http://testserver"}).status_code == 405


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd"]
)
def test_no_path_leaves_the_folder(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_beyond_loopback_a_password_is_required(tmp_path: Path) -> None:
    environment = environment_with({"NIGHTJAR_HOME": str(tmp_path), "PREFECT_SERVER_API_AUTH_STRING": ""})
    command = [sys.executable, "-m", "deployments.cli", "browse", "--host", "0.0.0.0", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert done.returncode == 1
    assert "no password is set" in done.stderr


def test_the_database_cannot_be_written_to(browse: Browse) -> None:
    engine = browse.site.engine
    for statement in ("DELETE FROM videos", "CREATE TABLE x (a int)", "PRAGMA query_only = OFF"):
        try:
            with writing(engine) as connection:
                connection.execute(text(statement))
        except (DatabaseError, sqlite3.Error):
            continue
        assert statement.startswith("PRAGMA"), statement
    with pytest.raises(DatabaseError), writing(engine) as connection:  # mode=ro holds without query_only, too
        connection.execute(text("DELETE FROM videos"))


def test_postgresql_cannot_be_written_to(pg_url: str) -> None:
    engine = open_read_only(pg_url)
    with pytest.raises(DatabaseError, match="read-only"), writing(engine) as connection:
        connection.execute(text("DELETE FROM videos"))
    with reading(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM videos")).scalar() == 0
    engine.dispose()


def test_a_newer_database_is_refused_with_a_remedy(settings: Settings) -> None:
    open_browse(settings)
    with writing(open_database(settings.database)) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(NightjarError, match="Install the newer Nightjar"):
        open_browse(settings)
