"""Videos and stills of the pages without a browser: ranges, states, conversions, hostile requests and files."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from deployments.browse.context import Browse
from storage.sql.browse.videos import StoredVideo, stored_video
from storage.sql.catalogue import mark_gone
from storage.sql.database import open_database
from storage.video.frames import read_frames
from storage.video.probe import probe_video
from tasks.browse import stills, transcode
from tasks.browse.transcode import MediaVideo, Preparation
from tasks.browse.turns import Turns
from tasks.site.settings import Settings
from tests.deployments.browse.conftest import client_of, open_browse
from tests.deployments.browse.films import Film, add_film
from tests.videos import damage, make_video, number_of

WAIT_S = 60.0
MPEG4: dict[str, Any] = {"codec": "mpeg4", "options": {}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the archive."""
    found = tmp_path / "archive"
    found.mkdir()
    return found


@pytest.fixture
def browse(settings: Settings) -> Browse:
    return open_browse(settings)


@pytest.fixture
def client(browse: Browse) -> Iterator[TestClient]:
    client = client_of(browse)
    yield client
    assert isinstance(client.app, Starlette)
    client.app.state.preparation.close()


def address(film: Film, kind: str = "media") -> str:
    return f"/{kind}/{film.sha256[:16]}"


def prepared(client: TestClient, film: Film, query: str = "") -> dict[str, Any]:
    """Ask for the state until the work has ended."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        state: dict[str, Any] = client.get(f"{address(film)}/state?start=1{query}").json()
        if state["state"] != "preparing":
            return state
        assert 0 <= state["done"] <= 1
        time.sleep(0.05)
    raise AssertionError(state)


def stored(browse: Browse, film: Film) -> StoredVideo:
    found = stored_video(browse.site.engine, film.sha256)
    assert found is not None
    return found


def test_a_plain_film_is_sent_as_it_is(client: TestClient, settings: Settings, folder: Path) -> None:
    path = make_video(folder / "a.mp4", 25)
    film, data = add_film(settings, path), path.read_bytes()
    assert client.get(f"{address(film)}/state").json()["state"] == "preparing"  # asking alone begins nothing
    state = prepared(client, film)
    assert state == {"state": "ready", "done": 1.0, "why": None, "transcoded": False, "url": address(film)}
    whole = client.get(address(film))
    assert (whole.status_code, whole.content) == (200, data)
    assert whole.headers["ETag"] == f'"{film.sha256}"'
    assert (whole.headers["Accept-Ranges"], whole.headers["Content-Type"]) == ("bytes", "video/mp4")
    assert whole.headers["Content-Length"] == str(len(data))
    assert "Content-Encoding" not in whole.headers


def test_ranges_and_conditions(client: TestClient, settings: Settings, folder: Path) -> None:
    path = make_video(folder / "a.mp4", 25)
    film, data = add_film(settings, path), path.read_bytes()
    prepared(client, film)

    def ask(**headers: str) -> Any:
        return client.get(address(film), headers={name.replace("_", "-"): value for name, value in headers.items()})

    etag = f'"{film.sha256}"'
    part = ask(Range="bytes=100-299")
    assert (part.status_code, part.content) == (206, data[100:300])
    assert part.headers["Content-Range"] == f"bytes 100-299/{len(data)}"
    assert ask(Range="bytes=-5").content == data[-5:]
    assert ask(Range=f"bytes=100-{10**30}").content == data[100:]
    beyond = ask(Range=f"bytes={len(data)}-")
    assert (beyond.status_code, beyond.content) == (416, b"")
    assert beyond.headers["Content-Range"] == f"bytes */{len(data)}"
    for ignored in ("bytes=0-1,2-3", "bytes=5-2", "lines=1-2", "bytes=a-b"):
        assert (ask(Range=ignored).status_code, ask(Range=ignored).content) == (200, data)
    assert ask(Range="bytes=0-9", If_Range=etag).status_code == 206
    assert ask(Range="bytes=0-9", If_Range='"other"').status_code == 200
    assert (ask(If_None_Match=etag).status_code, ask(If_None_Match=etag).content) == (304, b"")
    assert ask(If_None_Match=f'W/"x", W/{etag}', Range="bytes=0-9").status_code == 304
    assert ask(If_None_Match='"other"').status_code == 200
    head = client.head(address(film), headers={"Range": "bytes=0-9"})
    assert (head.status_code, head.content, head.headers["Content-Length"]) == (200, b"", str(len(data)))


def test_a_film_that_browsers_do_not_play_is_converted(client: TestClient, settings: Settings, folder: Path) -> None:
    film = add_film(settings, make_video(folder / "a.avi", 60, **MPEG4))
    state = prepared(client, film)
    assert (state["state"], state["transcoded"], state["why"]) == ("ready", True, "mpeg4 in avi")
    answer = client.get(address(film))
    assert answer.headers["ETag"].startswith(f'"{film.sha256}-')  # other bytes, another tag
    out = folder / "converted.mp4"
    out.write_bytes(answer.content)
    video, index = probe_video(out)
    assert (video.codec, video.width, video.height) == ("h264", 128, 96)
    assert index.timestamps_s == pytest.approx(film.frame_index.timestamps_s, abs=1e-4)
    assert [number_of(frame.rgb) for frame in read_frames(out, video, index, 0, 60)] == list(range(60))
    part = client.get(address(film), headers={"Range": "bytes=10-19"})
    assert part.content == answer.content[10:20]
    modes = {path.stat().st_mode & 0o077 for path in settings.media_cache.rglob("*") if path.is_file()}
    assert modes <= {0, 0o044}  # the test's own process is not private; the server's is


def test_a_playable_film_is_converted_on_request(client: TestClient, settings: Settings, folder: Path) -> None:
    """A browser may stop at a damaged picture that the header does not show."""
    source = make_video(folder / ".a.mp4", 40, b_frames=0)
    film = add_film(settings, damage(source, folder / "a.mp4", 15, skip=20))
    assert prepared(client, film)["transcoded"] is False
    state = prepared(client, film, "&convert=1")
    assert (state["transcoded"], state["url"]) == (True, f"{address(film)}?convert=1")
    out = folder / "converted.mp4"
    out.write_bytes(client.get(state["url"]).content)
    video, index = probe_video(out)
    numbers = [number_of(frame.rgb) for frame in read_frames(out, video, index, 0, video.frames)]
    times = dict(zip(numbers, index.timestamps_s.tolist(), strict=True))
    assert all(times[number] == pytest.approx(film.frame_index.timestamps_s[number], abs=1e-4) for number in times)
    assert {*range(15), *range(20, 40)} <= set(numbers)


def test_a_late_first_frame_is_shown_from_the_start(client: TestClient, settings: Settings, folder: Path) -> None:
    times = [0.5 + number / 25 for number in range(10)]
    film = add_film(settings, make_video(folder / "a.mkv", 10, times_s=times))
    assert prepared(client, film)["transcoded"] is True
    out = folder / "converted.mp4"
    out.write_bytes(client.get(address(film)).content)
    video, index = probe_video(out)
    assert index.timestamps_s == pytest.approx([0.0, *film.frame_index.timestamps_s], abs=1e-4)
    assert [number_of(frame.rgb) for frame in read_frames(out, video, index, 0, 11)] == [0, *range(10)]


def test_a_missing_or_changed_file_is_gone(client: TestClient, settings: Settings, folder: Path) -> None:
    films = {
        name: add_film(settings, make_video(folder / f"{name}.mp4", count))
        for name, count in (("a", 9), ("b", 8), ("c", 7))
    }
    prepared(client, films["c"])
    (folder / "a.mp4").unlink()
    (folder / "b.mp4").write_bytes(b"other")
    engine = open_database(settings.database)
    mark_gone(engine, str(folder), ["c.mp4"])
    engine.dispose()
    for name, film in films.items():
        state = prepared(client, film)
        assert state["state"] == "gone", name
        assert "nightjar run" in state["why"]
        assert client.get(address(film)).status_code == 410
        assert client.get(f"{address(film, 'still')}/0.jpg").status_code == 410


def test_a_converted_film_outlives_its_file(client: TestClient, settings: Settings, folder: Path) -> None:
    film = add_film(settings, make_video(folder / "a.avi", 10, **MPEG4))
    prepared(client, film)
    (folder / "a.avi").unlink()
    assert prepared(client, film)["state"] == "ready"
    assert client.get(address(film)).status_code == 200


@pytest.mark.parametrize("name", ["..%2f..%2fetc%2fpasswd", "0" * 16, "a" * 200, "%00" * 16, "*" * 16, "ab"])
def test_names_of_no_video_are_not_found(client: TestClient, name: str) -> None:
    for path in (f"/media/{name}", f"/media/{name}/state?start=1", f"/still/{name}/0.jpg"):
        assert client.get(path).status_code == 404, path


def test_a_still_is_the_exact_frame(
    client: TestClient, settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = add_film(settings, make_video(folder / "a.avi", 60, **MPEG4))
    for number in (0, 33, 59):
        answer = client.get(f"{address(film, 'still')}/{number}.jpg")
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
        bgr = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
        assert bgr is not None
        assert number_of(np.asarray(bgr[:, :, ::-1], np.uint8)) == number
    for wrong in ("60", "-1", "1.5", "9" * 5000, "٣", "x"):
        assert client.get(f"{address(film, 'still')}/{wrong}.jpg").status_code == 404
    monkeypatch.delattr(stills, "_read")
    assert client.get(f"{address(film, 'still')}/33.jpg").status_code == 200, "it is read from the cache"


def test_a_still_has_few_widths(client: TestClient, settings: Settings, folder: Path) -> None:
    film = add_film(settings, make_video(folder / "a.mp4", 2, pictures=[np.zeros((720, 1280, 3), np.uint8)] * 2))
    widths = {}
    for asked in ("", "1", "200", "961", "99999"):
        content = client.get(f"{address(film, 'still')}/1.jpg", params={"width": asked}).content
        widths[asked] = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).shape[1]
    assert widths == {"": 960, "1": 160, "200": 320, "961": 1280, "99999": 1280}


def test_too_many_stills_at_once_are_refused(
    client: TestClient, settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = add_film(settings, make_video(folder / "a.mp4", 2))
    monkeypatch.setattr(stills, "_turns", Turns(most=1, waiting=0))
    with stills._turns.turn():
        refused = client.get(f"{address(film, 'still')}/1.jpg")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
    assert client.get(f"{address(film, 'still')}/1.jpg").status_code == 200


def test_work_that_nobody_waits_for_stops(
    browse: Browse, settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = add_film(settings, make_video(folder / "a.avi", 400, **MPEG4))
    monkeypatch.setattr(transcode, "PATIENCE_S", 0.0)
    preparation, video = Preparation(browse.site), MediaVideo(stored(browse, film))
    state = preparation.state(video, start=True, wait_s=WAIT_S)
    assert (state.state, state.done) == ("preparing", 0.0)
    assert not list((settings.media_cache / "films").glob("*.part"))
    monkeypatch.undo()
    state = preparation.state(video, start=True, wait_s=WAIT_S)
    assert (state.state, state.transcoded) == ("ready", True)


def test_leftovers_of_a_killed_server_do_no_harm(browse: Browse, settings: Settings, folder: Path) -> None:
    """A process that dies while it converts leaves a part of the film, which the next one removes or replaces."""
    film = add_film(settings, make_video(folder / "a.avi", 20, **MPEG4))
    preparation, video = Preparation(browse.site), MediaVideo(stored(browse, film))
    films = settings.media_cache / "films"
    films.mkdir(parents=True)
    (films / f"{'0' * 64}.123.part").write_bytes(b"left")
    assert preparation.state(video, start=True, wait_s=WAIT_S).state == "ready"
    assert [path.suffix for path in films.iterdir() if path.name != "lock"] == [".mp4"]


def test_the_server_stops_its_work_at_its_end(browse: Browse, settings: Settings, folder: Path) -> None:
    film = add_film(settings, make_video(folder / "a.avi", 1000, **MPEG4))
    preparation, video = Preparation(browse.site), MediaVideo(stored(browse, film))
    preparation.state(video, start=True)
    preparation.close()
    assert not list((settings.media_cache / "films").glob("*.mp4"))
    children = subprocess.run(
        ["pgrep", "-P", str(os.getpid()), "-f", "storage.sandbox"], capture_output=True, text=True, check=False
    )
    assert children.stdout == ""


def test_a_file_that_cannot_be_decoded_fails_with_its_reason(
    client: TestClient, settings: Settings, folder: Path
) -> None:
    source = make_video(folder / ".a.avi", 30, gop=30, b_frames=0, **MPEG4)
    film = add_film(settings, source.rename(folder / "a.avi"))
    data = bytearray((folder / "a.avi").read_bytes())
    before = (folder / "a.avi").stat()
    data[len(data) // 8 :] = bytes(len(data) - len(data) // 8)
    (folder / "a.avi").write_bytes(data)
    os.utime(folder / "a.avi", ns=(before.st_atime_ns, before.st_mtime_ns))
    state = prepared(client, film)
    assert state["state"] in ("failed", "gone")
    assert state["why"].endswith(".")
    assert client.get(address(film)).status_code in (410, 422)
