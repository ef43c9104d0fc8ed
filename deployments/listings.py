"""The listings: all columns of each, and the five or six that fit a terminal of 80 columns."""

from collections.abc import Mapping
from dataclasses import dataclass

from deployments.answers import Column, minute, seconds, whole


@dataclass(frozen=True)
class TableQuery:
    """A SELECT of all columns. narrow: column -> how the narrow table shows it"""

    statement: str
    narrow: Mapping[str, Column]


MODELS = TableQuery(
    "SELECT CASE shown.chosen_by WHEN 'person' THEN '-> by hand' WHEN 'batch' THEN '->' ELSE '' END AS shown,"
    " m.name, substr(m.version_sha256, 1, 12) AS version, m.task, m.precision, m.frames_per_second, m.source_format,"
    " m.source_location, m.registered_at, m.model_version_id, m.version_sha256"
    " FROM model_versions AS m LEFT JOIN shown_models AS shown ON shown.model_version_id = m.model_version_id"
    " ORDER BY m.name, m.registered_at",
    {
        "shown": Column("shown"),
        "name": Column("model", flexible=True),
        "version": Column("version"),
        "task": Column("task"),
        "precision": Column("precision"),
        "registered_at": Column("registered", minute),
    },
)

VIDEOS = TableQuery(
    "SELECT video, frames, duration_s, model, segments_done, segments_quarantined, frames_done, frames_undecodable,"
    " people, labels, coalesce(people, labels) AS found, width, height, fps, sha256"
    " FROM video_summary ORDER BY video",
    {
        "video": Column("video", flexible=True),
        "duration_s": Column("length", seconds),
        "frames": Column("frames", whole),
        "frames_done": Column("done", whole),
        "found": Column("rows", whole),
        "model": Column("model", flexible=True),
    },
)

BATCHES = TableQuery(
    "SELECT batch_id, status, started_at, estimated_s, duration_s, archive, model, dispatch, files_listed,"
    " files_quarantined, frames_expected, frames_done, frames_undecodable, frames_quarantined, frames_missing, people,"
    " error, batch_key FROM batch_summary"
    " WHERE batch_id IN (SELECT batch_id FROM batches WHERE forgotten_at IS NULL) ORDER BY started_at DESC",
    {
        "batch_id": Column("batch"),
        "started_at": Column("started", minute),
        "status": Column("status"),
        "duration_s": Column("took", seconds),
        "model": Column("model", flexible=True),
        "frames_done": Column("frames", whole),
    },
)

QUARANTINE = TableQuery(
    "SELECT since, archive, key, model, start_frame, stop_frame, reason FROM quarantine ORDER BY since",
    {
        "since": Column("since", minute),
        "key": Column("file", flexible=True),
        "model": Column("model", flexible=True),
        "start_frame": Column("from frame"),
        "reason": Column("reason", flexible=True),
    },
)

IGNORED = TableQuery(
    "SELECT key, reason, archive FROM ignored_files ORDER BY archive, key",
    {"key": Column("file", flexible=True), "reason": Column("reason", flexible=True)},
)

TRAININGS = TableQuery(
    "SELECT r.training_run_id AS run, r.status, r.started_at, r.name, r.preset, r.pictures_test, r.accuracy, r.roc_auc,"
    " r.false_negatives + r.false_positives AS failures, substr(m.version_sha256, 1, 12) AS version, r.error"
    " FROM training_runs AS r LEFT JOIN model_versions AS m ON m.model_version_id = r.model_version_id"
    " ORDER BY r.training_run_id",
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
