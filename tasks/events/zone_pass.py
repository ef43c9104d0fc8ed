"""The zones of a video: visits and crossings, which are known before the rules are evaluated.

The side of a line or an edge on which somebody stands is decided up to some seconds later, and dated back.
"""

import math
from dataclasses import dataclass, field

from models.events.people_rows import LOST_S
from models.events.zone_params import ZoneParams
from models.events.zones import ZoneWatcher, watched
from models.types import ZoneRows
from storage.sql.events.runs import AnalysedVideo
from tasks.events.checkpoint import Checkpoint, CheckpointError
from tasks.events.row_source import RowSource
from tasks.events.wanted import WantedEvents

_PARAMS = ZoneParams()
LATE_S = max(_PARAMS.inertia_s, _PARAMS.standing_s, _PARAMS.lost_s)


@dataclass(frozen=True)
class FoundZones:
    """Visits and crossings. decided: before the checkpoint; tail: after it; state: None without zones"""

    decided: ZoneRows = field(default_factory=lambda: ZoneRows([], []))
    tail: ZoneRows = field(default_factory=lambda: ZoneRows([], []))
    state: bytes | None = None


def late_frames(wanted: WantedEvents, video: AnalysedVideo) -> int:
    """Return how many frames before the last certain row a membership may still change."""
    return math.ceil(LATE_S / video.step_s) if wanted.zones else 0


def follow_zones(
    source: RowSource, wanted: WantedEvents, video: AnalysedVideo, start: Checkpoint, checkpoint_frame: int
) -> FoundZones:
    """Follow people through the zones from a checkpoint to the end of a video. Raises CheckpointError."""
    if not wanted.zones:
        return FoundZones()
    zones = [watched(zone, video.start_at) for zone in wanted.zones]
    try:
        watcher = ZoneWatcher(zones, (video.width, video.height), _PARAMS, start.zones)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    decided, tail = ZoneRows([], []), ZoneRows([], [])
    _follow(watcher, source, (start.frame, checkpoint_frame), decided)
    state = watcher.checkpoint()
    _follow(watcher, source, (checkpoint_frame, video.stop_frame), tail)
    _add(tail, watcher.finish())
    return FoundZones(decided, tail, state)


def _follow(watcher: ZoneWatcher, source: RowSource, frames: tuple[int, int], into: ZoneRows) -> None:
    for window in source.windows(*frames):
        _add(into, watcher.push(window.feet))


def _add(rows: ZoneRows, more: ZoneRows) -> None:
    rows.visits.extend(more.visits)
    rows.crossings.extend(more.crossings)


def still_asked_for(found: FoundZones, start: Checkpoint, t_s: float) -> ZoneRows:
    """Return the ended visits to which rows after a checkpoint may belong. t_s: of the checkpoint"""
    visits = [*start.visits, *found.decided.visits]
    return ZoneRows([visit for visit in visits if visit.left_s >= t_s - LOST_S - 1], [])
