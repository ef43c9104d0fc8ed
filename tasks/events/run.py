"""The events of one analysed video: read, evaluated and stored in one transaction, with constant memory.

The run continues from the checkpoint of the run of the recording's previous video, before the first frame whose rows
may be replaced. What it finds before its own such frame is certain. The rest is `open`: the run of the next video finds
it again, or finds that it was something else.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from models.events.evaluation import CompiledRule, ConditionEngine, RuleStream, look_back_of
from models.events.intervals import Interval, IntervalParams, Intervals, RowsOfKeys
from models.events.people_rows import LOST_S
from storage.sql.database import Database
from storage.sql.events.runs import (
    AnalysedVideo,
    EventRecord,
    RunRows,
    earlier_videos,
    previous_run,
    store_run,
    video_at,
)
from tasks.events.checkpoint import Checkpoint, CheckpointError
from tasks.events.memberships import Memberships, rule_tests
from tasks.events.row_source import RowSource, Window, needs_poses
from tasks.events.wanted import WantedEvents
from tasks.events.zone_pass import FoundZones, follow_zones, late_frames, still_asked_for

ZONE_BITS = 16  # of a key, for the zone's place in the list, from 1; the rest is the track


@dataclass(frozen=True)
class Found:
    """Intervals of a rule. open: they may change with the next video"""

    rule: CompiledRule
    interval: Interval
    open: bool


def make_run(engine: Database, wanted: WantedEvents, video: AnalysedVideo, conditions: ConditionEngine) -> int | None:
    """Make and store the events, visits and crossings of a video. Returns the number of events.

    None where another process has stored them, where the analysis was replaced, or where the previous video's run is
    missing. Raises RuleError, DatabaseError; CheckpointError where the recording's events have to be made again.
    """
    previous = previous_run(engine, video, wanted.event_version_id)
    if previous is not None and previous.checkpoint is None:
        return None
    start = Checkpoint() if previous is None else Checkpoint.from_bytes(previous.checkpoint or b"")
    frame = max(start.frame, _decided(video) - late_frames(wanted, video))
    evaluation = _Evaluation(engine, wanted, video, start, conditions)
    zones = evaluation.follow_zones(frame)
    checkpoint = evaluation.up_to(frame)
    evaluation.finish(video.stop_frame)
    records = [_record(engine, wanted, video, found) for found in evaluation.found]
    rows = RunRows(records, zones.decided, zones.tail)
    stored = store_run(engine, video, wanted.version, checkpoint.to_bytes(), rows)
    return len(records) if stored else None


def _decided(video: AnalysedVideo) -> int:
    """Return the recording's first frame whose rows may be replaced."""
    return video.stop_frame if video.decided_frame is None else video.start_frame + video.decided_frame


