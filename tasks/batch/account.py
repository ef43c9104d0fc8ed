"""Account of a batch: its work by device and by video, and the error of its estimate. Reads the ledger only."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage.ledger.account import (
    SHORTEST_VISIT_S,
    BatchFacts,
    Crowd,
    DeviceFacts,
    Loss,
    Spans,
    VideoFacts,
    VideoNote,
    Visits,
    Yield,
    read_batch,
    read_counts,
    read_crowds,
    read_devices,
    read_losses,
    read_notes,
    read_spans,
    read_videos,
    read_visits,
    read_yields,
)
from storage.ledger.batches import SegmentCounts
from storage.sql.database import Database
from tasks.model.names import RECOMMENDED
from tasks.text.wording import (
    change,
    clock,
    count,
    day_and_clock,
    deviation,
    duration,
    file_size,
    film_clock,
    kind,
    rate,
)

if TYPE_CHECKING:
    from models.drawing.night import Lane

# A stick runs nothing else, so a lasting drop in speed means throttling. A CPU may have other work.
CAN_THROTTLE = "MYRIAD"
MOST_CROWDS = 3
THROTTLED = 0.7  # of the best speed so far
MEDIAN_OF = 3  # segments: a single slow one does not mean throttling
NOTED = 20  # videos: all files of a camera may have the same fault
SHORT = 0.5  # of the median length: in a short segment the start of the decoder dominates


class Throttling(NamedTuple):
    """A lasting drop in speed. began_s: since the batch's start; frames_per_s: lowest speed; before: best speed"""

    began_s: float
    frames_per_s: float
    before: float


