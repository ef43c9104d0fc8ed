"""Recordings, and the tracks and motion of their people."""

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from storage.sql.clock import UtcDateTime
from storage.sql.schema.base import metadata, one_of
from storage.track_rows import MOTION_VALUES, SMOOTHED_COLUMNS

ANALYSIS_STATUSES = ("running", "done")

recordings = Table(
    "recordings",
    metadata,
    Column("recording_id", Integer, primary_key=True),
    Column("camera", Text),
    Column("start_at", UtcDateTime),
    Column("time_zone", Text),
    Column("created_at", UtcDateTime, nullable=False),
    sqlite_autoincrement=True,
)

recording_videos = Table(
    "recording_videos",
    metadata,
    Column("recording_id", ForeignKey("recordings.recording_id"), primary_key=True),
    Column("video_id", ForeignKey("videos.video_id"), primary_key=True, index=True),
    Column("position", Integer, nullable=False, server_default="0"),
    # Of the video's first frame: its number in the recording, its second on the recording's clock, and its time.
    Column("start_frame", BigInteger, nullable=False, server_default="0"),
    Column("start_s", Double, nullable=False, server_default="0"),
    Column("start_at", UtcDateTime),
    # Of the camera's time zone, so that SQL can tell local time: at the start, and from a second of the video on.
    Column("utc_offset_s", Integer),
    Column("offset_changes_s", Double),
    Column("later_utc_offset_s", Integer),
    UniqueConstraint("recording_id", "position"),
)

analysis_versions = Table(
    "analysis_versions",
    metadata,
    Column("analysis_version_id", Integer, primary_key=True),
    Column("version_sha256", Text, nullable=False, unique=True),
    Column("params", Text, nullable=False),
    Column("registered_at", UtcDateTime, nullable=False),
)

shown_analysis = Table(
    "shown_analysis",
    metadata,
    Column("shown_analysis_id", Integer, primary_key=True),
    Column("analysis_version_id", ForeignKey("analysis_versions.analysis_version_id"), nullable=False),
    Column("since", UtcDateTime, nullable=False),
    CheckConstraint("shown_analysis_id = 1", name="one_row"),
)

_REPLACED = text("status IS NULL")
analyses = Table(
    "analyses",
    metadata,
    Column("analysis_id", Integer, primary_key=True),
    Column("recording_id", ForeignKey("recordings.recording_id"), nullable=False),
    Column("video_id", ForeignKey("videos.video_id"), nullable=False),
    Column("model_version_id", ForeignKey("model_versions.model_version_id"), nullable=False),
    Column("analysis_version_id", ForeignKey("analysis_versions.analysis_version_id"), nullable=False),
    Column("status", Text),  # NULL: replaced or given up, and about to be deleted
    Column("made_from", Text, nullable=False),
    Column("people", BigInteger, nullable=False, server_default="0"),
    Column("tracks", Integer, nullable=False, server_default="0"),
    # The analysis of the recording's next video continues from the checkpoint, which is of this frame. It replaces the
    # rows of this frame and later ones, which were made without knowing how the recording goes on.
    Column("decided_frame", Integer),
    Column("checkpoint", LargeBinary),
    Column("continued_by", Text),  # made_from of the analysis that has replaced these rows; NULL: none has
    Column("owner", Text),
    Column("lease_until", UtcDateTime),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    # One process at a time makes an analysis, and one is shown. Not partial: PostgreSQL leaves a join out of a query
    # only for an index of all rows.
    UniqueConstraint("recording_id", "video_id", "model_version_id", "analysis_version_id", "status"),
    Index(None, "video_id", "model_version_id"),
    Index("ix_analyses_replaced", "analysis_id", postgresql_where=_REPLACED, sqlite_where=_REPLACED),
    one_of("status", ANALYSIS_STATUSES),
    CheckConstraint("(status = 'running') = (owner IS NOT NULL)", name="owner"),
    CheckConstraint("(status = 'running') = (lease_until IS NOT NULL)", name="lease"),
    CheckConstraint("status <> 'done' OR finished_at IS NOT NULL", name="finished"),
    # A number is never reused, because a process that lost its analysis may still hold it.
    sqlite_autoincrement=True,
)

# The rows of an analysis have no foreign keys, like those of `poses`.
tracks = Table(
    "tracks",
    metadata,
    Column("analysis_id", Integer, nullable=False),
    Column("track", Integer, nullable=False),
    Column("recording_id", Integer, nullable=False),
    Column("first_frame", Integer, nullable=False),
    Column("last_frame", Integer, nullable=False),
    Column("first_s", Double, nullable=False),
    Column("last_s", Double, nullable=False),
    Column("frames", Integer, nullable=False),
    Column("mean_score", REAL, nullable=False),
    Column("box_left", REAL),
    Column("box_top", REAL),
    Column("box_width", REAL),
    Column("box_height", REAL),
    PrimaryKeyConstraint("analysis_id", "track"),
    Index(None, "recording_id", "track"),
    sqlite_with_rowid=False,
)

pose_tracks = Table(
    "pose_tracks",
    metadata,
    Column("analysis_id", Integer, nullable=False),
    Column("frame", Integer, nullable=False),
    Column("person", SmallInteger, nullable=False),
    Column("track", Integer, nullable=False),
    PrimaryKeyConstraint("analysis_id", "frame", "person"),
    sqlite_with_rowid=False,
)

motion = Table(
    "motion",
    metadata,
    Column("analysis_id", Integer, nullable=False),
    Column("track", Integer, nullable=False),
    Column("frame", Integer, nullable=False),
    Column("t_s", Double, nullable=False),
    Column("filled", Boolean, nullable=False),
    *(Column(name, REAL) for name in MOTION_VALUES),
    *(Column(name, REAL) for name in SMOOTHED_COLUMNS),
    PrimaryKeyConstraint("analysis_id", "track", "frame"),
    sqlite_with_rowid=False,
)
