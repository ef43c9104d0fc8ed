"""`nightjar zones`: the list, the picture with the zones that hold, and the page to draw them, of real videos."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from sqlalchemy import update

from deployments.cli import main
from models.drawing.zones import draw_zones
from models.types import CameraZone
from storage.objects.archive import canonical
from storage.sql.database import writing
from storage.sql.tables import archive_files
from storage.video.probe import probe_video
from tasks.site.settings import read_settings
from tasks.site.site import open_site
from tests.servers_postgres import write_migrated
from tests.storage.samples import record_file, register_video
from tests.videos import make_video

pytestmark = pytest.mark.usefixtures("forked_sandboxes")

SITE_FILE = """
[[cameras]]
name = "back door"
files = "*"
[[cameras]]
name = "yard"
files = "yard/*"
[[zones]]
camera = "back door"
name = "bed"
kind = "bed"
polygon = [[0.1, 0.2], [0.5, 0.2], [0.5, 0.8], [0.1, 0.8]]
[[zones]]
camera = "back door"
name = "bed"
polygon = [[0.6, 0.2], [0.9, 0.2], [0.9, 0.8], [0.6, 0.8]]
from = 2026-07-01T12:00:00
[[zones]]
camera = "yard"
name = "gate"
line = [[0.5, 0.1], [0.5, 0.9]]
"""
FRAMES = 50


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Two films of the camera "back door", at 10:00 and 14:00 of a day on which its zone moves at noon; one without."""
    monkeypatch.setenv("NIGHTJAR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NIGHTJAR_TIMEZONE", "Europe/Berlin")
    monkeypatch.delenv("NIGHTJAR_SITE_FILE", raising=False)
    read_settings.cache_clear()
    (tmp_path / "archive").mkdir()
    write_migrated(tmp_path / "home" / "nightjar.db")
    (tmp_path / "home" / "nightjar.toml").write_text(SITE_FILE)
    archive = canonical(str(tmp_path / "archive"))
    with open_site() as site:
        for name, hour in (("morning.mp4", 8), ("noon.mp4", 12), ("other.mp4", None)):
            path = make_video(tmp_path / "archive" / name, FRAMES + (hour or 0))
            video_id = register_video(site.engine, probe_video(path)[0])
            status = path.stat()
            record_file(site.engine, archive, name, status.st_size, str(status.st_mtime_ns), video_id=video_id)
            if hour is not None:
                place = {"camera": "back door", "start_at": datetime(2026, 7, 1, hour, tzinfo=UTC)}
                place["time_zone"] = "Europe/Berlin"
                with writing(site.engine) as connection:
                    connection.execute(update(archive_files).where(archive_files.c.key == name).values(place))
    yield tmp_path
    read_settings.cache_clear()


def nightjar(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["zones", *arguments])


def shaded(path: str | Path) -> tuple[bool, bool]:
    """Return whether the earlier and the later place of the bed is shaded, by their corners' strokes."""
    picture = cv2.imread(str(path))
    assert picture is not None
    height, width = picture.shape[:2]
    return tuple(
        bool(colorful(picture[round(0.5 * height), round(x * width) - 3 : round(x * width) + 4])) for x in (0.1, 0.9)
    )  # type: ignore[return-value]


def colorful(pixels: NDArray) -> bool:
    return int((pixels.max(axis=1).astype(int) - pixels.min(axis=1)).max()) > 120


def test_the_picture_shows_the_zones_that_hold_at_its_time(home: Path) -> None:
    newest = nightjar("show", "back door")
    assert newest.exit_code == 0, newest.output
    assert shaded(newest.stdout.strip()) == (False, True)
    morning = nightjar("show", "morning.mp4", "--at", "1", "--output", str(home / "morning.png"))
    assert morning.stdout.strip() == str(home / "morning.png")
    assert shaded(home / "morning.png") == (True, False)
    assert (home / "morning.png").stat().st_mode & 0o077 == 0
    other = nightjar("show", "other.mp4")
    assert shaded(other.stdout.strip()) == (False, False)
    assert "There are no zones. Run 'nightjar zones draw other.mp4'." in other.stderr


def test_the_page_contains_a_still_of_the_newest_video(home: Path) -> None:
    drawn = nightjar("draw", "back door")
    assert drawn.exit_code == 0, drawn.output
    page = Path(drawn.stdout.strip()).read_text()
    assert "data:image/jpeg;base64,/9j/" in page
    assert "default-src &#x27;none&#x27;" in page
    assert "http:" not in page.replace("http://www.w3.org/2000/svg", "")
    assert str(home / "home" / "nightjar.toml") in page


def test_the_list_is_that_of_the_site_file(home: Path) -> None:
    listed = nightjar("list", "--format", "json")
    assert [row["zone"] for row in json.loads(listed.stdout)] == ["bed", "bed", "gate"]
    assert json.loads(nightjar("list", "yard", "--format", "json").stdout)[0]["points"] == "[[0.5, 0.1], [0.5, 0.9]]"
    assert "2026-07-01 12:00:00" in nightjar("list", "back door").stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("show", "bak door"), "No camera and no video is called 'bak door'. Give another name, such as 'back door'."),
        (("show", "back door", "--at", "100"), "noon.mp4 has no frame at 100 s."),
        (("draw", "nothing"), "No run has read a video 'nothing'."),
    ],
)
def test_names_and_times_that_do_not_exist_are_named(home: Path, arguments: tuple[str, ...], told: str) -> None:
    failed = nightjar(*arguments)
    assert failed.exit_code == 1
    assert told in failed.stderr


def test_names_stay_inside_of_small_pictures() -> None:
    zones = [
        CameraZone("a name that is longer than the picture is wide", "area", "polygon", ((0, 0), (1, 0), (1, 1))),
        CameraZone("gate", "door", "line", ((0.99, 0.99), (0.99, 0.01))),
    ]
    for size in ((24, 32, 3), (480, 640, 3), (1000, 40, 3)):
        drawn = draw_zones(np.zeros(size, np.uint8), zones)
        assert drawn.shape == size
        assert drawn.any()