class _Evaluation:
    """The rules of a camera over the rows of a video, and those before it since the checkpoint."""

    def __init__(
        self,
        engine: Database,
        wanted: WantedEvents,
        video: AnalysedVideo,
        start: Checkpoint,
        conditions: ConditionEngine,
    ) -> None:
        self.found: list[Found] = []
        self._engine, self._wanted, self._video, self._start = engine, wanted, video, start
        self._rules = {rule.definition.rule: rule for rule in wanted.rules}
        self._people = RuleStream(conditions, wanted.rules, "people")
        self._frames = RuleStream(conditions, wanted.rules, "frames")
        since_s = start.t_s - LOST_S - max(look_back_of(wanted.rules, kind) for kind in ("people", "frames"))
        self._videos = [*earlier_videos(engine, video, since_s), video]
        with_poses = bool(wanted.zones) or needs_poses(wanted.rules)
        self._source = RowSource(engine, self._videos, with_poses)
        self._memberships = Memberships(wanted.zones, start.visits)
        self._intervals = {name: self._begun(rule) for name, rule in self._rules.items()}
        self._at, self._now_s = start.frame, start.t_s
        self._zones = FoundZones()
        self._look_back(self._videos, since_s)

    def _begun(self, rule: CompiledRule) -> Intervals:
        video, of = self._video, rule.definition
        step_s = 1 / min(rate for rate in (video.fps or 1 / video.step_s, video.frames_per_second) if rate)
        params = IntervalParams(of.min_duration_s, of.bridge_gap_s, of.cool_down_s, step_s)
        try:
            return Intervals(params, self._start.rules.get(of.rule))
        except ValueError as error:
            raise CheckpointError(str(error)) from error

    def follow_zones(self, frame: int) -> FoundZones:
        """Follow people through the zones to the end of the video. frame: of the next checkpoint"""
        source = RowSource(self._engine, self._videos, with_poses=True)
        self._zones = follow_zones(source, self._wanted, self._video, self._start, frame)
        self._memberships.add([*self._zones.decided.visits, *self._zones.tail.visits])
        return self._zones

    def _look_back(self, videos: list[AnalysedVideo], since_s: float) -> None:
        first = videos[0]
        frame = first.start_frame + max(0, int((since_s - first.start_s) / first.step_s) - 1)
        for window in self._source.windows(frame, self._start.frame):
            self._people.look_at(window.people.columns)
            self._frames.look_at(window.frames)

    def up_to(self, frame: int) -> Checkpoint:
        """Evaluate the rows before a frame of the recording, and return the state there."""
        self._push(frame, may_change=False)
        rules = {name: intervals.checkpoint() for name, intervals in self._intervals.items()}
        visits = still_asked_for(self._zones, self._start, self._now_s).visits
        return Checkpoint(frame, self._now_s, rules, self._zones.state, tuple(visits))

    def finish(self, stop_frame: int) -> None:
        """Evaluate the other rows."""
        self._push(stop_frame, may_change=True)
        for name, intervals in self._intervals.items():
            self._add(self._rules[name], intervals.finish(), True)

    def _push(self, stop_frame: int, may_change: bool) -> None:
        for window in self._source.windows(self._at, stop_frame):
            self._now_s = self._now_s if window.end_s is None else window.end_s
            for rule, rows in self._outcomes(window):
                found = self._intervals[rule.definition.rule].push(rows, window.end_s)
                self._add(rule, found, may_change)
        self._at = max(self._at, stop_frame)

    def _outcomes(self, window: Window) -> Iterator[tuple[CompiledRule, RowsOfKeys]]:
        """Yield the rows of each rule, of all zones together: none of them is ahead of another one in time."""
        people = window.people.columns
        member = self._memberships.of(window.people)
        for rule, held in self._people.push(people | member.columns(rule_tests(self._wanted.rules))):
            places = list(member.where(rule.definition, held.holds))
            zones = np.repeat([zone for zone, _ in places], len(held.holds)).astype(np.int64)
            key, frame, t_s, score = (
                np.tile(values, len(places))
                for values in (people["track"] << ZONE_BITS, people["frame"], people["t_s"], held.score)
            )
            holds = np.concatenate([np.empty(0, np.bool_), *(holds for _, holds in places)])
            yield rule, RowsOfKeys(key + zones, frame, t_s, holds, score)
        frames = window.frames
        for rule, held in self._frames.push(frames):
            yield rule, RowsOfKeys(np.zeros(len(frames["frame"]), np.int64), frames["frame"], frames["t_s"], *held)

    def _add(self, rule: CompiledRule, intervals: Iterable[Interval], may_change: bool) -> None:
        self.found += (Found(rule, interval, may_change) for interval in intervals)


def _record(engine: Database, wanted: WantedEvents, video: AnalysedVideo, found: Found) -> EventRecord:
    definition, interval = found.rule.definition, found.interval
    begins = video_at(engine, video.recording_id, interval.from_frame)
    peak = video_at(engine, video.recording_id, interval.peak_frame)
    track, zone = interval.key >> ZONE_BITS or None, (interval.key & ((1 << ZONE_BITS) - 1)) - 1
    name = wanted.zones[zone].name if zone >= 0 else None
    place = begins.sha256, interval.from_frame - begins.start_frame
    return EventRecord(
        event_key=_key(definition.sha256(), wanted.camera, *place, track, name),
        rule_id=wanted.version.rules[definition.rule],
        track=track,
        zone_id=wanted.version.zones[zone] if zone >= 0 else None,
        video_id=begins.video_id,
        from_s=interval.from_s,
        to_s=interval.to_s,
        peak_s=interval.peak_s,
        peak_video_id=peak.video_id,
        peak_frame=interval.peak_frame - peak.start_frame,
        score=interval.score,
        open=found.open,
    )


def _key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
