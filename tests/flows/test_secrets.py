"""No leaked secrets: planted ones are searched for in everything that a night writes, also when it fails."""

import base64
import json
import os
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from storage.objects.s3 import make_client
from tasks.site.settings import read_settings
from tests.flows.conftest import register_tiny_model, spot_video
from tests.servers_prefect import PrefectServer, running_prefect
from tests.servers_s3 import S3Server, new_bucket

PREFECT_PASSWORD = "admin:planted-prefect-password-5b1f"
WRONG_S3 = "planted-wrong-s3-secret-77aa"
CONTROL = "planted-where-it-must-be-found-90d2"
WRONG_DATABASE = "planted-wrong-database-password-31c0"
ADDRESS_PASSWORD = "planted-address-password-e7b2"
NIGHT = "import json, sys; from flows.nightly_batch import nightly_batch; nightly_batch(**json.loads(sys.argv[1]))"


@dataclass(frozen=True)
class Place:
    """Environment of a batch: its settings, and all places to which a secret could leak."""

    environment: dict[str, str]
    prefect: PrefectServer
    s3: S3Server
    bucket: str
    database_url: str
    archive: Path

    def night(self, model: str = "tiny", **environment: str) -> tuple[int, bytes]:
        """Run it like a worker. Returns the exit code and the whole output."""
        options = json.dumps({"archive": str(self.archive), "model": model, "overlay": "all"})
        done = subprocess.run(
            [sys.executable, "-c", NIGHT, options],
            env={**os.environ, **self.environment, **environment},
            cwd=self.archive.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=200,
        )
        return done.returncode, done.stdout

    def leftovers(self) -> Iterator[tuple[str, bytes]]:
        """(where, bytes): Prefect's folder with its database and log, the store's objects, our database."""
        for path in self.prefect.home.rglob("*"):
            if path.is_file():
                yield str(path), path.read_bytes()
        client = make_client(self.s3.options)
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket):
            for item in page.get("Contents", []):
                yield item["Key"], client.get_object(Bucket=self.bucket, Key=item["Key"])["Body"].read()
        with psycopg.connect(self.database_url) as connection:
            for table in ("batches", "segments", "archive_files", "model_versions", "assignments", "messages"):
                rows = connection.execute(f"SELECT * FROM {table}").fetchall()
                yield table, str(rows).encode()

    @property
    def secrets(self) -> list[str]:
        """The right secrets, and the mistyped ones, which may be right elsewhere."""
        right = [str(make_url(self.database_url).password), str(self.s3.options.secret_key)]
        return [
            *right,
            PREFECT_PASSWORD,
            PREFECT_PASSWORD.partition(":")[2],
            WRONG_S3,
            WRONG_DATABASE,
            ADDRESS_PASSWORD,
        ]

    def leaks(self, said: bytes, secrets: list[str]) -> list[tuple[str, str]]:
        """(where, which secret), in any encoding that programs use."""
        return [
            (where, secret)
            for where, text in [("standard output and error", said), *self.leftovers()]
            for secret in secrets
            if any(spelling in text for spelling in spellings(secret))
        ]


def spellings(secret: str) -> set[bytes]:
    raw = secret.encode()
    return {raw, base64.b64encode(raw).rstrip(b"="), urllib.parse.quote(secret, safe="").encode()}


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    home = tmp_path_factory.mktemp("prefect")
    password = {"PREFECT_SERVER_API_AUTH_STRING": PREFECT_PASSWORD}
    with running_prefect(home, f"sqlite+aiosqlite:///{home}/prefect.db", **password) as server:
        yield server


@pytest.fixture
def place(
    prefect: PrefectServer,
    pg_url: str,
    swift_server: S3Server,
    tmp_path: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    """PostgreSQL and S3, each with a unique password, and a video to process."""
    options, bucket = swift_server.options, new_bucket(swift_server.options)
    environment = {
        "NIGHTJAR_HOME": str(tmp_path / "home"),
        "NIGHTJAR_DATABASE_URL": pg_url,
        "NIGHTJAR_ARTIFACTS": f"s3://{bucket}/nightjar",
        "NIGHTJAR_S3_ENDPOINT_URL": str(options.endpoint_url),
        "NIGHTJAR_S3_ACCESS_KEY_ID": str(options.access_key),
        "NIGHTJAR_S3_SECRET_ACCESS_KEY": str(options.secret_key),
        "NIGHTJAR_NOTIFY_URLS": f"json://me:{ADDRESS_PASSWORD}@127.0.0.1:9 "
        f"mailto://me:{ADDRESS_PASSWORD}@127.0.0.1:9?mode=insecure&from=a@b.org&to=a@b.org",
        "PREFECT_API_URL": prefect.api_url,
        "PREFECT_API_AUTH_STRING": PREFECT_PASSWORD,
        "PREFECT_HOME": str(tmp_path / "client"),
    }
    for name, value in environment.items():
        if name.startswith("NIGHTJAR_"):
            monkeypatch.setenv(name, value)
    read_settings.cache_clear()
    register_tiny_model(tiny_model)
    (tmp_path / "archive").mkdir()
    spot_video(tmp_path / "archive" / "one.mp4", 30)
    yield Place(environment, prefect, swift_server, bucket, pg_url, tmp_path / "archive")
    read_settings.cache_clear()


@pytest.mark.slow
def test_the_search_finds_leaked_secrets(place: Place) -> None:
    """The control: error messages repeat a name that a user typed, so a secret typed as a name is found."""
    code, said = place.night(model=CONTROL)
    assert code != 0
    found = {Path(where).name for where, _ in place.leaks(said, [CONTROL])}
    assert "standard output and error" in found
    assert any(name.startswith("prefect.db") for name in found), "in a parameter, a log line, a state message"


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({}, 0),
        pytest.param({"NIGHTJAR_S3_SECRET_ACCESS_KEY": WRONG_S3}, 1, marks=pytest.mark.slow),
        pytest.param({"NIGHTJAR_DATABASE_URL": "wrong password"}, 1, marks=pytest.mark.slow),
        pytest.param(
            {"NIGHTJAR_DATABASE_URL": f"postgresql://me:{WRONG_DATABASE}@x@127.0.0.1:none/db"},
            1,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["a good night", "wrong S3 secret", "wrong database password", "unreadable database address"],
)
def test_no_secret_is_leaked(place: Place, wrong: dict[str, str], expected: int) -> None:
    if wrong.get("NIGHTJAR_DATABASE_URL") == "wrong password":
        url = make_url(place.database_url).set(password=WRONG_DATABASE)
        wrong = {"NIGHTJAR_DATABASE_URL": url.render_as_string(hide_password=False)}
    code, said = place.night(**wrong)
    assert code == expected, said.decode()[-3000:]
    state = "Completed" if expected == 0 else "Failed"
    assert state.encode() in said, "Prefect has seen it"
    assert place.leaks(said, place.secrets) == []
    if expected == 0:
        waiting = str(dict(place.leftovers())["messages"])
        assert waiting.count("it did not answer") == 2, "both addresses were tried"
