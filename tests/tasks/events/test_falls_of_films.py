"""The shipped rule `fall` over films of actors, through the product's commands."""

import shutil
from pathlib import Path

import pytest

from tests.benchmarks.measure_falls import measure

FRAMES_PER_SECOND = 10


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.real_data
def test_falls_of_actors(data: Path, tmp_path: Path) -> None:
    """Every fourth film. One fall, away from the camera, is known to be missed; three people vanish as they fall."""
    for kind in ("FALL", "ADL"):
        (tmp_path / "films" / kind).mkdir(parents=True)
        for film in sorted((data / "falls" / kind).iterdir())[2::4]:
            shutil.copy(film, tmp_path / "films" / kind)
    films = measure(tmp_path / "films", data / "movenet" / "multipose", tmp_path / "home", FRAMES_PER_SECOND)
    assert len(films) == 12
    assert sum(film.right for film in films if film.fall) >= 5
    assert [film.name for film in films if not film.fall and not film.right] == []
