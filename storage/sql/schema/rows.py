"""Rows of results: people and labels in frames."""

from sqlalchemy import (
    REAL,
    Column,
    Double,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)

from storage.rows import KEYPOINT_COLUMNS
from storage.sql.schema.base import metadata

# Rows are added only with their ledger entry, which has the foreign keys: here PostgreSQL would
# check two of them for every row, and load 99,000 rows/s instead of 204,000.
poses = Table(
    "poses",
    metadata,
    Column("video_id", Integer, nullable=False),
    Column("model_version_id", Integer, nullable=False),
    Column("frame", Integer, nullable=False),
    Column("person", SmallInteger, nullable=False),
    Column("t_s", Double, nullable=False),
    Column("score", REAL, nullable=False),
    *(Column(name, REAL) for name in KEYPOINT_COLUMNS),
    PrimaryKeyConstraint("video_id", "model_version_id", "frame", "person"),
    sqlite_with_rowid=False,
)

# For queries of crowds or gaps, which would otherwise read all of `poses`.
pose_seconds = Table(
    "pose_seconds",
    metadata,
    Column("video_id", Integer, nullable=False),
    Column("model_version_id", Integer, nullable=False),
    Column("frame", Integer, nullable=False),
    Column("second", Integer, nullable=False),
    Column("first_s", Double, nullable=False),
    Column("last_s", Double, nullable=False),
    Column("frames_seen", Integer, nullable=False),
    Column("most_people", SmallInteger, nullable=False),
    PrimaryKeyConstraint("video_id", "model_version_id", "frame"),
    sqlite_with_rowid=False,
)

# A condition of docs/queries.md that few rows fulfil: a scan of ten million rows takes seconds.
HAND_UP = text("left_wrist_y < nose_y OR right_wrist_y < nose_y")
_key = (poses.c.video_id, poses.c.model_version_id, poses.c.frame, poses.c.t_s)
Index("ix_poses_hand_up", *_key, postgresql_where=HAND_UP).ddl_if(dialect="postgresql")

classifications = Table(
    "classifications",
    metadata,
    Column("video_id", Integer, nullable=False),
    Column("model_version_id", Integer, nullable=False),
    Column("frame", Integer, nullable=False),
    Column("label", Text, nullable=False),
    Column("t_s", Double, nullable=False),
    Column("score", REAL, nullable=False),
    # Where in the frame the score is from; NULL where the model looks at whole frames.
    Column("region_left", Integer),
    Column("region_top", Integer),
    Column("region_width", Integer),
    Column("region_height", Integer),
    PrimaryKeyConstraint("video_id", "model_version_id", "frame", "label"),
    sqlite_with_rowid=False,
)
