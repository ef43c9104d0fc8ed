"""The page of queries without a browser: refusals, limits, links, files and processes."""

import asyncio
import csv
import io
import os
import re
import time
from collections.abc import Iterator
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from starlette.requests import ClientDisconnect, Request
from starlette.testclient import TestClient

from deployments.answers import Format, write_parquet_to, write_text
from deployments.browse.sql_box import child, process
from deployments.browse.sql_box.process import QueryProcesses, unless_gone
from deployments.browse.sql_box.request import QueryFailed, QueryRequest
from models.types import NightjarError
from storage.sql.browse.places import videos_of_name
from storage.sql.database import DatabaseError, open_database
from storage.sql.query import QueryLimits, query
from tasks.browse.row_links import RowLinks
from tasks.site.settings import Settings
from tests.deployments.browse.conftest import client_of, open_browse, state_of
from tests.deployments.browse.falls import HOSTILE, contents, recorded_falls
from tests.storage.samples import make_video, record_file, register_video

HOSTILE_STATEMENTS = [
    "DELETE FROM videos",
    "UPDATE videos SET sha256 = 'x'",
    "INSERT INTO event_marks VALUES ('k', 'right', '', 'r', 'v', '2026-01-01')",
    "DROP TABLE poses",
    "DROP VIEW events",
    "CREATE TABLE mine (a int)",
    "CREATE TEMP TABLE mine AS SELECT 1",
    "SELECT 1; DELETE FROM videos",
    "COMMIT; DELETE FROM videos",
    "WITH gone AS (DELETE FROM videos RETURNING *) SELECT * FROM gone",
    "ALTER TABLE videos ADD COLUMN x int",
    "/* SELECT */ TRUNCATE videos",
    "EXPLAIN ANALYZE DELETE FROM videos",
    "\n\t -- SELECT\nVACUUM",
]
OF_SQLITE = [
    "ATTACH 'other.sqlite' AS other",
    "PRAGMA query_only = OFF",
    "PRAGMA journal_mode = DELETE",
    "SELECT load_extension('x')",
    "SELECT writefile('x', 'y')",
    "REPLACE INTO alembic_version VALUES ('0001')",
]
OF_POSTGRESQL = [
    "COPY videos TO '/tmp/videos'",
    "SET TRANSACTION READ WRITE",
    "SELECT set_config('transaction_read_only', 'off', false)",
    "SELECT nextval(pg_get_serial_sequence('videos', 'video_id'))",
    "SELECT query_to_xml('DELETE FROM videos', true, true, '')",
    "SELECT lo_create(0)",
    "DO $$ BEGIN DELETE FROM videos; END $$",
    "LOCK TABLE videos",
]


@pytest.fixture
def site_settings(migrated_url: str, settings: Settings) -> Settings:
    return settings.model_copy(
        update={"database_url": Settings(database_url=migrated_url, _env_file=None).database_url}
    )


@pytest.fixture
def client(site_settings: Settings) -> Iterator[TestClient]:
    """The pages over each database, with a recording in it."""
    yield from pages_of(site_settings)


@pytest.fixture
def sqlite_client(settings: Settings) -> Iterator[TestClient]:
    """The same over SQLite only, where the database makes no difference."""
    yield from pages_of(settings)


def pages_of(settings: Settings) -> Iterator[TestClient]:
    browse = open_browse(settings, marks=True)
    assert browse.marks is not None
    recorded_falls(browse.marks)
    client = client_of(browse)
    yield client
    state_of(client).query_processes.close()
    browse.marks.dispose()
    browse.site.engine.dispose()


