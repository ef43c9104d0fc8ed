"""Every address that commands, reports and messages give opens a page, and tables still fit 80 columns."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr
from rich.cells import cell_len
from sqlalchemy import select, update
from starlette.testclient import TestClient

from deployments import commands
from deployments.cli import main
from storage.sql.database import migrate, open_database, reading, writing
from storage.sql.evaluations import record_evaluation
from storage.sql.tables import batches, messages, videos
from storage.sql.trainings import start_training
from tasks.batch.account import read_account
from tasks.batch.listing import ArchiveListing
from tasks.batch.pictures import PicturedFrame, Pictures
from tasks.batch.report import BatchReport, describe_videos, linked, report_markdown
from tasks.browse.links import Pages, evaluation_path, pages_of
from tasks.notify import outbox
from tasks.notify.addresses import Address
from tasks.site.settings import read_settings
from tasks.site.site import Site
from tasks.site.stores import artifact_store
from tasks.site_file.notify import Notify
from tasks.text.markdown import table_rows
from tests.deployments.browse.conftest import client_of, open_browse
from tests.storage.samples import record_file
from tests.storage.sql.test_evaluations import ONE as EVALUATED
from tests.storage.sql.test_trainings import PLAN
from tests.tasks.notify.made_events import evaluate, night

HERE = "http://127.0.0.1:4270"
ADDRESS = re.compile(rf"{re.escape(HERE)}(/[^\s)\"',\]]*)")
NAME = "cam/a [long](name) | of a door" + "!" * 50 + ".mp4"
RUN = "0b5a4a1e-0000-4000-8000-000000000001"
LISTINGS = ("videos", "recordings", "events", "batches", "compare", f"tracks {'a' * 64}")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A home with a batch, a video with two tracks and three events, a fine-tuning and an evaluation."""
    monkeypatch.setenv("NIGHTJAR_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")  # no bold headings, which are escapes
    monkeypatch.chdir(tmp_path)
    read_settings.cache_clear()
    settings = read_settings()
    engine = open_database(settings.database)
    migrate(engine)
    made = night(engine)
    evaluate(made, ["fall", "hand_raised", "fall"])
    record_file(engine, "archive/", NAME, 9, "e", video_id=made.video_id)
    with writing(engine) as connection:
        connection.execute(update(batches).values(flow_run_id=RUN))
    start_training(engine, PLAN, None)
    protocol = json.dumps({"truth_sha256": "a" * 64, "images_sha256": "b"})
    record_evaluation(engine, 1, replace(EVALUATED, protocol=protocol))
    yield Site(settings, engine, artifact_store(settings))
    engine.dispose()
    read_settings.cache_clear()


@pytest.fixture
def client(site: Site) -> TestClient:
    return client_of(open_browse(site.settings))


def run(command: str, *options: str) -> Result:
    return CliRunner().invoke(main, [*command.split(), *options], catch_exceptions=False)


def assert_opens(client: TestClient, text: str, least: int = 1) -> None:
    paths = ADDRESS.findall(text)
    assert len(set(paths)) >= least, text
    for path in set(paths):
        assert client.get(path).status_code == 200, path


@pytest.mark.parametrize("command", LISTINGS)
def test_listings_give_pages_that_open(site: Site, client: TestClient, command: str) -> None:
    """One line under the table, which fits 80 columns, and a column for programs."""
    table = run(command).stdout
    assert len(ADDRESS.findall(table)) == 1
    assert max(map(cell_len, table.splitlines())) <= 80 or NAME[:20] in table
    assert "run 'nightjar browse'" in table
    rows = json.loads(run(command, "--format", "json").stdout)
    assert rows
    assert all(list(row)[-1] == "page" and row["page"].startswith(HERE) for row in rows)
    assert "page" in run(command, "--wide").stdout.splitlines()[0].split()
    assert_opens(client, table + json.dumps(rows))


def test_models_and_the_last_batch_give_a_page(site: Site, client: TestClient) -> None:
    for words in (run("models").stdout, run("batches --last").stdout):
        assert_opens(client, words)


