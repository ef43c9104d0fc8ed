"""The views zone_visits, zone_crossings and people_per_hour, on both databases."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, select

from models.types import CameraZone, Crossing, Visit, ZoneRows
from storage.sql.database import reading
from storage.sql.query import query
from storage.sql.tables import zones
from tests.storage.sql.events.site import Site, add_run, new_version, show

BED = CameraZone("bed", "bed", "polygon", ((0.1, 0.5), (0.4, 0.5), (0.4, 0.9)))
GATE = CameraZone("gate", "door", "line", ((0.5, 0.1), (0.5, 0.9)), datetime(2026, 1, 1, tzinfo=UTC))
NOTHING = ZoneRows([], [])
VISITS = "SELECT camera, zone, kind, track, entered_s, left_s, dwell_s, entered_at, left_at, video_id FROM zone_visits"


def visit(track: int, entered_s: float, left_s: float) -> Visit:
    return Visit(0, track, round(entered_s * 25), round(left_s * 25), entered_s, left_s)


def crossing(track: int, at_s: float) -> Crossing:
    return Crossing(1, track, round(at_s * 25), at_s, "left_to_right")


def rows(engine: Engine, statement: str) -> list[tuple[Any, ...]]:
    _, found = query(engine, statement)
    return [tuple(at(value) for value in row) for row in found]


def at(value: Any) -> Any:
    """Times as text to the millisecond, as SQLite has them."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value


def test_a_visit_is_of_the_video_in_which_it_begins(engine: Engine) -> None:
    site = Site(engine)
    version = new_version(engine, "1", [BED, GATE])
    show(engine, "door", version[0])
    add_run(engine, site.analysis_ids[0], version, ZoneRows([visit(1, 10, 12.5)], [crossing(1, 10)]))
    add_run(engine, site.analysis_ids[1], version, ZoneRows([visit(2, 599.5, 700)], [crossing(2, 600)]))
    assert rows(engine, f"{VISITS} ORDER BY entered_at") == [
        ("door", "bed", "bed", 1, 10.0, 12.5, 2.5, "2026-07-01T21:55:10.000Z", "2026-07-01T21:55:12.500Z", 1),
        ("door", "bed", "bed", 2, 599.5, 700.0, 100.5, "2026-07-01T22:04:59.500Z", "2026-07-01T22:06:40.000Z", 1),
    ]
    crossings = "SELECT camera, zone, kind, track, at_s, at, direction, video_id FROM zone_crossings ORDER BY track"
    assert rows(engine, crossings) == [
        ("door", "gate", "door", 1, 10.0, "2026-07-01T21:55:10.000Z", "left_to_right", 1),
        ("door", "gate", "door", 2, 0.0, "2026-07-01T22:05:00.000Z", "left_to_right", 2),
    ]


def test_an_open_visit_is_left_out_once_the_next_video_has_it_whole(engine: Engine) -> None:
    site = Site(engine)
    version = new_version(engine, "1", [BED, GATE])
    show(engine, "door", version[0])
    tail = ZoneRows([visit(1, 590, 599)], [crossing(1, 598)])
    add_run(engine, site.analysis_ids[0], version, NOTHING, tail)
    dwell = "SELECT dwell_s FROM zone_visits ORDER BY entered_at"
    assert rows(engine, dwell) == [(9,)]
    assert rows(engine, "SELECT at_s FROM zone_crossings") == [(598,)]
    add_run(
        engine, site.analysis_ids[1], version, ZoneRows([], [crossing(1, 598)]), ZoneRows([visit(1, 590, 1199)], [])
    )
    assert rows(engine, dwell) == [(609,)]
    assert rows(engine, "SELECT at_s FROM zone_crossings") == [(598,)]
    add_run(
        engine, site.analysis_ids[2], version, ZoneRows([visit(1, 590, 1250)], []), ZoneRows([visit(1, 1700, 1799)], [])
    )
    assert rows(engine, dwell) == [(660,), (99,)]


