"""Work of a batch by device and by video, and the error of its estimate. Reads the ledger, writes nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage.ledger.account import (
    BatchFacts,
    Crowd,
    DeviceFacts,
    Loss,
    Spans,
    VideoFacts,
    VideoNote,
    Yield,
    read_batch,
    read_counts,
    read_crowds,
    read_devices,
    read_losses,
    read_notes,
    read_spans,
    read_videos,
    read_yields,
)
from storage.ledger.batches import SegmentCounts
from storage.sql.database import Database
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

# A stick computes for nobody else, so a speed that drops and stays low is its own. A CPU has other work, too.
CAN_THROTTLE = "MYRIAD"
MOST_CROWDS = 3
THROTTLED = 0.7  # of the best speed so far
MEDIAN_OF = 3  # segments: a single slow one is a hiccup, not heat
NOTED = 20  # videos: an archive of one camera may have the same fault in all of them
SHORT = 0.5  # of the median length: in a short segment the start of its decoder weighs too much


class Throttling(NamedTuple):
    """Speed that dropped and stayed low. began_s: since the batch's start; frames_per_s: slowest; before: best"""

    began_s: float
    frames_per_s: float
    before: float


@dataclass(frozen=True, eq=False)
class Account:
    """All that the ledger has of a batch.

    throttling: (worker, device) -> where it became slow
    crowds: the fullest second of each of the fullest videos; empty for a classifier
    brought: None where nothing was done; earlier: the same of the batch before over this archive by this model
    zone: in which times are told
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
    brought: Yield | None
    earlier: Yield | None
    zone: tzinfo

    @property
    def frames_per_s(self) -> float:
        return self.counts.frames_done / max(self.batch.took_s, 1e-9)

    def time_line(self) -> str:
        """`took 2 h 51 min, 7 % longer than estimated (2 h 40 min)`"""
        batch = self.batch
        took = f"{'took' if batch.finished_at else 'running for'} {duration(batch.took_s)}"
        if batch.estimated_s is None:
            return f"{took}; not estimated: no device was measured before"
        if batch.finished_at is None or batch.status in ("crashed", "cancelled"):
            return f"{took}, estimated {duration(batch.estimated_s)}"
        return f"{took}, {deviation(batch.took_s, batch.estimated_s)} ({duration(batch.estimated_s)})"

    def device_line(self, device: DeviceFacts) -> str:
        """Work of one device, in words."""
        parts = [count(device.frames_done, "frame"), count(device.segments_done, "segment")]
        if device.wall_s:
            parts.insert(1, rate(device.frames_done / device.wall_s))
        if device.retries:
            parts.append("1 retry" if device.retries == 1 else f"{device.retries:,} retries")
        if device.assignments_lost:
            parts.append(f"{count(device.assignments_lost, 'assignment')} lost")
        return ", ".join([*parts, *filter(None, [self.throttling_text(device)])])

    def throttling_text(self, device: DeviceFacts) -> str:
        """Empty where it kept its speed."""
        found = self.throttling.get((device.worker or "", device.device or ""))
        if found is None:
            return ""
        return f"throttled from {self._clock(found.began_s)}: {rate(found.frames_per_s)} after {rate(found.before)}"

    def _clock(self, at_s: float) -> str:
        return clock(self.batch.started_at + timedelta(seconds=at_s), self.zone)

    def found_lines(self) -> dict[str, str]:
        """Rows, hours of film, the fullest seconds and the change against the batch before, label -> text."""
        if self.brought is None:
            return {}
        lines = {**_rows_line(self.counts.people, self.batch.task), "film": duration(self.brought.film_s)}
        if self.crowds:
            crowd = self.crowds[0]
            lines["most"] = f"{crowd.most_people} at {film_clock(crowd.second)} of {crowd.video}"
        return {**lines, **self._change_line(self.brought)}

    def _change_line(self, brought: Yield) -> dict[str, str]:
        earlier = self.earlier
        if earlier is None:
            return {}
        hourly, hourly_before = brought.rows / brought.film_s, earlier.rows / earlier.film_s
        speed, speed_before = brought.frames / brought.took_s, earlier.frames / earlier.took_s
        of = "labels" if self.batch.task == "classification" else "people"
        return {
            "change": f"film {change(brought.film_s, earlier.film_s)}, {of} per hour of film "
            f"{change(hourly, hourly_before)}, speed {change(speed, speed_before)} "
            f"against batch {earlier.batch_id} of {day_and_clock(earlier.started_at, self.zone)}"
        }

    def lost_lines(self) -> list[str]:
        """One a lost assignment, with its time and its reason."""
        return [
            f"{self._clock(loss.at_s)}, {loss.worker or 'a run without a device'}: {loss.reason or 'why is not known'}"
            for loss in self.losses
        ]

    def note_lines(self) -> list[str]:
        """One per video whose file was odd, the first NOTED of them."""
        lines = [f"{note.video}: {'; '.join(_note_parts(note))}" for note in self.notes[:NOTED]]
        more = len(self.notes) - NOTED
        return (
            [*lines, f"and {count(more, 'video')} more: see the tables time_repairs and videos"] if more > 0 else lines
        )

    def chart_key(self) -> str:
        return f"batches/{self.batch.batch_key}/night.png"

    def chart(self) -> NDArray[np.uint8]:
        """(height, 1600, 3) uint8 BGR: the night by device."""
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
        also = f", the longest of {note.clock_changes:,} jumps; they are" if note.clock_changes > 1 else ", which is"
        yield f"its clock jumped {jump}{also} left out of its times"
    if note.streams > 1:
        yield f"stream {note.stream} taken, of {note.streams} video streams"
    if note.unused_bytes:
        unused, whole = file_size(note.unused_bytes), file_size(note.size_bytes)
        yield f"{unused} of its {whole} lie behind the last frame and belong to no stream"


def read_account(engine: Database, batch_id: int | None = None, zone: tzinfo = UTC) -> Account:
    """Read the account of this batch, or of the newest one. Raises DatabaseError where there is none."""
    batch = read_batch(engine, batch_id)
    number = batch.batch_id
    spans, counts = read_spans(engine, number), read_counts(engine, number)
    yields = read_yields(engine, batch) if counts.done else []  # else it brought nothing that could be compared
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
        brought=yields[-1] if mine else None,
        earlier=yields[0] if mine and len(yields) > 1 else None,
        zone=zone,
    )


def _throttled(spans: Spans) -> dict[tuple[str, str], Throttling]:
    """Return, per device that can throttle, the first slowdown among its comparable segments."""
    found = {}
    for lane, who in enumerate(spans.workers):
        if CAN_THROTTLE not in who[1].upper():  # AUTO and MULTI name what they chose
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
    """(n,) segments with equal numbers may be held against each other.

    The segments of a film with enough of them are compared among themselves. Films too short for that are taken
    together where picture size, codec and frame rate are the same: one camera's clips.
    """
    _, which, segments = np.unique(film, return_inverse=True, return_counts=True)
    long = (segments >= 2 * MEDIAN_OF)[which]
    return np.where(long, which, len(segments) + formats)


def share_of_best(frames_per_s: NDArray[np.float64], group: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) each segment's speed as a share of the best in its group: the 95th percentile, as one may be a fluke."""
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
    # The window that is slow first has one fast segment at most: the slowness began with the one after it.
    began = first + int(np.argmax(speeds[first : first + MEDIAN_OF] < THROTTLED * best[first]))
    return Throttling(float(begun[began]), float(levels[slow].min()), float(best[first]))


