"""The data behind the pages of a video and a recording equals the views, on both databases."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from starlette.testclient import TestClient

from storage.rows import KEYPOINT_COLUMNS
from storage.sql.analyses.versions import register_analysis, show_analysis
from storage.sql.database import Database, open_database, writing
from storage.sql.query import query
from tasks.browse.links import video_path
from tasks.site.settings import Settings
from tests.deployments.browse.conftest import client_of, open_browse
from tests.storage.browsed import FRAMES, GAP_S, Recording, replace_analysis, starts, supersede_rows

SPAN_S = FRAMES / 25 + GAP_S


class Home(NamedTuple):
    """A recording of three files with random rows, and the pages over it."""

    engine: Database
    client: TestClient
    recording: Recording

    def get(self, path: str, **query: Any) -> Any:
        answer = self.client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer

    def of_video(self, number: int, what: str, **query: Any) -> Any:
        return self.get(f"/api/video/{self.recording.hashes[number][:16]}/{what}", **query)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in query(self.engine, sql)[1]]


@pytest.fixture
def home(migrated_url: str, tmp_path: Path) -> Iterator[Home]:
    engine = open_database(migrated_url)
    recording = Recording(engine, seed=7)
    browse = open_browse(Settings(home=tmp_path / "home", database_url=migrated_url, _env_file=None))
    yield Home(engine, client_of(browse), recording)
    browse.site.engine.dispose()
    engine.dispose()


class Decoded(NamedTuple):
    """A piece of poses, as the player reads it."""

    first: int
    frames: int
    frame: np.ndarray
    track: np.ndarray
    person: np.ndarray
    score: np.ndarray
    keypoints: np.ndarray


def decoded(content: bytes) -> Decoded:
    magic, n, first, frames = struct.unpack_from("<4sIII", content)
    assert magic == b"NJP1"
    assert len(content) == 16 + n * 4 * (4 + 3 * 17)
    whole = np.frombuffer(content, "<i4", 3 * n, 16).reshape(3, n)
    score = np.frombuffer(content, "<f4", n, 16 + 12 * n)
    places = np.frombuffer(content, "<f4", 3 * 17 * n, 16 + 16 * n).reshape(3, n, 17)
    return Decoded(first, frames, whole[0], whole[1], whole[2], score, places)


def test_pieces_together_equal_the_view_people(home: Home) -> None:
    names = ", ".join(KEYPOINT_COLUMNS)
    for number, video_id in enumerate(home.recording.ids):
        pieces = [decoded(home.of_video(number, f"pieces/{piece}").content) for piece in range(3)]
        assert [(piece.first, piece.frames) for piece in pieces] == [(0, 512), (512, 512), (1024, 276)]
        assert all(((piece.frame >= piece.first) & (piece.frame < piece.first + 512)).all() for piece in pieces)
        sql = f"SELECT frame, coalesce(track, 0), person, score, {names} FROM people WHERE video_id = {video_id}"
        expected = np.array(home.rows(f"{sql} ORDER BY frame, person"), np.float64)
        assert len(expected) > 500
        places = expected[:, 4:].reshape(-1, 17, 3).transpose(2, 0, 1)
        for name, column in zip(("frame", "track", "person", "score"), expected.T, strict=False):
            found = np.concatenate([getattr(piece, name) for piece in pieces])
            np.testing.assert_array_equal(found, column.astype(found.dtype), name)
        np.testing.assert_array_equal(np.concatenate([piece.keypoints for piece in pieces], 1), places.astype("f4"))
    assert home.of_video(0, "pieces/0", model=home.recording.model).content == home.of_video(0, "pieces/0").content


def test_pieces_of_labels_equal_the_classifications(home: Home) -> None:
    found = []
    for piece in range(3):
        content = home.of_video(1, f"pieces/{piece}", model=home.recording.classifier).content
        magic, n, first, _ = struct.unpack_from("<4sIII", content)
        assert (magic, first) == (b"NJL1", piece * 512)
        frames, numbers = np.frombuffer(content, "<i4", 2 * n, 16).reshape(2, n)
        scores = np.frombuffer(content, "<f4", n, 16 + 8 * n)
        (length,) = struct.unpack_from("<I", content, 16 + 12 * n)
        labels = json.loads(content[20 + 12 * n : 20 + 12 * n + length])
        found += [(int(f), labels[k], float(s)) for f, k, s in zip(frames, numbers, scores, strict=True)]
    sql = f"SELECT frame, label, score FROM classifications WHERE video_id = {home.recording.ids[1]} ORDER BY frame"
    expected = home.rows(sql)
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    assert np.array_equal(np.float32([row[2] for row in found]), np.float32([row[2] for row in expected]))


def series_of(content: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return frame, t_s, filled and the columns' values of a series."""
    magic, n, columns = struct.unpack_from("<4sII", content)
    assert magic == b"NJS1"
    frame, t_s = np.frombuffer(content, "<i4", n, 12), np.frombuffer(content, "<f4", n, 12 + 4 * n)
    filled = np.frombuffer(content, np.uint8, n, 12 + 8 * n)
    values = np.frombuffer(content, "<f4", n * columns, 12 + 8 * n + n + -n % 4).reshape(columns, n)
    assert len(content) == 12 + 8 * n + n + -n % 4 + 4 * n * columns
    return frame, t_s, filled, values