def test_events_open_with_the_filters_of_the_command(site: Site, client: TestClient) -> None:
    words = run("events", "--camera", "back door", "--rule", "fall", "--since", "2026-01-01").stdout
    assert ADDRESS.findall(words) == ["/events?rule=fall&camera=back%20door&since=2026-01-01"]
    assert_opens(client, words)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_query_gives_its_page_to_people_only(
    site: Site, client: TestClient, terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    commands.print_query_page("SELECT video_id, frame FROM poses LIMIT 2 -- 'ü' & \"x\"")
    said = capsys.readouterr()
    assert said.out == ""
    assert bool(said.err) == terminal
    if terminal:
        assert_opens(client, said.err)


def test_a_query_of_any_length_does_not_fill_the_terminal(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    commands.print_query_page("SELECT 1 --" + "x" * 5000)
    assert capsys.readouterr().err == ""


def report(site: Site) -> BatchReport:
    """The report of the batch, with a picture of its video."""
    account = read_account(site.engine)
    with reading(site.engine) as connection:
        sha256 = connection.execute(select(videos.c.sha256)).scalar_one()
    png = cv2.imencode(".png", np.zeros((2, 2, 3), np.uint8))[1].tobytes()
    return BatchReport(
        **{"batch_id": 1, "status": "completed", "archive": "archive/", "model": "m", "version_id": "v", "views": ""},
        listing=ArchiveListing(),
        counts=account.counts,
        pages=pages_of(site.settings),
        pictures=Pictures(png, "/artifacts/picture.png", [PicturedFrame(NAME, sha256, 12)]),
        tracks="",
        videos=describe_videos(site, account),
        refused=[],
        account=account,
        chart=b"",
        chart_url="",
        wall_s=1.0,
    )


def test_links_follow_the_picture_of_a_report(site: Site, client: TestClient) -> None:
    found = report(site)
    text = report_markdown(found, "batch 1")
    after = text.partition("data:image/jpeg")[2].partition(")\n\n")[2]
    assert re.match(rf"- \[.*, frame 12\]\({HERE}/video/\w+\?frame=12\)(\n|$)", after), after
    assert "/artifacts/picture.png" not in text
    tables = str(table_rows(linked(found.videos, found.account, found.pages)))
    assert_opens(client, text, least=4)
    assert_opens(client, tables)


def test_messages_give_pages_that_open(site: Site, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_UI_URL", "http://prefect.example:4200/")
    address = [Address(1, SecretStr("json://one.example"))]
    chosen = Notify(severity="info", night=True)
    outbox.queue_events(site, address, chosen)
    outbox.queue_nights(site, address, chosen)
    with reading(site.engine) as connection:
        texts = [json.loads(content)["text"] for content in connection.execute(select(messages.c.content)).scalars()]
    assert len(texts) == 4
    for text in texts:
        assert_opens(client, text)
        assert "\npage: http" in text
    assert f"\nrun: http://prefect.example:4200/runs/flow-run/{RUN}" in texts[-1]


def test_the_pages_of_other_flows_open(site: Site, client: TestClient) -> None:
    """Those in the artifacts of trainings and evaluations."""
    assert_opens(client, f"{run('compare 1').stdout} {HERE}{evaluation_path(1)}", least=2)


def test_a_night_links_to_its_run(site: Site) -> None:
    browse = open_browse(site.settings)
    known = replace(browse, prefect=lambda: "http://prefect.example:4200")
    assert f"http://prefect.example:4200/runs/flow-run/{RUN}" in client_of(known).get("/night/1").text
    unknown = replace(browse, prefect=lambda: None)
    assert "flow-run" not in client_of(unknown).get("/night/1").text


def test_a_configured_address_is_used_everywhere(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTJAR_BROWSE_URL", "https://nights.example/x")
    read_settings.cache_clear()
    assert pages_of(read_settings()) == Pages("https://nights.example/x")
    for command in LISTINGS:
        assert "Page: https://nights.example/x/" in run(command).stdout
        assert HERE not in run(command, "--format", "csv").stdout
