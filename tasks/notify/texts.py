"""Texts of messages. Names from outside are made harmless: they cannot add lines, nor call people in a chat."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from storage.ledger.account import RefusedFile
from storage.ledger.batches import SegmentCounts
from storage.ledger.news import EndedBatch, NewEvent
from storage.sql.schema.events import SEVERITIES
from tasks.text.wording import count, duration

MOST_CHARACTERS = 120  # of a name
MOST_REASONS = 3
# Discord, Slack and others call people by these.
CALLS = re.compile(r"@(?=everyone|here|channel|all\b)|<(?=[@!#])")


def harmless(name: str, most: int = MOST_CHARACTERS) -> str:
    """Return a name from outside in one line, without control and formatting characters, and not too long."""
    line = "".join(" " if unicodedata.category(letter).startswith(("C", "Z")) else letter for letter in name)
    short = line if len(line) <= most else f"{line[: most - 1]}…"
    return CALLS.sub(lambda found: f"{found[0]}\u200b", short)


def event_title(event: NewEvent) -> str:
    """`Critical: fall at back door`"""
    where = f" at {harmless(event.camera)}" if event.camera else ""
    return f"{event.severity.capitalize()}: {harmless(event.rule)}{where}"


def event_text(event: NewEvent, video: str, page: str) -> str:
    """Describe an event. video: name of the peak's video; page: address of the event's page"""
    from_s = max(0.0, event.from_s - event.peak_start_s)
    lines = [
        ("when", _local_time(event)),
        ("camera", harmless(event.camera or "")),
        ("video", f"{harmless(video)}, from {from_s:.1f} s"),
        ("lasted", duration(event.to_s - event.from_s)),
        ("person", str(event.track) if event.track is not None else ""),
        ("zone", harmless(event.zone or "")),
        ("score", f"{event.score:.2f}"),
        ("page", page),
    ]
    return "\n".join(f"{label}: {text}" for label, text in lines if text)


def _local_time(event: NewEvent) -> str:
    """Return the event's beginning in the camera's time zone; empty without a clock."""
    if event.peak_start_at is None:
        return ""
    began = event.peak_start_at + timedelta(seconds=event.from_s - event.peak_start_s)
    local = began.astimezone(ZoneInfo(event.time_zone) if event.time_zone else UTC)
    return f"{local:%Y-%m-%d %H:%M:%S} ({event.time_zone or 'UTC'})"


def more_events_text(severity: str, most: int, others: Sequence[NewEvent], page: str) -> str:
    """Describe the events beyond the number that is sent one by one. page: address of the page of all events"""
    return (
        f"More than {most} events of the severity {severity} in this night. The others are not told one by one.\n"
        f"so far: {by_rule(others)}\n"
        "'nightjar events' lists all of them.\n"
        f"page: {page}"
    )


def by_rule(events: Iterable[NewEvent]) -> str:
    """`fall 2, hand_raised 1`, the most frequent rule first."""
    numbers = Counter(harmless(event.rule) for event in events)
    return ", ".join(f"{rule} {number}" for rule, number in numbers.most_common())


@dataclass(frozen=True)
class NightFacts:
    """The facts about a batch that its message tells. links: addresses of pages and files"""

    batch: EndedBatch
    counts: SegmentCounts
    files_listed: int
    refused: Sequence[RefusedFile]
    events: Sequence[NewEvent]
    links: Sequence[str]

    @property
    def severity(self) -> str:
        return {"completed": "info", "crashed": "critical"}.get(self.batch.status, "warning")


def night_title(night: NightFacts, zone: ZoneInfo) -> str:
    """`Night of 28 Nov: completed, 3 events`"""
    events = f", {count(len(night.events), 'event')}" if night.events else ""
    return f"Night of {night.batch.started_at.astimezone(zone):%d %b}: {night.batch.status}{events}"


def night_text(night: NightFacts, zone: ZoneInfo) -> str:
    """Describe what happened, what failed, what is missing, and what is quarantined."""
    batch, counts = night.batch, night.counts
    took = duration((batch.finished_at - batch.started_at).total_seconds())
    missing = f"{count(counts.missing, 'segment')} with {count(counts.frames_missing, 'frame')}"
    lines = [
        ("archive", harmless(batch.archive)),
        ("batch", f"{batch.batch_id}, {batch.status}, {_clock(batch.started_at, zone)}, took {took}"),
        ("events", by_rule(night.events) or "none"),
        ("processed", f"{count(counts.frames_done, 'frame')} of {count(night.files_listed, 'file')} listed"),
        ("failed", harmless(batch.error or "", 400)),
        ("missing", missing if counts.missing else ""),
        ("quarantined", _quarantined(night.refused)),
    ]
    return "\n".join([*(f"{label}: {text}" for label, text in lines if text), *night.links])


def _quarantined(refused: Sequence[RefusedFile]) -> str:
    reasons = Counter(harmless(row.reason) for row in refused)
    common = "; ".join(f"{number} x {reason}" for reason, number in reasons.most_common(MOST_REASONS))
    return f"{len(refused):,}, {common}" if refused else ""


def _clock(at: datetime, zone: ZoneInfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M}"


def worst(events: Sequence[NewEvent]) -> NewEvent | None:
    """Return the event of the highest severity and score; None without any."""
    return max(events, key=lambda event: (SEVERITIES.index(event.severity), event.score), default=None)
