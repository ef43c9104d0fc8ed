"""Time with somebody in view and videos per place and local day, compared with a loop over frames."""

import random
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from sqlalchemy import Engine

from models.types import KEYPOINTS, Poses, Video
from storage.ledger.commit import commit_segment
from storage.ledger.leases import claim
from storage.sql.analyses.places import StoredPlace, write_places
from storage.sql.browse.cameras import FilmPlace, read_place, read_places
from storage.sql.browse.day_videos import read_day, read_without_clock
from storage.sql.browse.presence_days import Days, DaySums, read_days
from storage.sql.catalogue import mark_gone, show_model
from tasks.analysis.recordings import arrange
from tests.storage.samples import make_report, planned_batch, record_file

ARCHIVE = "archive/"
FIRST, LAST = date(1969, 1, 1), date(2030, 12, 31)
# Just before local midnights and changes of clocks, UTC: both in Berlin, none in Kathmandu, of half an hour on Lord
# Howe Island, at midnight itself in Beirut, and before 1970.
NIGHTS = {
    "Europe/Berlin": [
        "2026-03-28T22:50",
        "2026-03-29T00:58",
        "2026-10-24T21:59",
        "2026-10-25T00:55",
        "2026-10-25T22:59",
    ],
    "Asia/Kathmandu": ["2026-11-24T18:14", "2026-11-24T18:10"],
    "Australia/Lord_Howe": ["2026-04-04T14:58", "2026-10-03T15:28"],
    "Asia/Beirut": ["2026-03-28T21:58", "2026-10-24T20:58"],
    "America/New_York": ["1969-12-31T23:58", "2026-11-01T05:58"],
    "": ["2026-11-23T23:58", "1969-12-31T23:59"],
}


@dataclass(frozen=True)
class Film:
    """A video with people in some of its frames. at: None without a clock; every: frames per possible sighting"""

    key: str
    camera: str | None
    zone: str
    at: datetime | None
    fps: float
    frames: int
    seen: tuple[int, ...]

    @property
    def place(self) -> FilmPlace:
        folder = self.key.partition("/")[0] if "/" in self.key else ""
        return FilmPlace(self.camera) if self.camera else FilmPlace(None, ARCHIVE, folder)

    @property
    def duration_s(self) -> float:
        return self.frames / self.fps

    def local(self, second: float) -> datetime:
        """The time on a clock at the camera."""
        assert self.at is not None
        return (self.at + timedelta(seconds=second)).astimezone(ZoneInfo(self.zone or "UTC"))

    def days(self) -> set[date]:
        step = 0.5
        times = [*np.arange(0, self.duration_s - 0.002, step), max(self.duration_s - 0.002, 0)]
        return {self.local(float(t)).date() for t in times}

    def seen_s(self, step_s: float) -> dict[date, float]:
        """Sum frame by frame: each stored second from its first frame to the end of its last one."""
        found: dict[date, float] = defaultdict(float)
        step = max(min(1 / self.fps, 1.0), step_s)
        for second, some in groupby(self.seen, lambda frame: int(frame / self.fps)):
            frames = list(some)
            first, last = frames[0] / self.fps, frames[-1] / self.fps
            lasts = step if step > 1 else min(last + step, second + 1) - first
            found[self.local(first).date() if self.at else date.min] += lasts
        return found


def films(rng: random.Random, number: int) -> list[Film]:
    found = []
    for i in range(number):
        zone = rng.choice(list(NIGHTS))
        at = datetime.fromisoformat(f"{rng.choice(NIGHTS[zone])}+00:00") + timedelta(
            seconds=rng.choice([0, 0.25, 17, 60])
        )
        fps, frames = rng.choice([(25.0, 3000), (0.5, 400), (1.0, 700), (12.5, 1), (10.0, 2500)])
        camera = rng.choice(["door", "Tür 1", None])
        clock = camera is not None and rng.random() < 0.9
        starts = [rng.randrange(frames) for _ in range(rng.randrange(5))]
        seen = sorted({frame for start in starts for frame in range(start, min(start + rng.randrange(1, 400), frames))})
        folder = rng.choice(["", "a/", "b/c/"])
        found.append(
            Film(f"{folder}{i}.mp4", camera, zone if clock else "", at if clock else None, fps, frames, tuple(seen))
        )
    return found