def count_lines(counts: SegmentCounts) -> dict[str, str]:
    """Segments and frames, label -> text."""
    if not counts.expected:
        return {"segments": "nothing new: everything is in the database"}
    return {
        "segments": f"{counts.expected:,} expected, {counts.done:,} loaded, {counts.quarantined:,} in quarantine, "
        f"{counts.missing:,} missing",
        "frames": f"{counts.frames_expected:,} expected, {counts.frames_done:,} loaded, "
        f"{counts.frames_undecodable:,} undecodable, {counts.frames_quarantined:,} in quarantine, "
        f"{counts.frames_missing:,} missing",
    }


def _rows_line(rows: int, task: str) -> dict[str, str]:
    if task == "classification":
        return {"labels": f"{rows:,} rows, one per frame that was looked at"}
    return {"people": f"{rows:,} rows, one per person per frame"}


def crowd_table(account: Account) -> list[dict[str, Any]]:
    """One row per video of `crowds`: the most people in one frame, and where in the video."""
    return [
        {"people": crowd.most_people, "at": film_clock(crowd.second), "video": crowd.video} for crowd in account.crowds
    ]


def device_table(account: Account) -> list[dict[str, Any]]:
    """One row per device, column -> value."""
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
    """One row per video, column -> value; a column of faults is left out where it is 0 in all of them."""
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
