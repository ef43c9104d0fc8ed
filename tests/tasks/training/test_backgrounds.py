"""Films without cars become negative pictures."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.car_classifier.params import FinetuneSpec, PictureSources
from models.datasets.picture import PictureError
from storage.objects.artifacts import FolderArtifacts
from storage.sql.database import open_database
from storage.video.encode import write_video
from tasks.site.settings import Settings
from tasks.site.site import Site
from tasks.training.backgrounds import SIZE, cut_backgrounds
from tasks.training.car_classifier import gather_pictures

FILMS = 4


def walk(shade: int) -> Iterator[tuple[float, np.ndarray]]:
    for frame in range(24):
        picture = np.full((120, 160, 3), shade, np.uint8)
        picture[40:80, 6 * frame : 6 * frame + 20] = 255 - shade
        yield frame / 12, picture


@pytest.fixture
def spec(tmp_path: Path) -> FinetuneSpec:
    """Some films, and a file that is not a film."""
    folder = tmp_path / "films"
    folder.mkdir()
    for film in range(FILMS):
        write_video(folder / f"walk{film}", walk(20 * film), 160, 120, 12.0)
    (folder / "broken.mp4").write_bytes(b"no film")
    return FinetuneSpec(sources=PictureSources(backgrounds=folder), overrides={"moving_regions": 2})


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    settings = Settings(home=tmp_path / "home")
    engine = open_database(settings.database)
    yield Site(settings, engine, FolderArtifacts(tmp_path / "artifacts"))
    engine.dispose()


def test_each_film_is_in_one_split_and_gives_pictures(site: Site, spec: FinetuneSpec) -> None:
    found = cut_backgrounds(site, spec)
    assert len(found.notes) == 1
    assert "broken.mp4" in found.notes[0]
    by_film: dict[str, set[str | None]] = {}
    for picture in found.pictures:
        assert not picture.car
        assert cv2.imread(str(picture.path)).shape == (SIZE, SIZE, 3)
        by_film.setdefault(picture.path.name.split("-")[0], set()).add(picture.split)
    assert len(by_film) == FILMS
    assert all(len(splits) == 1 for splits in by_film.values())
    assert {split for splits in by_film.values() for split in splits} == {"train", "validation", "test"}
    sides = {tuple(map(int, picture.path.stem.split("-")[-2:])) for picture in found.pictures}
    assert {(160, 120), (60, 60)} <= sides  # the whole frame and its tiles
    assert any(width not in (160, 60) for width, _ in sides)  # and moving regions
    assert cut_backgrounds(site, spec) == found


def test_backgrounds_are_used_next_to_other_pictures(site: Site, spec: FinetuneSpec, tmp_path: Path) -> None:
    (tmp_path / "pictures" / "car").mkdir(parents=True)
    for number in range(9):
        noise = np.random.default_rng(number).integers(0, 255, (64, 64, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "pictures" / "car" / f"{number}.png"), noise)
    sources = dataclasses.replace(spec.sources, folders=(str(tmp_path / "pictures"),))
    both = dataclasses.replace(spec, sources=sources)
    data = gather_pictures(both, cut_backgrounds(site, both))
    assert {picture.source for picture in data.pictures if not picture.car} == {"backgrounds"}
    assert {picture.split for picture in data.pictures if picture.car} == {"train", "validation", "test"}
    assert any("broken.mp4" in note for note in data.notes)


def test_a_folder_without_films_is_refused(site: Site, spec: FinetuneSpec, tmp_path: Path) -> None:
    for film in (tmp_path / "films").glob("walk*"):
        film.unlink()
    with pytest.raises(PictureError, match="Name a folder of films without cars"):
        cut_backgrounds(site, spec)