@dataclass(frozen=True, eq=False)
class Account:
    """Everything that the ledger contains about a batch.

    throttling: (worker, device) -> its drop in speed
    crowds: the seconds with the most people, one per video, of the videos with the most people; empty for a classifier
    visits: video -> people whom the shown analysis follows for a second or longer, of analysed videos
    own_yield: results of this batch; None if it processed nothing
    previous_yield: results of the previous batch over this archive by this model
    zone: time zone of all displayed times
    """

    batch: BatchFacts
    counts: SegmentCounts
    devices: Sequence[DeviceFacts]
    videos: Sequence[VideoFacts]
    notes: Sequence[VideoNote]
    losses: Sequence[Loss]
    spans: Spans
    throttling: dict[tuple[str, str], Throttling]
    crowds: Sequence[Crowd]
    visits: Mapping[str, Visits]
    own_yield: Yield | None
    previous_yield: Yield | None
    zone: tzinfo

    @property
    def frames_per_s(self) -> float:
        return self.counts.frames_done / max(self.batch.took_s, 1e-9)

    def time_line(self) -> str:
        """`took 2 h 51 min, 7 % longer than estimated (2 h 40 min)`"""
        batch = self.batch
        took = f"{'took' if batch.finished_at else 'running for'} {duration(batch.took_s)}"
        if batch.estimated_s is None:
            return f"{took}; not estimated, as no device was measured before"
        if batch.finished_at is None or batch.status in ("crashed", "cancelled"):
            return f"{took}, estimated {duration(batch.estimated_s)}"
        return f"{took}, {deviation(batch.took_s, batch.estimated_s)} ({duration(batch.estimated_s)})"

    def device_line(self, device: DeviceFacts) -> str:
        """Format the work of one device: frames, speed, segments, retries, losses."""
        parts = [count(device.frames_done, "frame"), count(device.segments_done, "segment")]
        if device.wall_s:
            parts.insert(1, rate(device.frames_done / device.wall_s))
        if device.retries:
            parts.append("1 retry" if device.retries == 1 else f"{device.retries:,} retries")
        if device.assignments_lost:
            parts.append(f"{count(device.assignments_lost, 'assignment')} lost")
        return ", ".join([*parts, *filter(None, [self.throttling_text(device)])])

    def throttling_text(self, device: DeviceFacts) -> str:
        """Format the device's drop in speed; empty without one."""
        found = self.throttling.get((device.worker or "", device.device or ""))
        if found is None:
            return ""
        return f"throttled from {self._clock(found.began_s)}: {rate(found.frames_per_s)}, before {rate(found.before)}"

    def _clock(self, at_s: float) -> str:
        return clock(self.batch.started_at + timedelta(seconds=at_s), self.zone)

    def found_lines(self) -> dict[str, str]:
        """Format rows, video length, the most people and the change since the previous batch, label -> text."""
        if self.own_yield is None:
            return {}
        lines = {
            **_rows_line(self.counts.people, self.batch.task, self.batch.model),
            "film": duration(self.own_yield.film_s),
        }
        if self.crowds:
            crowd = self.crowds[0]
            lines["most"] = f"{crowd.most_people} in view at {film_clock(crowd.second)} of {crowd.video}"
        return {**lines, **self._change_line(self.own_yield)}

    def _change_line(self, own_yield: Yield) -> dict[str, str]:
        previous_yield = self.previous_yield
        if previous_yield is None:
            return {}
        hourly, hourly_before = own_yield.rows / own_yield.film_s, previous_yield.rows / previous_yield.film_s
        speed, speed_before = own_yield.frames / own_yield.took_s, previous_yield.frames / previous_yield.took_s
        of = "labels" if self.batch.task == "classification" else "people"
        return {
            "change": f"video length {change(own_yield.film_s, previous_yield.film_s)}, {of} per hour of video "
            f"{change(hourly, hourly_before)}, speed {change(speed, speed_before)} "
            f"compared with batch {previous_yield.batch_id} of {day_and_clock(previous_yield.started_at, self.zone)}"
        }

    def lost_lines(self) -> list[str]:
        """Format one line per lost assignment, with time and reason."""
        return [
            f"{self._clock(loss.at_s)}, {loss.worker or 'a run without a device'}: {loss.reason or 'unknown reason'}"
            for loss in self.losses
        ]

    def note_lines(self) -> list[str]:
        """Format one line per video whose file has a fault, at most NOTED."""
        lines = [f"{note.video}: {'; '.join(_note_parts(note))}" for note in self.notes[:NOTED]]
        more = len(self.notes) - NOTED
        return (
            [*lines, f"and {count(more, 'video')} more, in the tables time_repairs and videos"] if more > 0 else lines
        )

    def chart_key(self) -> str:
        return f"batches/{self.batch.batch_key}/night.png"

    def chart(self) -> NDArray[np.uint8]:
        """Draw the batch by device: (height, 1600, 3) uint8 BGR."""
        from models.drawing.night import draw_night  # matplotlib takes 0.8 s of CPU time to load

        batch = self.batch
        title = f"batch {batch.batch_id}, {batch.model}, {count(self.counts.frames_done, 'frame')}: {self.time_line()}"
        started_at = batch.started_at.astimezone(self.zone)
        return draw_night(title, started_at, batch.took_s, [self._lane(device) for device in self.devices])

    def _lane(self, device: DeviceFacts) -> "Lane":
        from models.drawing.night import Lane

        who, spans = (device.worker or "", device.device or ""), self.spans
        mine = spans.lane == spans.workers.index(who) if who in spans.workers else np.zeros(len(spans.lane), bool)
        speed = f", {rate(device.frames_done / device.wall_s)}" if device.wall_s else ""
        return Lane(
            label=who[0],
            note=f"{kind(who[1])}{speed}",
            begun_s=spans.begun_s[mine],
            ended_s=spans.ended_s[mine],
            frames_per_s=spans.frames_per_s[mine],
            share=share_of_best(spans.frames_per_s[mine], comparable(spans.film[mine], spans.format[mine])),
            attempt=spans.attempt[mine],
            lost_s=[loss.at_s for loss in self.losses if (loss.worker or "", loss.device or "") == who],
        )


def _note_parts(note: VideoNote) -> Iterator[str]:
    if note.frames_retimed:
        yield f"time stamps of {count(note.frames_retimed, 'frame')} repaired"
    if note.clock_s is not None:
        jump = f"{duration(abs(note.clock_s))} {'ahead' if note.clock_s > 0 else 'back'}"
        also = f", the longest of {note.clock_changes:,} jumps" if note.clock_changes > 1 else ""
        yield f"its clock jumped {jump}{also} (removed from the times of its frames)"
    if note.streams > 1:
        yield f"stream {note.stream} used, of {note.streams} video streams"
    if note.unused_bytes:
        unused, whole = file_size(note.unused_bytes), file_size(note.size_bytes)
        yield f"{unused} of its {whole} are after the last frame and belong to no stream"


