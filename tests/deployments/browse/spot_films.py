"""Films whose content is known, processed: bright spots, and rows that say where they are. No tests."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.types import KEYPOINT_NAMES, ModelVersion, Poses, Rows, Segment, Video
from storage.ledger.batches import expect_segments, start_batch
from storage.ledger.commit import commit_segment
from storage.ledger.leases import claim
from storage.sql.catalogue import register_model, show_model
from storage.sql.database import Database
from storage.video.probe import probe_video
from tasks.analysis.recordings import arrange
from tasks.site.settings import Settings
from tasks.site.stores import archive_at
from tests.ffmpeg import ffmpeg
from tests.storage.analysed import analyse_all
from tests.storage.samples import make_model, make_report, plan_video, record_file, register_video
from tests.videos import make_video

SPOT = 5  # pixels from a spot's middle to its edge, as stored; its middle is a pixel
GROUND = 24  # level of the ground, dark
STEP_PX = 7  # of the spots from frame to frame: more than any tolerance
KEYPOINTS = tuple(KEYPOINT_NAMES.index(name) for name in ("nose", "left_wrist", "right_wrist"))
"""Keypoints of the spots. No line is drawn between them, and each has a colour of its own."""

Transform = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class ShownFilm(NamedTuple):
    """A processed video. spots: (frames, 3, 2) x, y of each spot's middle, pixels as displayed"""

    video: Video
    video_id: int
    t_s: NDArray[np.float64]
    spots: NDArray[np.float64]

    @property
    def path(self) -> str:
        return f"/video/{self.video.sha256[:16]}"


@dataclass(frozen=True)
class SpotFilm:
    """A kind of film. shown: from stored pixels to displayed ones; coding: arguments of make_video"""

    name: str
    size: tuple[int, int]
    shown: Transform
    coding: dict[str, object]


def uneven_times(frames: int) -> list[float]:
    """Intervals of 20, 40 and 120 ms."""
    return list(np.cumsum([0.0, *([0.04, 0.02, 0.12] * frames)][:frames]).round(3))


