"""The queries behind the commands that list models, videos, recordings, tracks, batches and others, and their rows."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import starmap
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import Engine

from storage.sql.query import query

Instant = datetime | str  # SQLite stores text, which a query returns unchanged
RowT = TypeVar("RowT", bound=tuple[Any, ...])


@dataclass(frozen=True)
class Listing(Generic[RowT]):
    """A query with one output column per field of its rows."""

    row: Callable[..., RowT]
    statement: str


def read_listing(engine: Engine, listing: Listing[RowT], limit: int | None = None) -> tuple[list[str], Iterator[RowT]]:
    """Return the names of the columns, and the rows as a stream. limit: number of rows; None for all"""
    columns, rows = query(engine, listing.statement + (f" LIMIT {limit:d}" if limit is not None else ""))
    return columns, starmap(listing.row, rows)


def input_size(manifest: str) -> str:
    """Read the input size from a model's manifest: N for a square, else HEIGHTxWIDTH; empty where it has none."""
    try:
        given = json.loads(manifest)["input"]
        height, width = (int(given["shape"][given["layout"].index(side)]) for side in "HW")
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return ""
    return str(height) if height == width else f"{height}x{width}"


class ListedModel(NamedTuple):
    """A model version.

    shown: `->` where the views show it; version: the first 12 digits of version_sha256
    size: of its input, as users write it
    """

    shown: str
    name: str
    version: str
    size: str
    task: str
    precision: str
    frames_per_second: float | None
    source_format: str
    source_location: str
    registered_at: Instant
    model_version_id: int
    version_sha256: str


def _listed_model(shown: str, name: str, version: str, manifest: str, *rest: Any) -> ListedModel:
    return ListedModel(shown, name, version, input_size(manifest), *rest)


MODELS = Listing(
    _listed_model,
    "SELECT CASE shown.chosen_by WHEN 'person' THEN '-> by hand' WHEN 'batch' THEN '->' ELSE '' END AS shown,"
    " m.name, substr(m.version_sha256, 1, 12) AS version, m.manifest AS size, m.task, m.precision,"
    " m.frames_per_second, m.source_format, m.source_location, m.registered_at, m.model_version_id, m.version_sha256"
    " FROM model_versions AS m LEFT JOIN shown_models AS shown ON shown.model_version_id = m.model_version_id"
    " ORDER BY m.name, m.registered_at",
)


class ListedVideo(NamedTuple):
    """A video and one shown model. found: rows of the model, whether people or labels."""

    video: str
    frames: int
    duration_s: float
    model: str | None
    segments_done: int
    segments_quarantined: int
    frames_done: int
    frames_undecodable: int
    people: int | None
    labels: int | None
    found: int | None
    width: int
    height: int
    fps: float | None
    sha256: str


VIDEOS = Listing(
    ListedVideo,
    "SELECT video, frames, duration_s, model, segments_done, segments_quarantined, frames_done, frames_undecodable,"
    " people, labels, coalesce(people, labels) AS found, width, height, fps, sha256"
    " FROM video_summary ORDER BY video",
)


class ListedTrack(NamedTuple):
    """A person who was seen in a video. duration_s: between the first and the last sighting in it, seconds"""

    track: int
    first_s: float
    last_s: float
    duration_s: float
    frames: int
    mean_score: float
    first_frame: int
    last_frame: int
    box_left: float
    box_top: float
    box_width: float
    box_height: float


def tracks_of_video(video_id: int) -> Listing[ListedTrack]:
    """List the tracks with sightings in a video, by their numbers in its first recording."""
    stored = {name: f"t.{name}" for name in ListedTrack._fields} | {"duration_s": "t.last_s - t.first_s AS duration_s"}
    return Listing(
        ListedTrack,
        f"SELECT {', '.join(stored.values())}"  # noqa: S608 # our names
        " FROM shown_models AS shown JOIN analyses AS a ON a.model_version_id = shown.model_version_id"
        " JOIN shown_analysis AS s ON s.analysis_version_id = a.analysis_version_id"
        " JOIN tracks AS t ON t.analysis_id = a.analysis_id"
        f" WHERE shown.task = 'pose' AND a.status = 'done' AND a.video_id = {video_id:d} AND a.recording_id ="
        f" (SELECT min(r.recording_id) FROM recording_videos AS r WHERE r.video_id = {video_id:d}) ORDER BY t.track",
    )


class ListedRecording(NamedTuple):
    """The files of one camera that follow each other. from_at, to_at: None without a clock"""

    recording: int
    camera: str | None
    from_at: Instant | None
    to_at: Instant | None
    duration_s: float
    files: int
    tracks: int


RECORDINGS = Listing(
    ListedRecording,
    "SELECT recording_id AS recording, camera, from_at, to_at, duration_s, files, tracks"
    " FROM recording_summary ORDER BY camera IS NULL, camera, from_at IS NULL, from_at, recording_id",
)


class ListedBatch(NamedTuple):
    """A batch that is not forgotten. Missing values: not counted or not known yet."""

    batch_id: int
    status: str
    started_at: Instant
    estimated_s: float | None
    duration_s: float | None
    archive: str
    model: str
    dispatch: str
    files_listed: int | None
    files_quarantined: int | None
    frames_expected: int | None
    frames_done: int | None
    frames_undecodable: int | None
    frames_quarantined: int | None
    frames_missing: int | None
    people: int | None
    error: str | None
    batch_key: str


BATCHES = Listing(
    ListedBatch,
    "SELECT batch_id, status, started_at, estimated_s, duration_s, archive, model, dispatch, files_listed,"
    " files_quarantined, frames_expected, frames_done, frames_undecodable, frames_quarantined, frames_missing, people,"
    " error, batch_key FROM batch_summary"
    " WHERE batch_id IN (SELECT batch_id FROM batches WHERE forgotten_at IS NULL) ORDER BY started_at DESC",
)


class ListedQuarantine(NamedTuple):
    """A file in quarantine, or a segment: frames [start_frame, stop_frame) and the model that failed on it."""

    since: Instant
    archive: str
    key: str
    model: str | None
    start_frame: int | None
    stop_frame: int | None
    reason: str


QUARANTINE = Listing(
    ListedQuarantine,
    "SELECT since, archive, key, model, start_frame, stop_frame, reason FROM quarantine ORDER BY since",
)


class ListedFile(NamedTuple):
    """A file of an archive that is not a video."""

    key: str
    reason: str
    archive: str


IGNORED = Listing(ListedFile, "SELECT key, reason, archive FROM ignored_files ORDER BY archive, key")


class ListedTraining(NamedTuple):
    """A fine-tuning run. failures: wrong answers on its test pictures; None before it was judged."""

    run: int
    status: str
    started_at: Instant
    name: str
    preset: str
    pictures_test: int
    accuracy: float | None
    roc_auc: float | None
    failures: int | None
    version: str | None
    error: str | None


TRAININGS = Listing(
    ListedTraining,
    "SELECT r.training_run_id AS run, r.status, r.started_at, r.name, r.preset, r.pictures_test, r.accuracy, r.roc_auc,"
    " r.false_negatives + r.false_positives AS failures, substr(m.version_sha256, 1, 12) AS version, r.error"
    " FROM training_runs AS r LEFT JOIN model_versions AS m ON m.model_version_id = r.model_version_id"
    " ORDER BY r.training_run_id",
)
