"""The pages of a video and of a recording, without a browser."""

import html
import json
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from storage.sql.database import open_database
from tasks.site.settings import Settings
from tests.deployments.browse.conftest import client_of, open_browse
from tests.deployments.browse.spot_films import ShownFilm, add_film, archive_of, follow, standing_people
from tests.videos import make_video

HOSTILE = "<script>alert(1)\" onload='x' \u202e\U0001f3ac.mp4"


@pytest.fixture
def film(settings: Settings) -> ShownFilm:
    """A film with a hostile name and two people with tracks."""
    open_browse(settings)
    engine = open_database(settings.database)
    make_video(archive_of(settings) / HOSTILE, 20)
    stored = add_film(settings, engine, HOSTILE, lambda t_s: standing_people(t_s, 2, (128, 96)))
    follow(engine)
    return stored


@pytest.fixture
def client(settings: Settings, film: ShownFilm) -> TestClient:
    return client_of(open_browse(settings))


def test_a_videos_page_has_its_facts(client: TestClient, film: ShownFilm) -> None:
    page = client.get(film.path)
    assert page.status_code == 200
    given = dict(re.findall(r'data-([a-z-]+)="([^"]*)"', page.text))
    assert (given["v"], given["width"], given["height"], given["frames"]) == (film.video.sha256[:16], "128", "96", "20")
    assert len(json.loads(html.unescape(given["keypoints"]))) == 17
    assert "speed_px_per_s" in json.loads(html.unescape(given["columns"]))


@pytest.mark.parametrize("page", ["video", "recording"])
def test_names_are_escaped(client: TestClient, film: ShownFilm, page: str) -> None:
    text = client.get(film.path if page == "video" else "/recording/1").text
    assert "<script>alert" not in text
    assert "\u202e" not in text
    assert "style=" not in text
    assert re.findall("<script(?![^>]* src=)", text) == []


@pytest.mark.parametrize(
    "path",
    ["/video/0123456789abcdef", "/video/%00", "/recording/7", "/recording/x", "/recording/99999999999"],
)
def test_missing_videos_and_recordings_are_not_found(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_links_may_have_any_parameters(client: TestClient, film: ShownFilm) -> None:
    assert client.get(f"{film.path}?t=abc&frame=-1&track=x&model=&beside=7:8:9&event=%00&unknown=1").status_code == 200
    assert client.get("/recording/1?at=abc&model=x").status_code == 200


def test_every_module_that_is_imported_exists() -> None:
    """A misspelled import is an empty page."""
    folder = Path(__file__).parents[3] / "deployments/browse/static/player"
    for module in folder.rglob("*.js"):
        for name in re.findall(r'from "([^"]+)"', module.read_text(encoding="utf-8")):
            assert (module.parent / name).is_file(), (module.name, name)