def read_account(engine: Database, batch_id: int | None = None, zone: tzinfo = UTC) -> Account:
    """Read the account of this batch, or of the newest one. Raises DatabaseError if there is none."""
    batch = read_batch(engine, batch_id)
    number = batch.batch_id
    spans, counts = read_spans(engine, number), read_counts(engine, number)
    yields = read_yields(engine, batch) if counts.done else []  # a batch without results is not compared
    mine = bool(yields) and yields[-1].batch_id == number
    return Account(
        batch=batch,
        counts=counts,
        devices=read_devices(engine, number),
        videos=read_videos(engine, number),
        notes=read_notes(engine, number),
        losses=read_losses(engine, number),
        spans=spans,
        throttling=_throttled(spans),
        crowds=[] if batch.task == "classification" else read_crowds(engine, batch, MOST_CROWDS),
        visits={} if batch.task == "classification" else {each.video: each for each in read_visits(engine, batch)},
        own_yield=yields[-1] if mine else None,
        previous_yield=yields[0] if mine and len(yields) > 1 else None,
        zone=zone,
    )


def _throttled(spans: Spans) -> dict[tuple[str, str], Throttling]:
    """Return, per device that can throttle, the first slowdown among its comparable segments."""
    found = {}
    for lane, who in enumerate(spans.workers):
        if CAN_THROTTLE not in who[1].upper():  # AUTO and MULTI name the chosen device
            continue
        mine = np.flatnonzero(spans.lane == lane)
        groups = comparable(spans.film[mine], spans.format[mine])
        slow = [_throttling_of(spans, mine[groups == group]) for group in np.unique(groups)]
        if known := [one for one in slow if one]:
            found[who] = min(known)
    return found


def _throttling_of(spans: Spans, mine: NDArray[np.intp]) -> Throttling | None:
    return throttling(spans.begun_s[mine], spans.frames[mine], spans.frames_per_s[mine])


def comparable(film: NDArray[np.int32], formats: NDArray[np.int32]) -> NDArray[np.int64]:
    """Group segments whose speeds may be compared: (n,) equal numbers mean the same group.

    Segments of a long video are compared with each other. Short videos are grouped by picture size, codec and frame
    rate, such as the clips of one camera.
    """
    _, which, segments = np.unique(film, return_inverse=True, return_counts=True)
    long = (segments >= 2 * MEDIAN_OF)[which]
    return np.where(long, which, len(segments) + formats)


