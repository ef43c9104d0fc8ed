"""The listings as tables: the five or six columns of each that fit a terminal of 80 characters."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from deployments.answers import Column, hundredths, minute, seconds, share, tenths, three_digits, whole
from models.events.definition import RuleDefinition
from storage.sql import listings
from storage.sql.events.listing import ListedEvent
from storage.sql.listings import Listing
from tasks.browse import links
from tasks.browse.links import Pages


@dataclass(frozen=True)
class ListingTable:
    """A listing as a table.

    narrow: column -> its form in the narrow table
    overview: path of the page about all rows, "" without one
    page: returns the path of a row's page; None: rows have none
    """

    listing: Listing[Any]
    narrow: Mapping[str, Column]
    overview: str = ""
    page: Callable[[Any], str] | None = None


def with_pages(
    columns: Iterable[str], rows: Iterable[Any], page: Callable[[Any], str] | None, pages: Pages
) -> tuple[list[str], Iterator[Any]]:
    """Return columns and rows with one more, the address of the row's page; unchanged without `page`."""
    if page is None:
        return list(columns), iter(rows)
    return [*columns, "page"], ((*row, pages.at(page(row))) for row in rows)


MODELS = ListingTable(
    listings.MODELS,
    {
        "shown": Column("shown"),
        "name": Column("model", flexible=True),
        "version": Column("version"),
        "size": Column("size"),
        "precision": Column("precision"),
        "registered_at": Column("registered", minute),
    },
    links.MODELS,
)

VIDEOS = ListingTable(
    listings.VIDEOS,
    {
        "video": Column("video", flexible=True),
        "duration_s": Column("length", seconds),
        "frames": Column("frames", whole),
        "frames_done": Column("done", whole),
        "found": Column("rows", whole),
        "model": Column("model", flexible=True),
    },
    links.START,
    lambda row: links.video_path(row.sha256),
)

RECORDINGS = ListingTable(
    listings.RECORDINGS,
    {
        "camera": Column("camera", flexible=True),
        "from_at": Column("from", minute),
        "to_at": Column("to", minute),
        "files": Column("files", whole),
        "tracks": Column("tracks", whole),
    },
    links.START,
    lambda row: links.recording_path(row.recording),
)

TRACK_COLUMNS = {
    "track": Column("track"),
    "first_s": Column("from, s", tenths),
    "last_s": Column("to, s", tenths),
    "duration_s": Column("stayed", seconds),
    "frames": Column("frames", whole),
    "mean_score": Column("score", hundredths),
}

ZONE_COLUMNS = {
    "camera": Column("camera", flexible=True),
    "zone": Column("zone", flexible=True),
    "kind": Column("kind"),
    "shape": Column("shape"),
    "corners": Column("points"),
    "valid_from": Column("holds from"),
}

EVENT_COLUMNS = {
    "when": Column("when", flexible=True),
    "rule": Column("rule"),
    "severity": Column("severity"),
    "where": Column("camera, zone", flexible=True),
    "track": Column("track"),
    "lasted": Column("lasted", seconds),
}


def narrow_event(event: ListedEvent, zone: ZoneInfo) -> tuple[Any, ...]:
    """Return the cells of EVENT_COLUMNS. zone: of the times; without a clock: the video and its second"""
    when = f"{event.video}, {event.from_s:.1f} s"
    if event.from_at is not None:
        when = f"{event.from_at.astimezone(zone):%Y-%m-%d %H:%M:%S}"
    where = ", ".join(filter(None, (event.camera, event.zone)))
    return when, event.rule, event.severity, where, event.track, event.to_s - event.from_s


def event_page(event: ListedEvent) -> str:
    """Return the path of the page that shows the event in its video."""
    return links.video_path(event.sha256, t=max(0.0, event.from_s), track=event.track, event=event.event_key)


class ListedRule(NamedTuple):
    """A rule of some cameras. cameras: `all`, or the name of the one for which its settings differ"""

    rule: str
    cameras: str
    enabled: str
    severity: str
    meaning: str
    when: str
    score: str
    rows: str
    min_duration_s: float
    bridge_gap_s: float
    cool_down_s: float
    zones: str
    zone_kinds: str
    not_zones: str
    not_zone_kinds: str


RULE_COLUMNS = {
    "rule": Column("rule"),
    "enabled": Column("enabled"),
    "severity": Column("severity"),
    "cameras": Column("cameras", flexible=True),
    "meaning": Column("meaning", flexible=True),
}


def listed_rule(definition: RuleDefinition, camera: str, enabled: bool) -> ListedRule:
    """Return a rule in one line each. camera: "" = all"""
    lists = (definition.zones, definition.zone_kinds, definition.not_zones, definition.not_zone_kinds)
    return ListedRule(
        definition.rule,
        camera or "all",
        "yes" if enabled else "no",
        definition.severity,
        definition.meaning,
        " ".join(definition.when.split()),
        " ".join(definition.score.split()),
        definition.rows,
        *(definition.min_duration_s, definition.bridge_gap_s, definition.cool_down_s),
        *(", ".join(names) for names in lists),
    )


BATCHES = ListingTable(
    listings.BATCHES,
    {
        "batch_id": Column("batch"),
        "started_at": Column("started", minute),
        "status": Column("status"),
        "duration_s": Column("took", seconds),
        "model": Column("model", flexible=True),
        "frames_done": Column("frames", whole),
    },
    links.START,
    lambda row: links.night_path(row.batch_id),
)

QUARANTINE = ListingTable(
    listings.QUARANTINE,
    {
        "since": Column("since", minute),
        "key": Column("file", flexible=True),
        "model": Column("model", flexible=True),
        "start_frame": Column("from frame"),
        "reason": Column("reason", flexible=True),
    },
)

IGNORED = ListingTable(
    listings.IGNORED,
    {"key": Column("file", flexible=True), "reason": Column("reason", flexible=True)},
)

TRAININGS = ListingTable(
    listings.TRAININGS,
    {
        "run": Column("run"),
        "status": Column("status"),
        "started_at": Column("started", minute),
        "name": Column("name", flexible=True),
        "accuracy": Column("accuracy"),
        "failures": Column("failures"),
    },
    links.MODELS,
    lambda row: links.training_path(row.run),
)

# Of one model and size at most: accuracy on images, and cost. docs/decisions/140: no figure without its protocol.
MEASURED = {
    "model": Column("model", flexible=True),
    "size": Column("size"),
    "device": Column("device", flexible=True),
    "ap": Column("AP", share),
    "mean_oks": Column(("mean", "OKS"), share),
    "model_frames_per_s": Column(("alone,", "frames/s"), three_digits),
    "pipeline_frames_per_s": Column(("to rows,", "frames/s"), three_digits),
    "cpu_ms": Column(("alone,", "CPU ms"), three_digits),
}

REFERENCE = {
    "model": Column("model", flexible=True),
    "size": Column("size"),
    "ap": Column("AP", share),
    "mean_oks": Column(("mean", "OKS"), share),
    "single_mean_oks": Column(("one", "person"), share),
    "frames_per_s": Column("frames/s", three_digits),
    "cpu_ms": Column("CPU ms", three_digits),
    "purpose": Column("for"),
}