def test_statements_that_write_are_refused(client: TestClient, site_settings: Settings) -> None:
    """Each is refused with a remedy, and changes nothing: some by the server, all by what its processes run."""
    engine = open_database(site_settings.database)
    before = contents(engine)
    special = OF_SQLITE if engine.dialect.name == "sqlite" else OF_POSTGRESQL
    for sql in (*HOSTILE_STATEMENTS, *special):
        for form in ("rows", "csv"):
            with pytest.raises(DatabaseError, match="Give one SELECT"):
                child.answer(QueryRequest(site_settings.database, sql, form), io.BytesIO())
    for sql in (HOSTILE_STATEMENTS[0], HOSTILE_STATEMENTS[7], special[1]):
        answer = client.get("/sql", params={"q": sql})
        assert answer.status_code == 400, sql
        assert "Give one SELECT" in answer.text.partition('role="alert"')[2], sql
    assert client.get("/sql.csv", params={"q": "DELETE FROM videos"}).status_code == 400
    assert contents(engine) == before
    engine.dispose()


def test_hostile_text_stays_text(sqlite_client: TestClient) -> None:
    answer = sqlite_client.get("/sql", params={"q": "SELECT video, from_s AS \"<b onclick='x'>\", camera FROM events"})
    assert answer.status_code == 200
    assert "<img src=x" not in answer.text
    assert "<b onclick" not in answer.text
    assert "\u202e" not in answer.text
    assert "&lt;img src=x onerror=" in answer.text
    box = sqlite_client.get("/sql", params={"q": "SELECT '</textarea><script>x</script>'"})
    assert "<script>x" not in box.text


def test_an_error_is_shown_beside_its_query(sqlite_client: TestClient) -> None:
    answer = sqlite_client.get("/sql", params={"q": "SELECT nosuch FROM events"})
    assert answer.status_code == 400
    assert "SELECT nosuch FROM events</textarea>" in answer.text
    assert "nosuch" in answer.text.partition('role="alert"')[2]


def test_a_query_of_another_site_waits_for_its_reader(sqlite_client: TestClient) -> None:
    asked = {"params": {"q": "SELECT 41 + 1"}, "headers": {"Sec-Fetch-Site": "cross-site"}}
    page = sqlite_client.get("/sql", **asked)
    assert "SELECT 41 + 1</textarea>" in page.text
    assert "Another site has written this query" in page.text
    assert "<table" not in page.text
    assert sqlite_client.get("/sql.csv", **asked).status_code == 400


def test_the_first_thousand_rows_are_shown(sqlite_client: TestClient) -> None:
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) SELECT i FROM n"
    assert "The first 1,000 rows" in sqlite_client.get("/sql", params={"q": many.format(1001)}).text
    whole = sqlite_client.get("/sql", params={"q": many.format(1000)}).text
    assert "The first" not in whole
    assert whole.count('<td class="number">') == 1000


def test_files_have_the_whole_answer_as_the_command_writes_it(client: TestClient, site_settings: Settings) -> None:
    sql = "SELECT video, rule, from_s, track, zone, from_at FROM events ORDER BY from_s"
    engine = open_database(site_settings.database)
    columns, rows = query(engine, sql, QueryLimits())
    kept = list(rows)
    for spreadsheet in ("0", "1"):
        expected = io.StringIO()
        write_text(columns, kept, Format("csv", spreadsheet=spreadsheet == "1"), expected)
        answer = client.get("/sql.csv", params={"q": sql, "spreadsheet": spreadsheet})
        assert answer.headers["content-disposition"] == 'attachment; filename="answer.csv"'
        assert answer.content.decode() == expected.getvalue()
    assert client.get("/sql.csv", params={"q": "SELECT '=1+1'", "spreadsheet": "1"}).text.splitlines()[1] == "'=1+1"
    table = pq.read_table(io.BytesIO(client.get("/sql.parquet", params={"q": sql}).content))
    assert table.column("from_s").to_pylist() == [row[2] for row in kept]
    assert table.column("video").to_pylist() == [row[0] for row in kept]
    engine.dispose()


def test_a_file_may_be_empty(sqlite_client: TestClient) -> None:
    nothing = {"q": "SELECT video, from_s FROM events WHERE 1 = 0"}
    assert list(csv.reader(io.StringIO(sqlite_client.get("/sql.csv", params=nothing).text))) == [["video", "from_s"]]
    assert pq.read_table(io.BytesIO(sqlite_client.get("/sql.parquet", params=nothing).content)).num_rows == 0


# Places


