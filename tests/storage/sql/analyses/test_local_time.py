"""Camera and times of the views' rows, on both databases, against Python's own time zones."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from sqlalchemy import Engine, text, update

from storage.ledger.commit import commit_segment
from storage.sql.analyses.local_time import TIME_PARTS_POSTGRESQL, TIME_PARTS_SQLITE
from storage.sql.catalogue import show_model
from storage.sql.database import reading, writing
from storage.sql.events.zone_views import with_times
from storage.sql.query import query
from storage.sql.tables import archive_files, recordings
from tasks.analysis.recordings import arrange
from tests.storage.analysed import analyse_all
from tests.storage.samples import make_poses, make_report, make_video, must_claim, planned_batch, record_file

FRAMES = 100
# Two hours of film around each change of clocks in Berlin, of which every 72nd second is a frame.
NIGHTS = {"spring": datetime(2026, 3, 29, 0, 0, 0, 250_000, UTC), "autumn": datetime(2026, 10, 25, tzinfo=UTC)}


def film(engine: Engine, start_at: datetime | None, time_zone: str | None = "Europe/Berlin", step_s: int = 72) -> int:
    """An analysed video of one camera with a frame of two people every step_s. Returns its id."""
    video = replace(make_video(frames=FRAMES), duration_s=float(FRAMES * step_s), fps=1 / step_s)
    video_id, model_version_id, batch_id = planned_batch(engine, video, FRAMES)
    record_file(engine, "archive/", "a.mp4", 1, "etag", video_id=video_id)
    place = {"camera": "door", "start_at": start_at, "time_zone": time_zone}
    with writing(engine) as connection:
        connection.execute(update(archive_files).values(place))
    show_model(engine, "pose", model_version_id)
    poses = make_poses(0, FRAMES)
    timed = replace(poses, t_s=poses.frame * float(step_s))
    assert commit_segment(engine, must_claim(engine, batch_id), timed, make_report(FRAMES))
    arrange(engine, 2.0)
    analyse_all(engine)
    return video_id


def instant(value: datetime | str) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


@pytest.mark.parametrize("view", ["people", "keypoints", "track_motion"])
@pytest.mark.parametrize("night", NIGHTS)
def test_both_nights_of_daylight_saving(engine: Engine, view: str, night: str) -> None:
    start_at, zone = NIGHTS[night], ZoneInfo("Europe/Berlin")
    film(engine, start_at)
    # The made-up motion has 25 frames per second.
    rows = list(query(engine, f"SELECT DISTINCT t_s, camera, at, local_at FROM {view} ORDER BY t_s")[1])
    assert len(rows) == FRAMES
    for t_s, camera, at, local_at in rows:
        expected = start_at + timedelta(seconds=t_s)
        assert camera == "door"
        assert instant(at) == expected
        assert instant(local_at) == expected.astimezone(zone).replace(tzinfo=None)
    if view == "people":
        hours = {instant(row[3]).hour for row in rows}
        assert hours == ({1, 3} if night == "spring" else {2})


def test_local_time_repeats_an_hour_and_utc_does_not(engine: Engine) -> None:
    film(engine, NIGHTS["autumn"])
    sql = "SELECT count(DISTINCT at), count(DISTINCT local_at) FROM people"
    assert next(query(engine, sql)[1]) == (100, 50)


def test_a_summary_has_both_times(engine: Engine) -> None:
    film(engine, NIGHTS["spring"])
    sql = "SELECT camera, from_at, to_at, local_from_at, local_to_at, first_s, last_s FROM track_summary"
    for camera, from_at, to_at, local_from_at, local_to_at, first_s, last_s in query(engine, sql)[1]:
        assert camera == "door"
        assert instant(from_at) == NIGHTS["spring"] + timedelta(seconds=first_s)
        assert instant(to_at) == NIGHTS["spring"] + timedelta(seconds=last_s)
        assert instant(local_from_at) == datetime(2026, 3, 29, 1, 0, 0, 250_000)
        assert instant(local_to_at) - instant(local_from_at) == timedelta(seconds=last_s - first_s)


@pytest.mark.parametrize("view", ["people", "keypoints", "track_motion"])
def test_unknown_times_are_null(engine: Engine, view: str) -> None:
    film(engine, None)
    assert list(query(engine, f"SELECT DISTINCT camera, at, local_at FROM {view}")[1]) == [("door", None, None)]
    with writing(engine) as connection:
        connection.execute(update(archive_files).values(start_at=NIGHTS["spring"], time_zone=None))
    arrange(engine, 2.0)
    found = f"SELECT DISTINCT at IS NULL, local_at IS NULL FROM {view}"
    assert [tuple(map(bool, row)) for row in query(engine, found)[1]] == [(False, True)]


def test_a_video_under_two_cameras_has_its_rows_in_both(engine: Engine) -> None:
    video_id = film(engine, NIGHTS["spring"])
    record_file(engine, "archive/", "b.mp4", 1, "etag", video_id=video_id)
    place = {"camera": "shed", "start_at": NIGHTS["autumn"], "time_zone": "UTC"}
    with writing(engine) as connection:
        connection.execute(update(archive_files).where(archive_files.c.key == "b.mp4").values(place))
    arrange(engine, 2.0)
    analyse_all(engine)
    sql = "SELECT camera, min(at) = min(local_at), count(*), count(track) FROM people GROUP BY camera ORDER BY camera"
    if engine.dialect.name == "sqlite":
        sql = sql.replace("min(local_at)", "min(local_at) || 'Z'")
    else:
        sql = sql.replace("min(at)", "min(at) AT TIME ZONE 'UTC'")
    found = [(camera, bool(same), *counts) for camera, same, *counts in query(engine, sql)[1]]
    assert found == [("door", False, 200, 200), ("shed", True, 200, 200)]
    assert next(query(engine, "SELECT count(*), count(DISTINCT recording_id) FROM track_summary")[1]) == (4, 2)


def test_a_video_that_is_in_no_recording_yet(engine: Engine) -> None:
    video_id, model_version_id, batch_id = planned_batch(engine, make_video(), 100)
    record_file(engine, "archive/", "a.mp4", 1, "etag", video_id=video_id)
    show_model(engine, "pose", model_version_id)
    assert commit_segment(engine, must_claim(engine, batch_id), make_poses(0, 100), make_report(100))
    assert next(query(engine, "SELECT count(*), count(at), count(camera) FROM people")[1]) == (200, 0, 0)
    with writing(engine) as connection:
        assert connection.execute(recordings.select()).first() is None


def test_all_views_round_a_time_alike(engine: Engine) -> None:
    """Also halves of a millisecond, as 16 frames per second have them; events and rows of the same second agree."""
    rng = np.random.default_rng(3)
    fractions = [np.arange(200) / rate for rate in (8, 16, 24, 30, 2000)]
    seconds = np.concatenate([*fractions, rng.uniform(0, 86_400, 200), rng.integers(0, 86_400_000, 200) / 1000 + 5e-4])
    postgresql = engine.dialect.name == "postgresql"
    parts = TIME_PARTS_POSTGRESQL if postgresql else TIME_PARTS_SQLITE
    start_at = "timestamptz '2026-11-28T00:00:00Z'" if postgresql else "'2026-11-28T00:00:00.000Z'"
    values = ", ".join(f"({number}, {second!r})" for number, second in enumerate(seconds.tolist()))
    sql = (
        f"WITH given(n, t_s) AS (VALUES {values}) SELECT {parts['at'].replace('{t_s}', 'g.t_s')} AS of_row,"
        f" {with_times('{at:r.start_at:g.t_s}', postgresql)} AS of_event, {parts['local_at'].replace('{t_s}', 'g.t_s')}"
        f" AS of_clock FROM (SELECT n, CAST(t_s AS double precision) AS t_s FROM given) AS g, (SELECT {start_at} AS"
        " start_at, 3600 AS utc_offset_s, NULL AS offset_changes_s, NULL AS later_utc_offset_s) AS r ORDER BY g.n"
    )
    if postgresql:
        sql = sql.replace("NULL AS", "CAST(NULL AS integer) AS")
    with reading(engine) as connection:
        rows = connection.execute(text(sql)).all()
    for second, (of_row, of_event, of_clock) in zip(seconds.tolist(), rows, strict=True):
        expected = datetime(2026, 11, 28, tzinfo=UTC) + timedelta(milliseconds=int(second * 1000 + 0.5))
        assert instant(of_row) == instant(of_event) == expected, second
        assert instant(of_clock) == (expected + timedelta(hours=1)).replace(tzinfo=None), second
