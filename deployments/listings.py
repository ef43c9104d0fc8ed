"""The listings as tables: the five or six columns of each that fit a terminal of 80 characters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployments.answers import Column, minute, seconds, whole
from storage.sql import listings
from storage.sql.listings import Listing


@dataclass(frozen=True)
class ListingTable:
    """A listing as a table. narrow: column -> its form in the narrow table"""

    listing: Listing[Any]
    narrow: Mapping[str, Column]


MODELS = ListingTable(
    listings.MODELS,
    {
        "shown": Column("shown"),
        "name": Column("model", flexible=True),
        "version": Column("version"),
        "task": Column("task"),
        "precision": Column("precision"),
        "registered_at": Column("registered", minute),
    },
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
)

SPEEDS = {
    "model": Column("model", flexible=True),
    "device": Column("device", flexible=True),
    "model_frames_per_s": Column("model alone, frames/s"),
    "pipeline_frames_per_s": Column("video to rows, frames/s"),
    "ap": Column("AP"),
    "measured_at": Column("measured", minute),
}