def share_of_best(frames_per_s: NDArray[np.float64], group: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide each segment's speed by the 95th percentile of its group, which ignores single outliers: (n,)."""
    share = np.ones(len(group))
    for number in np.unique(group):
        mine = group == number
        share[mine] = frames_per_s[mine] / np.percentile(frames_per_s[mine], 95)
    return share


def throttling(
    begun_s: NDArray[np.float64], frames: NDArray[np.int32], frames_per_s: NDArray[np.float64]
) -> Throttling | None:
    """Find the first drop below THROTTLED of the best speed so far, by medians of MEDIAN_OF segments; None: no drop.

    All (n,), one value per comparable segment, in the order of time.
    """
    whole = frames >= SHORT * np.median(frames) if len(frames) else np.zeros(0, bool)
    begun, speeds = begun_s[whole], frames_per_s[whole]
    if len(speeds) < 2 * MEDIAN_OF:
        return None
    levels = np.median(np.lib.stride_tricks.sliding_window_view(speeds, MEDIAN_OF), axis=1)
    best = np.maximum.accumulate(levels)
    slow = np.flatnonzero(levels < THROTTLED * best)
    if not len(slow):
        return None
    first = int(slow[0])
    # The first slow window contains at most one fast segment. The drop began with the first slow one.
    began = first + int(np.argmax(speeds[first : first + MEDIAN_OF] < THROTTLED * best[first]))
    return Throttling(float(begun[began]), float(levels[slow].min()), float(best[first]))


def count_lines(counts: SegmentCounts) -> dict[str, str]:
    """Format the counts of segments and frames, label -> text."""
    if not counts.expected:
        return {"segments": "nothing new, all results are in the database"}
    return {
        "segments": f"{counts.expected:,} expected, {counts.done:,} loaded, {counts.quarantined:,} in quarantine, "
        f"{counts.missing:,} missing",
        "frames": f"{counts.frames_expected:,} expected, {counts.frames_done:,} loaded, "
        f"{counts.frames_undecodable:,} undecodable, {counts.frames_quarantined:,} in quarantine, "
        f"{counts.frames_missing:,} missing",
    }


def _rows_line(rows: int, task: str, model: str) -> dict[str, str]:
    if task == "classification":
        return {"labels": f"{rows:,} rows, one per processed frame"}
    if rows == 0:
        return {"people": f"{model} found nobody in any frame. {_better_than(model)}"}
    return {"people": f"{rows:,} rows, one per person per frame"}


def _better_than(model: str) -> str:
    """Name a model that finds more people."""
    if model.startswith(RECOMMENDED):
        return f"If people are in the videos, convert {RECOMMENDED} with a larger --size"
    return f"If people are in the videos, try {RECOMMENDED} ('nightjar convert {RECOMMENDED}')"


def visit_lines(account: Account) -> dict[str, str]:
    """Format the number of people who were followed and the longest stay, label -> text; empty without anybody."""
    seen = sum(visits.people for visits in account.visits.values())
    if not seen:
        return {}
    longest = max(account.visits.values(), key=lambda visits: visits.longest_s)
    stay = f"the longest stay {longest.longest_s:.1f} s in {longest.video}"
    return {"seen": f"{count(seen, 'track')} of at least {SHORTEST_VISIT_S:g} s, {stay}"}


def visit_cells(account: Account, video: str) -> dict[str, Any]:
    """Return the columns of a video's people, column -> value; empty for a classifier."""
    if account.batch.task == "classification":
        return {}
    visits = account.visits.get(video)
    return {
        "people seen": visits.people if visits else None,
        "longest stay, s": round(visits.longest_s, 1) if visits else None,
    }


def visit_table(account: Account) -> list[dict[str, Any]]:
    """Return one row per video in which somebody stayed, the most people first."""
    rows = [visits for visits in account.visits.values() if visits.people]
    rows.sort(key=lambda visits: (-visits.people, -visits.longest_s, visits.video))
    return [{**visit_cells(account, visits.video), "video": visits.video} for visits in rows]


def crowd_table(account: Account) -> list[dict[str, Any]]:
    """Return one row per video of `crowds`: the most people in one frame, and its time."""
    return [
        {"people": crowd.most_people, "at": film_clock(crowd.second), "video": crowd.video} for crowd in account.crowds
    ]


def device_table(account: Account) -> list[dict[str, Any]]:
    """Return one row per device, column -> value."""
    return [
        {
            "device": f"{device.worker or ''}/{kind(device.device or '')}",
            "frames/s": round(device.frames_done / device.wall_s, 1) if device.wall_s else None,
            "frames": device.frames_done,
            "segments": device.segments_done,
            "retries": device.retries,
            "lost": device.assignments_lost,
            "throttling": account.throttling_text(device),
        }
        for device in account.devices
    ]


def video_table(account: Account) -> list[dict[str, Any]]:
    """Return one row per video, column -> value. A fault's column is omitted if it is 0 in all rows."""
    rows = [
        {
            "video": video.video,
            "labels" if account.batch.task == "classification" else "people": video.people,
            "frames": video.frames_done,
            "frames/s": round(video.frames_done / video.wall_s, 1) if video.wall_s else None,
            "undecodable": video.frames_undecodable,
            "in quarantine": video.segments_quarantined,
            "missing": video.segments - video.segments_done - video.segments_quarantined,
        }
        for video in account.videos
    ]
    faults = {name for name in ("undecodable", "in quarantine", "missing") if not any(row[name] for row in rows)}
    return [{name: value for name, value in row.items() if name not in faults} for row in rows]