def test_versions_are_never_mixed(engine: Engine) -> None:
    """Another version is made of two of three files: the views show the former one, until all is moved over."""
    site, other = Site(engine, files=2), Site(engine, camera=None, start_at=None, files=1)
    first, second = (
        new_version(engine, "1", [BED]),
        new_version(engine, "2", [CameraZone("bed", "sofa", "polygon", BED.points)]),
    )
    for version in (first, second):
        for position in (0, 1)[: 2 if version is first else 1]:
            add_run(
                engine,
                site.analysis_ids[position],
                version,
                ZoneRows([visit(version[0], position * 600 + 5, position * 600 + 9)], []),
            )
    add_run(engine, other.analysis_ids[0], second, ZoneRows([visit(7, 1, 2)], []))
    assert rows(engine, VISITS) == []
    show(engine, "door", first[0])
    assert [row[2:4] for row in rows(engine, VISITS)] == [("bed", first[0])] * 2
    show(engine, "door", second[0])
    assert [row[2:4] for row in rows(engine, VISITS)] == [("sofa", second[0])]
    show(engine, None, second[0])
    assert [row[0:1] + row[3:9] for row in rows(engine, f"{VISITS} WHERE camera IS NULL")] == [
        (None, 7, 1, 2, 1, None, None)
    ]


def test_people_are_counted_in_every_hour_in_which_they_are_seen(engine: Engine) -> None:
    """From 21:55 in files of ten minutes: one track until 22:10, one from 21:56 to 21:57, one without a clock."""
    site, dark = Site(engine), Site(engine, camera="dark", start_at=None, files=1)
    for position, first_s, last_s in ((0, 30, 599), (1, 0, 300)):
        site.see(position, 1, first_s, last_s)
    site.see(0, 2, 60, 120)
    dark.see(0, 1, 0, 5)
    version = new_version(engine, "1", [BED])
    for camera in ("door", "dark"):
        show(engine, camera, version[0])
    add_run(
        engine, site.analysis_ids[0], version, ZoneRows([visit(1, 40, 50), visit(1, 60, 350), visit(2, 61, 62)], [])
    )
    add_run(engine, dark.analysis_ids[0], version, ZoneRows([visit(1, 1, 2)], []))
    found = rows(engine, "SELECT camera, hour, people, visits FROM people_per_hour ORDER BY hour")
    assert found == [("door", "2026-07-01T21:00:00.000Z", 2, 3), ("door", "2026-07-01T22:00:00.000Z", 1, 0)]


def test_a_long_visit_counts_in_each_of_its_hours(engine: Engine) -> None:
    site = Site(engine, files=1)
    site.see(0, 1, 0, 3 * 3600)
    found = rows(engine, "SELECT hour, people, visits FROM people_per_hour ORDER BY hour")
    assert [row[0][11:13] for row in found] == ["21", "22", "23", "00"]
    assert {row[1:] for row in found} == {(1, 0)}


def test_local_times_follow_the_change_of_clocks(engine: Engine) -> None:
    """Berlin sets its clocks back at 01:00 UTC, within the only file."""
    site = Site(engine, start_at=datetime(2026, 10, 25, 0, 30, tzinfo=UTC), files=1)
    site.see(0, 1, 60, 3600)
    version = new_version(engine, "1", [BED, GATE])
    show(engine, "door", version[0])
    add_run(engine, site.analysis_ids[0], version, ZoneRows([visit(1, 60, 1860)], [crossing(1, 1800)]))
    assert local(engine, "SELECT entered_local_at, left_local_at FROM zone_visits") == [("02:31:00", "02:01:00")]
    assert local(engine, "SELECT local_at FROM zone_crossings") == [("02:00:00",)]
    assert local(engine, "SELECT hour, local_hour FROM people_per_hour ORDER BY hour") == [
        ("00:00:00", "02:00:00"),
        ("01:00:00", "02:00:00"),
    ]


def local(engine: Engine, statement: str) -> list[tuple[str, ...]]:
    """Return the times of day of a query's answer, as each database writes them."""
    _, found = query(engine, statement)
    return [tuple(str(value).replace(" ", "T")[11:19] for value in row) for row in found]


def test_the_table_of_zones_has_their_shapes_and_periods(engine: Engine) -> None:
    version, ids = new_version(engine, "1", [BED, GATE])
    with reading(engine) as connection:
        stored = {row.zone_id: row for row in connection.execute(select(zones))}
    bed, gate = (stored[number] for number in ids)
    assert (bed.zone, bed.kind, bed.shape, bed.event_version_id, bed.valid_from) == (
        "bed",
        "bed",
        "polygon",
        version,
        None,
    )
    assert gate.points == "[[0.5, 0.1], [0.5, 0.9]]"
    assert gate.valid_from == GATE.valid_from