def store(engine: Engine, filmed: list[Film]) -> None:
    for number, film in enumerate(filmed):
        video = Video(
            f"{number:064x}", 1, "mov,mp4", "h264", 640, 480, 0, film.frames, film.fps, film.duration_s, 640, 480
        )
        video_id, version, batch_id = planned_batch(engine, video, film.frames)
        show_model(engine, "pose", version)
        record_file(engine, ARCHIVE, film.key, 1, "etag", video_id=video_id)
        mine = claim(engine, batch_id, "me", 60)
        assert mine is not None
        assert commit_segment(engine, mine, poses_in(film), make_report(film.frames), "results/one", "5" * 64)
    places = [
        (ARCHIVE, film.key, StoredPlace(film.camera, film.at, film.zone or None, "name" if film.at else None, None))
        for film in filmed
    ]
    write_places(engine, places)
    arrange(engine, 5.0)


def poses_in(film: Film) -> Poses:
    frame = np.array(film.seen, np.int64)
    keypoints = np.zeros((len(frame), KEYPOINTS, 2), np.float32)
    scores = np.ones((len(frame), KEYPOINTS), np.float32)
    person = np.zeros(len(frame), np.int16)
    return Poses(frame, person, frame / film.fps, np.ones(len(frame), np.float32), keypoints, scores)


def expected(filmed: list[Film]) -> Days:
    found: Days = defaultdict(lambda: defaultdict(DaySums))
    for film in filmed:
        if film.at is None:
            continue
        for day in film.days():
            before = found[film.place][day]
            found[film.place][day] = before._replace(videos=before.videos + 1)
        for day, seen_s in film.seen_s(0.0).items():
            before = found[film.place][day]
            found[film.place][day] = before._replace(seen_s=before.seen_s + seen_s)
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_days_are_those_of_a_loop_over_frames(engine: Engine, seed: int) -> None:
    filmed = films(random.Random(seed), 40)
    store(engine, filmed)
    wanted, found = expected(filmed), read_days(engine, FIRST, LAST)
    assert found.keys() == wanted.keys()
    for place, days in wanted.items():
        assert found[place].keys() == days.keys(), place
        assert read_days(engine, FIRST, LAST, place)[place].keys() == days.keys()
        for day, sums in days.items():
            assert found[place][day].videos == sums.videos, (place, day)
            assert found[place][day].seen_s == pytest.approx(sums.seen_s, abs=1e-6), (place, day)
            alone = read_days(engine, day, day)[place][day]
            assert alone == (pytest.approx(sums.seen_s, abs=1e-6), sums.videos)
            listed, number = read_day(engine, place, day, 100)
            assert number == len(listed) == sums.videos
            assert sum(each.seen_s or 0 for each in listed) == pytest.approx(sums.seen_s, abs=1e-6)
    for facts in read_places(engine):
        mine = [film for film in filmed if film.place == facts.place]
        assert (facts.videos, facts.on_clock) == (len(mine), sum(film.at is not None for film in mine))
        assert read_place(engine, facts.place) == facts
        names = sorted(film.key for film in mine if film.at is None)
        listed, number = read_without_clock(engine, facts.place, 3)
        assert [each.film.name for each in listed] == names[:3]
        assert number == (len(names) if names else 0)


def test_a_sampled_frame_stands_for_its_step(engine: Engine) -> None:
    """With a frame every 10 s, six sightings are a minute, wherever they fall."""
    film = Film(
        "a.mp4", "door", "", datetime(2026, 11, 24, 23, 59, 30, tzinfo=UTC), 25.0, 1500, (0, 250, 500, 750, 1000, 1250)
    )
    store(engine, [film])
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE model_versions SET frames_per_second = 0.1")
    days = read_days(engine, FIRST, LAST)[FilmPlace("door")]
    assert days == {date(2026, 11, 24): DaySums(30.0, 1), date(2026, 11, 25): DaySums(30.0, 1)}


def test_a_moved_file_counts_once_and_a_removed_one_is_kept(engine: Engine) -> None:
    films = [Film(key, None, "", None, 25.0, 10, ()) for key in ("old/a.mp4", "old/b.mp4")]
    store(engine, films)
    record_file(engine, ARCHIVE, "new/a.mp4", 1, "etag", video_id=1)
    record_file(engine, ARCHIVE, "new/copy.mp4", 1, "etag", video_id=1)
    mark_gone(engine, ARCHIVE, ["old/a.mp4", "old/b.mp4"])
    counts = {facts.place.folder: facts.videos for facts in read_places(engine)}
    assert counts == {"new": 1, "old": 1}


def test_without_a_pose_model_videos_are_counted(engine: Engine) -> None:
    store(engine, [Film("a.mp4", "door", "", datetime(2026, 11, 24, tzinfo=UTC), 25.0, 10, (1, 2))])
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM shown_models")
    day = date(2026, 11, 24)
    assert read_days(engine, day, day) == {FilmPlace("door"): {day: DaySums(0.0, 1)}}
    assert [each.seen_s for each in read_day(engine, FilmPlace("door"), day, 5)[0]] == [None]