def stored_spots(frames: int, width: int, height: int) -> NDArray[np.int64]:
    """(frames, 3, 2) x, y of the middle of each spot, stored pixels: to the right, to the left, and down."""
    n = np.arange(frames)
    reach, drop = width - 8 * SPOT, height - 8 * SPOT
    right = np.stack([4 * SPOT + n * STEP_PX % reach, np.full(frames, height // 4)], 1)
    left = np.stack([width - 4 * SPOT - n * STEP_PX % reach, np.full(frames, height // 2)], 1)
    down = np.stack([np.full(frames, width // 2), height // 2 + 4 * SPOT + n * 3 % max(1, drop // 2 - 4 * SPOT)], 1)
    return np.stack([right, left, down], 1)


def spot_pictures(spots: NDArray[np.int64], width: int, height: int) -> list[NDArray[np.uint8]]:
    pictures = []
    for of_frame in spots:
        picture = np.full((height, width, 3), GROUND, np.uint8)
        for x, y in of_frame:
            picture[y - SPOT : y + SPOT + 1, x - SPOT : x + SPOT + 1] = 255
        pictures.append(picture)
    return pictures


def clockwise(height: int) -> Transform:
    """Turn by 90 degrees clockwise. height: of the stored picture"""
    return lambda xy: np.stack([height - 1 - xy[..., 1], xy[..., 0]], -1)


def widened(aspect: int) -> Transform:
    """Stretch pixels that are wider than high."""
    return lambda xy: np.stack([(xy[..., 0] + 0.5) * aspect - 0.5, xy[..., 1]], -1)


FILMS = (
    SpotFilm("variable.mp4", (320, 240), lambda xy: xy, {}),
    SpotFilm("rotated.mp4", (320, 240), clockwise(240), {"rotation": 90}),
    SpotFilm("wide pixels.mp4", (160, 240), widened(2), {"pixel_aspect": Fraction(2)}),
    SpotFilm(
        "converted.mkv", (160, 240), widened(2), {"codec": "mpeg4", "options": {"b": "4M"}, "pixel_aspect": Fraction(2)}
    ),
)


def add_spot_film(settings: Settings, engine: Database, film: SpotFilm, frames: int = 60) -> ShownFilm:
    """Write a film into the archive, and process it."""
    width, height = film.size
    spots = stored_spots(frames, width, height)
    path = archive_of(settings) / film.name
    make_video(path, times_s=uneven_times(frames), pictures=spot_pictures(spots, width, height), **film.coding)  # type: ignore[arg-type]
    shown = film.shown(spots.astype(np.float64))
    return add_film(settings, engine, film.name, lambda t_s: spot_poses(t_s, shown))._replace(spots=shown)


def spot_poses(t_s: NDArray[np.float64], spots: NDArray[np.float64]) -> Poses:
    """One person per frame, of whom only KEYPOINTS are found."""
    frames = len(spots)
    places = np.full((frames, 17, 2), np.nan, np.float32)
    scores = np.full((frames, 17), np.nan, np.float32)
    places[:, KEYPOINTS], scores[:, KEYPOINTS] = spots, 0.75
    ones = np.ones(frames, np.float32)
    return Poses(np.arange(frames), np.zeros(frames, np.int16), t_s, ones, places, scores)


def archive_of(settings: Settings) -> Path:
    folder = settings.home / "archive"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def add_film(
    settings: Settings,
    engine: Database,
    name: str,
    rows_of: Callable[[NDArray[np.float64]], Rows],
    model: ModelVersion | None = None,
) -> ShownFilm:
    """Store a file of the archive as a batch would, with these rows of a model, which is then the shown one."""
    film, version = add_unprocessed_film(settings, engine, name), model or make_model()
    model_id, location = register_model(engine, version), str(archive_of(settings))
    plan_video(engine, film.video_id, model_id, [Segment(film.video.sha256, 0, film.video.frames)])
    batch = start_batch(engine, location, model_id, "local", "me")
    expect_segments(engine, batch, [film.video_id], files_listed=1, files_quarantined=0)
    mine = claim(engine, batch, "me", 60)
    assert mine is not None
    assert commit_segment(engine, mine, rows_of(film.t_s), make_report(film.video.frames))
    show_model(engine, version.task, model_id)
    return film


def add_unprocessed_film(settings: Settings, engine: Database, name: str) -> ShownFilm:
    """Store a file of the archive that no model has seen."""
    location = str(archive_of(settings))
    entry = next(each for each in archive_at(settings, location).list() if each.key == name)
    video, index = probe_video(archive_of(settings) / name)
    video_id = register_video(engine, video)
    record_file(engine, location, name, entry.size_bytes, entry.etag, video_id=video_id)
    return ShownFilm(video, video_id, index.timestamps_s, np.empty((0, 3, 2)))


def follow(engine: Database) -> None:
    """Arrange recordings, and give person 0 and person 1 of each video a track."""
    arrange(engine, 5.0)
    analyse_all(engine)


def long_film(path: Path, seconds: int, fps: int = 25) -> Path:
    """Write a constant, tiny film."""
    source = f"color=c=gray:s=64x48:r={fps}:d={seconds}"
    coding = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "250", "-pix_fmt", "yuv420p"]
    ffmpeg("-f", "lavfi", "-i", source, *coding, path)
    return path


def standing_people(t_s: NDArray[np.float64], people: int, size: tuple[int, int]) -> Poses:
    """The same number of people in every frame, who never move."""
    frames = len(t_s)
    at = np.random.default_rng(1).random((people, 17, 2), np.float32) * np.array(size, np.float32)
    return Poses(
        frame=np.repeat(np.arange(frames), people),
        person=np.tile(np.arange(people, dtype=np.int16), frames),
        t_s=np.repeat(t_s, people),
        scores=np.tile(np.linspace(0.9, 0.5, people, dtype=np.float32), frames),
        keypoints=np.tile(at, (frames, 1, 1)),
        keypoint_scores=np.full((frames * people, 17), 0.75, np.float32),
    )