def landed(client: TestClient, path: str) -> tuple[str, dict[str, str]]:
    """Follow a row's link: the beginning of the video's hash, and the place."""
    answer = client.get(path, follow_redirects=False)
    assert answer.status_code == 307, (path, answer.text)
    parts = urlsplit(answer.headers["location"])
    return parts.path.removeprefix("/video/"), {name: values[0] for name, values in parse_qs(parts.query).items()}


PLACES = {
    "people": "frame t_s person track video video_id recording_id model_version_id",
    "keypoints": "frame t_s keypoint x video video_id",
    "events": "video video_id peak_video_id peak_frame peak_s from_s to_s track rule event_key",
    "event_rows": "video_id peak_video_id peak_frame from_s to_s peak_s event_key",
}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_links_of_rows_open_the_right_video_and_frame(client: TestClient, data: st.DataObject) -> None:
    """Any columns of a view or table, in any order: the player opens at a place that the whole row names."""
    engine = state_of(client).browse.site.engine
    view = data.draw(st.sampled_from(sorted(PLACES)))
    columns = data.draw(st.permutations(PLACES[view].split())).copy()
    columns = columns[: data.draw(st.integers(1, len(columns)))]
    clock = "0" if view != "event_rows" else "(SELECT start_s FROM recording_videos WHERE video_id = {}.video_id)"
    truth = (
        "e.video_id, e.from_s - {}, e.peak_video_id, e.peak_frame, e.peak_s".format(clock.format("e"))
        if "event" in view
        else "e.video_id, NULL, e.video_id, e.frame, e.t_s"
    )
    sql = f"SELECT {', '.join(f'e.{name}' for name in columns)}, {truth} FROM {view} AS e"
    _, rows = query(engine, sql, QueryLimits())
    hashes: dict[int, str] = dict(query(engine, "SELECT video_id, sha256 FROM videos")[1])
    links = RowLinks(columns, f"SELECT {', '.join(columns)} FROM {view}")
    for row in rows:
        path, (video_id, from_s, peak_id, peak_frame, peak_s) = links.of_row(row[: len(columns)]), row[len(columns) :]
        if path is None:
            assert not {"video", "video_id", "peak_video_id"} & set(columns)
            continue
        sha, where = landed(client, path)
        if "frame" in where:
            assert (sha, where["frame"]) == (hashes[peak_id][:16], str(peak_frame))
        elif "t" in where:
            at = (sha, float(where["t"]))
            assert at in {(hashes[peak_id][:16], peak_s), (hashes[video_id][:16], from_s)}
        else:
            assert sha in {hashes[peak_id][:16], hashes[video_id][:16]}


def test_a_name_of_several_videos_lists_them(client: TestClient, site_settings: Settings) -> None:
    engine = open_database(site_settings.database)
    for number, archive in enumerate(("one/", "two/")):
        video_id = register_video(engine, make_video(f"{number + 5}" * 64))
        record_file(engine, archive, HOSTILE, 1, "e", video_id=video_id)
    assert len(videos_of_name(engine, HOSTILE)) == 2
    answer = client.get("/open", params={"video": HOSTILE, "frame": "7"}, follow_redirects=False)
    assert answer.status_code == 300
    assert {unescape(path) for path in re.findall(r'href="(/video/[^"]+)"', answer.text)} == {
        f"/video/{digit * 16}?frame=7" for digit in "56"
    }
    assert "<img src=x" not in answer.text
    sha, _ = landed(client, "/open?sha256=" + "5" * 64)
    assert sha == "5" * 16
    engine.dispose()


def test_an_unknown_video_is_not_found(sqlite_client: TestClient) -> None:
    for wrong in ("", "?video=nothing", "?video_id=999", "?video_id=9999999999999999999", "?sha256=../x"):
        assert sqlite_client.get(f"/open{wrong}", follow_redirects=False).status_code == 404
    _, where = landed(sqlite_client, "/open?video_id=1&frame=x&t_s=-1&track=1e5&model=%00&peak_s=nan")
    assert where == {}


# Processes


SLEEP = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


