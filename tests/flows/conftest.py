"""A new site for each test, with the tiny model."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.model.store import store_model
from tasks.site.settings import read_settings
from tasks.site.site import open_site
from tests.servers_postgres import write_migrated
from tests.tiny_model import CELL, GRID, write_tiny_classifier, write_tiny_model
from tests.videos import make_video


@pytest.fixture(autouse=True)
def _forked(forked_sandboxes: None) -> None:
    """Fork the sandboxes of nights and conversions: their imports would take a quarter of the time."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installation without rows, whose settings are read again."""
    monkeypatch.setenv("NIGHTJAR_HOME", str(tmp_path / "home"))
    for name in ("NIGHTJAR_DATABASE_URL", "NIGHTJAR_ARTIFACTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    read_settings.cache_clear()
    write_migrated(tmp_path / "home" / "nightjar.db")
    yield tmp_path / "home"
    read_settings.cache_clear()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that finds one person at each bright cell."""
    folder = tmp_path_factory.mktemp("model") / "ir"
    write_tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a classifier that labels a frame `spot` or `empty`, by whether it has a bright cell."""
    folder = tmp_path_factory.mktemp("classifier") / "ir"
    write_tiny_classifier(folder)
    return folder


def register_tiny_model(folder: Path) -> None:
    """Register the model in the configured site."""
    from models.manifest import MANIFEST_FILE, Manifest

    with open_site() as site:
        store_model(site, folder, Manifest.from_json((folder / MANIFEST_FILE).read_text()))


def spot(number: int) -> tuple[int, int]:
    """The cell (column, row) that is bright in frame `number`; none in every seventh frame."""
    return (number * 3) % GRID, (number * 5 + number // GRID) % GRID


def has_spot(number: int) -> bool:
    return number % 7 != 6


def spot_picture(number: int) -> NDArray[np.uint8]:
    """(224, 224, 3): grey with one white cell, at the position of the model's cell."""
    picture = np.full((GRID * CELL, GRID * CELL, 3), 40, np.uint8)
    if has_spot(number):
        column, row = spot(number)
        picture[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = 250
    return picture


def spot_video(path: Path, frames: int, first: int = 0, **options: object) -> Path:
    """A video whose frame n shows `spot_picture(first + n)`, so that a row identifies its frame."""
    return make_video(path, pictures=[spot_picture(first + number) for number in range(frames)], **options)