def test_a_series_equals_track_motion(home: Home) -> None:
    columns = ["speed_px_per_s", "left_knee_angle_deg", "nose_x", "right_ankle_y"]
    for number, track in ((0, 1), (1, 2), (2, 12)):
        content = home.of_video(number, "series", track=track, columns=",".join(columns)).content
        frame, t_s, filled, values = series_of(content)
        sql = f"SELECT frame, t_s, filled, {', '.join(columns)} FROM track_motion WHERE track = {track}"
        expected = np.array(home.rows(f"{sql} AND video_id = {home.recording.ids[number]} ORDER BY frame"), np.float64)
        assert len(expected) > 100
        np.testing.assert_array_equal(frame, expected[:, 0])
        np.testing.assert_array_equal(t_s, expected[:, 1].astype("f4"))
        np.testing.assert_array_equal(filled, expected[:, 2])
        np.testing.assert_array_equal(values, expected[:, 3:].T.astype("f4"))


def lanes_of(answer: Any, *kinds: str) -> list[dict[str, Any]]:
    return [lane for lane in answer.json()["lanes"] if lane["kind"] in kinds]


def spans(lanes: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    """Return these values of lanes, with times in microseconds, sorted."""
    found = [tuple(round(lane[name], 6) if name.endswith("_s") else lane[name] for name in names) for lane in lanes]
    return sorted(found, key=repr)


def rounded(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted((tuple(round(v, 6) if isinstance(v, float) else v for v in row) for row in rows), key=repr)


def test_the_lanes_of_a_video_equal_the_views(home: Home) -> None:
    whole_s = FRAMES / 25
    for number, video_id in enumerate(home.recording.ids):
        answer = home.of_video(number, "timeline")
        mine = f"WHERE video_id = {video_id}"
        unseen = home.rows(
            f"SELECT state, from_s, to_s FROM presence_intervals {mine} AND state NOT IN ('people', 'nobody')"
        )
        kinds = ("undecodable", "quarantined", "not_done")
        assert spans(lanes_of(answer, *kinds), "kind", "from_s", "to_s") == rounded(unseen)
        labels = home.rows(f"SELECT label, from_s, to_s FROM label_intervals {mine}")
        assert spans(lanes_of(answer, "label"), "name", "from_s", "to_s") == rounded(labels)
        tracks = home.rows(
            "SELECT t.track, t.first_s, t.last_s, t.first_frame FROM tracks AS t JOIN analyses AS a"
            f" ON a.analysis_id = t.analysis_id WHERE a.video_id = {video_id}"
        )
        assert spans(lanes_of(answer, "track"), "track", "from_s", "to_s", "frame") == rounded(tracks)
        begins = {each: starts()[place] - starts()[number] for place, each in enumerate(home.recording.ids)}
        events = [
            (rule, track, max(0.0, begins[each] + a), min(whole_s, begins[each] + b), severity)
            for rule, track, each, a, b, severity in home.rows(
                "SELECT rule, track, video_id, from_s, to_s, severity FROM events"
            )
            if begins[each] + b >= 0 and begins[each] + a <= whole_s
        ]
        names = ("name", "track", "from_s", "to_s", "severity")
        assert spans(lanes_of(answer, "event"), *names) == rounded(events)
        assert len(events) == (5 if number < 2 else 4)
        assert {lane["name"] for lane in lanes_of(answer, "quarantined")} <= {"damaged <b>"}
    assert lanes_of(home.of_video(1, "timeline"), "event")


def test_the_lanes_of_a_recording_equal_its_summaries(home: Home) -> None:
    answer = home.get(f"/api/recording/{home.recording.recording_id}")
    found = answer.json()
    assert [file["start_s"] for file in found["files"]] == starts()
    assert (found["duration_s"], found["files_total"], found["cut"]) == (3 * SPAN_S - GAP_S, 3, 0)
    begins = dict(zip(home.recording.ids, starts(), strict=True))
    tracks = [
        (track, begins[video_id] + first_s, begins[video_id] + first_s + duration_s)
        for track, video_id, first_s, duration_s in home.rows(
            "SELECT track, video_id, first_s, duration_s FROM track_summary"
        )
    ]
    assert spans(lanes_of(answer, "track"), "track", "from_s", "to_s") == rounded(tracks)
    assert len(tracks) == 5
    events = [
        (rule, begins[video_id] + a, begins[video_id] + b)
        for rule, video_id, a, b in home.rows("SELECT rule, video_id, from_s, to_s FROM events")
    ]
    assert spans(lanes_of(answer, "event"), "name", "from_s", "to_s") == rounded(events)
    second = next(lane for lane in lanes_of(answer, "track") if lane["track"] == 11)
    t_s = second["from_s"] - starts()[1]
    assert second["url"] == video_path(home.recording.hashes[1], t=t_s, track=11, recording=home.recording.recording_id)


def test_answers_are_kept_until_their_rows_change(home: Home) -> None:
    """After another attempt at a segment, an analysis that goes on, and another shown version."""
    address = f"/api/video/{home.recording.hashes[0][:16]}/pieces/0"
    stamp = home.of_video(0, "timeline").json()["stamp"]
    seen: set[str] = set()
    for change in (lambda: None, _reprocess, _continue, _analyse_again):
        change(*() if not seen else (home,))
        answer = home.get(address)
        etag = answer.headers["etag"]
        assert answer.headers["cache-control"] == "private, no-cache"
        assert etag not in seen
        seen.add(etag)
        for known in (etag, f"W/{etag}", f'"other", {etag}'):
            again = home.client.get(address, headers={"If-None-Match": known})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
        for_ever = "max-age=31536000" in home.get(address, stamp=stamp).headers["cache-control"]
        assert for_ever == (len(seen) == 1)
        newer = home.of_video(0, "timeline").json()["stamp"]
        assert "immutable" in home.get(address, stamp=newer).headers["cache-control"]


def _reprocess(home: Home) -> None:
    supersede_rows(home.engine, home.recording.ids[0])


def _continue(home: Home) -> None:
    replace_analysis(home.engine, home.recording.analysis_ids[0])


def _analyse_again(home: Home) -> None:
    version = register_analysis(home.engine, "9" * 64, "{}")
    with writing(home.engine) as connection:
        home.recording.analyse(connection, version)
        show_analysis(connection, version)


def test_models_and_analyses_can_be_chosen(home: Home) -> None:
    first = home.of_video(0, "pieces/0").content
    _analyse_again(home)
    found = home.of_video(0, "versions").json()
    assert [(each["task"], each["shown"]) for each in found["models"]] == [("pose", True), ("classification", True)]
    assert [(each["shown"], each["models"]) for each in found["analyses"]] == [
        (True, [home.recording.model]),
        (False, [home.recording.model]),
    ]
    assert home.of_video(0, "pieces/0").content != first
    former = found["analyses"][1]["id"]
    assert home.of_video(0, "pieces/0", analysis=former).content == first
    chosen = home.of_video(0, "timeline", model=home.recording.classifier).json()
    assert (chosen["model"], chosen["task"]) == (home.recording.classifier, "classification")
    assert {"track", "label"} <= {lane["kind"] for lane in chosen["lanes"]}


@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("pieces/3", 404),
        ("pieces/-1", 404),
        ("pieces/99999999999999999999", 404),
        ("pieces/x", 404),
        ("pieces/0?model=99", 404),
        ("pieces/0?model=1%20OR%201", 404),
        ("pieces/0?recording=99", 404),
        ("series?track=1&columns=t_s", 400),
        ("series?track=1&columns=", 400),
        ("series?track=1", 400),
        ("series?track=1&columns=nose_x,nose_x", 400),
        ("series?track=1&columns=nose_x;DROP%20TABLE%20motion", 400),
        ("series?track=999&columns=nose_x", 404),
        ("series?columns=nose_x", 404),
        ("series?track=1&analysis=99&columns=nose_x", 404),
        ("times", 400),
        ("nothing", 404),
    ],
)
def test_nonsense_is_refused_in_json(shared_home: Home, what: str, status: int) -> None:
    answer = shared_home.client.get(f"/api/video/{shared_home.recording.hashes[0][:16]}/{what}")
    assert answer.status_code == status
    assert answer.json()["error"]
    assert answer.headers["cache-control"] == "no-store"


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """As `home`, on SQLite, for tests that change nothing."""
    from tests.servers_postgres import write_migrated

    folder = tmp_path_factory.mktemp("home")
    url = write_migrated(folder / "nightjar.sqlite")
    engine = open_database(url)
    recording = Recording(engine, seed=8)
    return Home(engine, client_of(open_browse(Settings(home=folder, database_url=url, _env_file=None))), recording)


@pytest.mark.parametrize("path", ["/api/video/abc/timeline", f"/api/video/{'0' * 16}/timeline", "/api/recording/99"])
def test_missing_videos_and_recordings_are_not_found(shared_home: Home, path: str) -> None:
    answer = shared_home.client.get(path)
    assert (answer.status_code, answer.json()) == (404, {"error": "There is no such page."})