def request_that_leaves(after_s: float) -> Request:
    """A request whose client goes away after some time."""
    leaves = time.monotonic() + after_s

    async def receive() -> dict[str, Any]:
        while time.monotonic() < leaves:
            await asyncio.sleep(0.05)
        return {"type": "http.disconnect"}

    return Request({"type": "http", "method": "GET", "headers": []}, receive)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_query_ends_when_its_client_goes_away(site_settings: Settings) -> None:
    async def ask() -> int:
        running = await processes.begin(QueryRequest(site_settings.database, SLEEP))
        try:
            with pytest.raises(ClientDisconnect):
                await unless_gone(request_that_leaves(2.0), running.whole())
        finally:
            running.end()
        return running.pid

    processes = QueryProcesses(most=1)
    pid = asyncio.run(ask())
    deadline = time.monotonic() + 20
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_query_ends_at_its_time_limit(site_settings: Settings) -> None:
    async def ask() -> bytes:
        running = await processes.begin(QueryRequest(site_settings.database, SLEEP, limits=QueryLimits(0.5)))
        try:
            return await running.whole()
        finally:
            running.end()

    processes = QueryProcesses()
    with pytest.raises(QueryFailed, match=r"ended after 0\.5 s"):
        asyncio.run(ask())


def test_the_number_of_queries_is_bounded(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is started beyond the bound; a place is free again when a query ends."""
    monkeypatch.setattr(process, "WAIT_S", 0.2)
    processes, request = QueryProcesses(most=1), QueryRequest("sqlite:///nowhere", "SELECT 1")

    async def ask() -> None:
        running = await processes.begin(request)
        with pytest.raises(NightjarError, match="1 queries are running"):
            await processes.begin(request)
        running.end()
        deadline = time.monotonic() + 20
        while processes._running:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        (await processes.begin(request)).end()

    asyncio.run(ask())


def test_a_process_that_waits_ends_with_its_server() -> None:
    processes = QueryProcesses()
    processes.prepare()
    ahead = processes._ahead
    assert ahead is not None
    assert ahead.stdin is not None
    ahead.stdin.close()  # as the end of the server does
    assert ahead.wait(60) == 0
    for stream in (ahead.stdout, ahead.stderr):
        assert stream is not None
        stream.close()


# The process's own work, without a process


def test_the_shown_rows_are_bounded() -> None:
    found = child.first_rows(["a"], iter([("x" * 5000,)]))
    assert found["rows"][0][0] == "x" * child.CELL_CHARACTERS + " … and 3,000 more characters"
    assert not found["more"]
    wide = child.first_rows(["a"] * 1000, iter([(1,) * 1000] * 200))
    assert (len(wide["rows"]), wide["more"]) == (child.PAGE_CELLS // 1000, True)
    large = child.first_rows(["a"] * 90, iter([("x" * 2000,) * 90] * 1000))
    assert len(large["rows"]) == 1 + child.PAGE_CHARACTERS // (2000 * 90)
    assert large["more"]


def test_a_request_is_the_same_in_the_process() -> None:
    asked = QueryRequest("sqlite:///x", "SELECT '\n\r'", "csv", True, QueryLimits(1.5, 3, 4))
    assert asked.to_line().count(b"\n") == 1
    assert QueryRequest.from_line(asked.to_line()) == asked


def test_parquet_finds_the_type_of_a_column_at_its_end(engine: Engine) -> None:
    """The first 10,000 rows are integers or NULL, the last one is neither."""
    rows = [(number, None) for number in range(10_001)] + [(0.5, "text")]
    output = io.BytesIO()
    assert write_parquet_to(["a", "b"], rows, output) == 10_002
    table = pq.read_table(io.BytesIO(output.getvalue()))
    assert table.column("a").to_pylist()[-2:] == [10_000.0, 0.5]
    assert table.column("b").to_pylist()[-2:] == [None, "text"]
    for mixed in ([(1,), ("x",)], [(1,)] * 10_001 + [("x",)]):
        with pytest.raises(NightjarError, match="several types"):
            write_parquet_to(["a"], mixed, io.BytesIO())
