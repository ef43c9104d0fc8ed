"""The view track_summary against a plain loop over the stored parts of tracks, on both databases."""

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text, update

from storage.sql.database import open_database, reading, writing
from storage.sql.query import query
from storage.sql.tables import recording_videos, tracks
from tests.storage.browsed import NOW, Recording

MEANS = ("mean_score", "box_left", "box_top", "box_width", "box_height")


@pytest.fixture
def recording(engine: Engine) -> Recording:
    """Two tracks through three files, of which one is missing in the middle, and one track in each file.

    In the second part of the first track no box is known. The clocks are set back in the second file.
    """
    made = Recording(engine, seed=11)
    middle = tracks.c.analysis_id == made.analysis_ids[1]
    nowhere = dict.fromkeys(MEANS[1:])
    with writing(engine) as connection:
        connection.execute(tracks.delete().where(middle, tracks.c.track == 2))
        connection.execute(update(tracks).where(middle, tracks.c.track == 1).values(nowhere))
        second = recording_videos.c.video_id == made.ids[1]
        later = {"offset_changes_s": 20.0, "later_utc_offset_s": 0}
        connection.execute(update(recording_videos).where(second).values(later))
    return made


def parts_of(engine: Engine) -> dict[int, list[Any]]:
    """The stored parts of each track in the order of the files."""
    sql = (
        "SELECT t.*, r.position, r.start_s, r.utc_offset_s, r.offset_changes_s, r.later_utc_offset_s, r.video_id,"
        " n.key FROM tracks AS t JOIN analyses AS a ON a.analysis_id = t.analysis_id JOIN recording_videos AS r"
        " ON r.video_id = a.video_id JOIN video_names AS n ON n.video_id = a.video_id ORDER BY r.position"
    )
    found: dict[int, list[Any]] = defaultdict(list)
    with reading(engine) as connection:
        for row in connection.execute(text(sql)):
            found[row.track].append(row)
    return found


def mean(parts: list[Any], name: str) -> float | None:
    known = [(getattr(part, name), part.frames) for part in parts if getattr(part, name) is not None]
    return sum(value * weight for value, weight in known) / sum(weight for _, weight in known) if known else None


def local(part: Any, second: float) -> datetime:
    changed = part.offset_changes_s is not None and second >= part.offset_changes_s
    offset = part.later_utc_offset_s if changed else part.utc_offset_s
    return NOW.replace(tzinfo=None) + timedelta(seconds=round(part.start_s + second, 3) + offset)


def instant(value: datetime | str) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def test_a_summary_is_of_all_parts_of_a_track(engine: Engine, recording: Recording) -> None:
    names, rows = query(engine, "SELECT * FROM track_summary ORDER BY track")
    found = [dict(zip(names, row, strict=True)) for row in rows]
    expected = parts_of(engine)
    assert [row["track"] for row in found] == sorted(expected) == [1, 2, 10, 11, 12]
    for row in found:
        parts = expected[row["track"]]
        first, last = parts[0], parts[-1]
        assert (row["video"], row["last_video"], row["video_id"]) == (first.key, last.key, first.video_id)
        assert (row["first_s"], row["last_s"]) == (first.first_s, last.last_s)
        assert (row["first_frame"], row["last_frame"]) == (first.first_frame, last.last_frame)
        assert row["duration_s"] == pytest.approx(last.start_s + last.last_s - first.start_s - first.first_s)
        assert row["frames"] == sum(part.frames for part in parts)
        for name in MEANS:
            assert row[name] == pytest.approx(mean(parts, name), rel=1e-6), (row["track"], name)
        assert instant(row["from_at"]) == NOW + timedelta(seconds=round(first.start_s + first.first_s, 3))
        assert instant(row["to_at"]) == NOW + timedelta(seconds=round(last.start_s + last.last_s, 3))
        assert instant(row["local_from_at"]) == local(first, first.first_s)
        assert instant(row["local_to_at"]) == local(last, last.last_s)
    assert [len(expected[track]) for track in (1, 2, 10)] == [3, 2, 1]


def test_no_other_parts_are_looked_up_where_no_analysis_goes_on(pg_migrated_url: str) -> None:
    """PostgreSQL's plan: the joins for a track's other parts are there, and never executed."""
    engine = open_database(pg_migrated_url)
    Recording(engine, seed=12, files=1)
    with reading(engine) as connection:
        plan = list(
            connection.execute(text("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) SELECT * FROM track_summary")).scalars()
        )
    engine.dispose()
    assert sum("One-Time Filter" in line for line in plan) >= 2, plan
    assert sum(" on tracks o" in line and "(never executed)" in line for line in plan) >= 2, plan
