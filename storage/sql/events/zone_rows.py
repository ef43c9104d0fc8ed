"""Zones with the visits and crossings of one event run, written within the caller's transaction."""

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, func, insert, select

from models.types import CameraZone, ZoneRows
from storage.sql.tables import analyses, crossings, event_runs, recording_videos, visits, zones


def register_zones(connection: Connection, event_version_id: int, definitions: Iterable[CameraZone]) -> list[int]:
    """Write the zones of a new version of a camera's events. Return their numbers, in the same order."""
    ids = []
    for zone in definitions:
        values = {
            "event_version_id": event_version_id,
            "zone": zone.name,
            "kind": zone.kind,
            "shape": zone.shape,
            "points": json.dumps(zone.points),
            "valid_from": zone.valid_from,
            "valid_to": zone.valid_to,
        }
        ids.append(connection.execute(insert(zones).values(values).returning(zones.c.zone_id)).scalar_one())
    return ids


def store_zone_rows(
    connection: Connection, event_run_id: int, zone_ids: Sequence[int], decided: ZoneRows, tail: ZoneRows
) -> None:
    """Write the visits and crossings of an event run, which must exist.

    zone_ids: number of each zone that the rows refer to by its index
    decided: rows that stay as they are; tail: those that the run of the recording's next video has whole, too
    """
    begins = [each.entered_s for rows in (decided, tail) for each in rows.visits]
    begins += [each.at_s for rows in (decided, tail) for each in rows.crossings]
    if not begins:
        return
    film = _Film(connection, event_run_id, min(begins))
    for table, made in ((visits, _visits(decided, tail)), (crossings, _crossings(decided, tail))):
        counts: Counter[tuple[int, int]] = Counter()
        values = []
        for zone, track, begin_s, row in made:
            counts[zone, track] += 1
            number = {"visit" if table is visits else "crossing": counts[zone, track]}
            keys = {"event_run_id": event_run_id, "zone_id": zone_ids[zone], "track": track}
            values.append({**keys, **number, "video_id": film.video_at(begin_s), **row})
        if values:
            connection.execute(insert(table), values)


_Made = Iterator[tuple[int, int, float, dict[str, Any]]]  # zone, track, second of its begin, values


def _visits(decided: ZoneRows, tail: ZoneRows) -> _Made:
    for rows, lasts in ((decided, False), (tail, True)):
        for each in rows.visits:
            times = {"entered_s": each.entered_s, "left_s": each.left_s, "open": lasts}
            yield each.zone, each.track, each.entered_s, times


def _crossings(decided: ZoneRows, tail: ZoneRows) -> _Made:
    for rows, lasts in ((decided, False), (tail, True)):
        for each in rows.crossings:
            values = {"at_s": each.at_s, "direction": each.direction, "open": lasts}
            yield each.zone, each.track, each.at_s, values


class _Film:
    """The videos of a recording by their begin, up to that of an event run."""

    def __init__(self, connection: Connection, event_run_id: int, first_s: float) -> None:
        """first_s: no earlier second is asked for"""
        own = (
            select(recording_videos.c.recording_id, recording_videos.c.position)
            .select_from(event_runs.join(analyses, analyses.c.analysis_id == event_runs.c.analysis_id))
            .join(
                recording_videos,
                (recording_videos.c.recording_id == analyses.c.recording_id)
                & (recording_videos.c.video_id == analyses.c.video_id),
            )
            .where(event_runs.c.event_run_id == event_run_id)
        )
        recording_id, position = connection.execute(own).one()
        before = (recording_videos.c.recording_id == recording_id) & (recording_videos.c.position <= position)
        first = select(func.max(recording_videos.c.position)).where(before, recording_videos.c.start_s <= first_s)
        found = (
            select(recording_videos.c.start_s, recording_videos.c.video_id)
            .where(before, recording_videos.c.position >= func.coalesce(first.scalar_subquery(), 0))
            .order_by(recording_videos.c.position)
        )
        self._starts, self._videos = zip(*connection.execute(found), strict=True)

    def video_at(self, second: float) -> int:
        """Return the video that shows a second of the recording."""
        return int(self._videos[max(0, bisect_right(self._starts, second) - 1)])
