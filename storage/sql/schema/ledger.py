"""Model versions, and the ledger of segments, batches and assignments."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from storage.sql.clock import UtcDateTime
from storage.sql.schema.base import metadata, one_of

SEGMENT_STATUSES = ("planned", "leased", "done", "quarantined")
BATCH_STATUSES = ("running", "completed", "incomplete", "crashed", "cancelled")
ASSIGNMENT_STATUSES = ("waiting", "working", "done", "lost", "dismissed")
CHOOSERS = ("batch", "person")

model_versions = Table(
    "model_versions",
    metadata,
    Column("model_version_id", Integer, primary_key=True),
    Column("version_sha256", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False, index=True),
    Column("task", Text, nullable=False),
    Column("ir_sha256", Text, nullable=False),
    Column("source_location", Text, nullable=False),
    Column("source_sha256", Text, nullable=False),
    Column("source_format", Text, nullable=False),
    Column("precision", Text, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("frames_per_second", Double),  # NULL: every frame
    Column("registered_at", UtcDateTime, nullable=False),
)

shown_models = Table(
    "shown_models",
    metadata,
    Column("task", Text, primary_key=True),
    Column("model_version_id", ForeignKey("model_versions.model_version_id"), nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("chosen_by", Text, nullable=False, server_default="batch"),
    one_of("chosen_by", CHOOSERS),
)

label_settings = Table(
    "label_settings",
    metadata,
    Column("model_version_id", ForeignKey("model_versions.model_version_id"), primary_key=True),
    Column("label", Text, nullable=False),
    Column("other_label", Text, nullable=False),
    Column("enter_score", Double, nullable=False),
    Column("leave_score", Double, nullable=False),
    Column("min_duration_s", Double, nullable=False),
    CheckConstraint("label <> other_label", name="labels"),
    CheckConstraint("0 <= leave_score AND leave_score <= enter_score AND enter_score <= 1", name="scores"),
    CheckConstraint("0 <= min_duration_s", name="duration"),
)

batches = Table(
    "batches",
    metadata,
    Column("batch_id", Integer, primary_key=True),
    Column("batch_key", Text, nullable=False, unique=True),
    Column("archive", Text, nullable=False),
    Column("model_version_id", ForeignKey("model_versions.model_version_id"), nullable=False),
    Column("dispatch", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("flow_run_id", Text),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("status", Text, nullable=False),
    Column("error", Text),
    Column("files_listed", Integer),
    Column("files_quarantined", Integer),
    # Counts at the batch's end; a running batch is counted from batch_segments.
    Column("segments_done", Integer),
    Column("segments_quarantined", Integer),
    Column("segments_missing", Integer),
    Column("frames_done", BigInteger),
    Column("frames_undecodable", BigInteger),
    Column("frames_quarantined", BigInteger),
    Column("frames_missing", BigInteger),
    Column("people", BigInteger),
    Column("estimated_s", Double),
    Column("forgotten_at", UtcDateTime),
    Column("notified_at", UtcDateTime),  # NULL: its outcome is not in the outbox yet
    one_of("dispatch", ("local", "fleet")),
    one_of("status", BATCH_STATUSES),
    CheckConstraint("(status = 'running') = (finished_at IS NULL)", name="finished"),
)

assignments = Table(
    "assignments",
    metadata,
    Column("assignment_id", Text, primary_key=True),
    Column("batch_id", ForeignKey("batches.batch_id"), nullable=False, index=True),
    Column("flow_run_id", Text),
    Column("status", Text, nullable=False),
    Column("worker", Text),
    Column("device", Text),
    Column("segments", Integer, nullable=False),
    Column("frames", BigInteger, nullable=False),
    Column("reason", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("granted_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    one_of("status", ASSIGNMENT_STATUSES),
    CheckConstraint("(status IN ('waiting', 'working')) = (ended_at IS NULL)", name="ended"),
)

_FREE, _OWNED = text("status IN ('planned', 'leased')"), text("owner IS NOT NULL")
_GIVEN_UP, _AWAITING = text("status = 'quarantined'"), text("awaits_analysis")

segments = Table(
    "segments",
    metadata,
    Column("segment_id", Integer, primary_key=True),
    Column("video_id", ForeignKey("videos.video_id"), nullable=False),
    Column("model_version_id", ForeignKey("model_versions.model_version_id"), nullable=False),
    Column("start_frame", Integer, nullable=False),
    Column("stop_frame", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("owner", Text),
    Column("lease_until", UtcDateTime),
    Column("batch_id", ForeignKey("batches.batch_id"), index=True),
    Column("device", Text),
    Column("precision", Text),
    Column("worker", Text),
    Column("frames_done", Integer),
    Column("undecodable_frames", Integer),
    Column("undecodable", Text),
    Column("people", Integer),
    Column("result_key", Text),
    Column("result_sha256", Text),
    Column("wall_s", Double),
    Column("reason", Text),
    Column("retry", Boolean, nullable=False, server_default=text("false")),
    Column("planned_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    # Set together with the rows, and cleared by the analysis that contains them.
    Column("awaits_analysis", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("video_id", "model_version_id", "start_frame"),
    Index(None, "model_version_id", "status"),
    Index(
        "ix_segments_awaiting",
        "model_version_id",
        "video_id",
        postgresql_where=_AWAITING,
        sqlite_where=_AWAITING,
    ),
    # Free segments in the order in which they are claimed: without it, each claim sorts all remaining ones.
    Index("ix_segments_free", "tries", "segment_id", postgresql_where=_FREE, sqlite_where=_FREE),
    Index("ix_segments_quarantined", "video_id", postgresql_where=_GIVEN_UP, sqlite_where=_GIVEN_UP),
    Index("ix_segments_owner", "owner", postgresql_where=_OWNED, sqlite_where=_OWNED),
    one_of("status", SEGMENT_STATUSES),
    CheckConstraint("0 <= start_frame AND start_frame < stop_frame", name="frames"),
    CheckConstraint("0 <= tries AND tries <= attempt", name="attempt"),
    CheckConstraint("(status = 'leased') = (owner IS NOT NULL)", name="owner"),
    CheckConstraint("(status = 'leased') = (lease_until IS NOT NULL)", name="lease"),
    CheckConstraint("(status IN ('done', 'quarantined')) = (finished_at IS NOT NULL)", name="finished"),
    CheckConstraint("status <> 'done' OR (frames_done IS NOT NULL AND people IS NOT NULL)", name="done"),
    CheckConstraint("status <> 'quarantined' OR reason IS NOT NULL", name="quarantined"),
)

batch_segments = Table(
    "batch_segments",
    metadata,
    Column("batch_id", ForeignKey("batches.batch_id"), primary_key=True),
    Column("segment_id", ForeignKey("segments.segment_id"), primary_key=True, index=True),
    sqlite_with_rowid=False,
)
