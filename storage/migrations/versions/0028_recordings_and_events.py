"""Cameras, clocks, recordings of several videos, zones, rules, events and messages.

Former analyses are of single videos. They are dropped, and the next batch or `nightjar analyze` makes new ones.
"""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
NEW_TABLES = (
    *("event_versions", "cameras", "zones", "rules", "event_runs", "visits", "crossings", "events", "messages"),
)


def upgrade() -> None:
    _add_clocks()
    _drop_analyses()
    _create_recordings()
    _create_analyses()
    _analyse_again()
    _create_definitions()
    _create_events()
    _create_messages()


def downgrade() -> None:
    for table in reversed(NEW_TABLES):
        op.drop_table(table)
    _drop_analyses()
    _create_former_analyses()
    _analyse_again()
    for column in ("camera", "start_at", "time_zone", "clock", "no_clock"):
        op.drop_column("archive_files", column)
    for column in ("creation_time", "creation_time_read"):
        op.drop_column("videos", column)


def _add_clocks() -> None:
    op.add_column("videos", sa.Column("creation_time", INSTANT))
    op.add_column("videos", sa.Column("creation_time_read", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("archive_files", sa.Column("camera", sa.Text()))
    op.add_column("archive_files", sa.Column("start_at", INSTANT))
    for name in ("time_zone", "clock", "no_clock"):
        op.add_column("archive_files", sa.Column(name, sa.Text()))


def _drop_analyses() -> None:
    for table in ("motion", "pose_tracks", "tracks"):
        op.execute(f"DELETE FROM {table}")  # noqa: S608 - our names
    for table in ("analyses", "recording_videos", "recordings"):
        op.drop_table(table)


def _analyse_again() -> None:
    op.execute(
        "UPDATE segments SET awaits_analysis = true WHERE status = 'done' AND model_version_id IN"
        " (SELECT model_version_id FROM model_versions WHERE task = 'pose')"
    )


def _create_recordings() -> None:
    op.create_table(
        "recordings",
        sa.Column("recording_id", sa.Integer(), primary_key=True),
        sa.Column("camera", sa.Text()),
        sa.Column("start_at", INSTANT),
        sa.Column("time_zone", sa.Text()),
        sa.Column("created_at", INSTANT, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "recording_videos",
        sa.Column("recording_id", sa.Integer(), sa.ForeignKey("recordings.recording_id"), primary_key=True),
        sa.Column("video_id", sa.Integer(), sa.ForeignKey("videos.video_id"), primary_key=True),
        sa.Column("position", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("start_frame", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("start_s", sa.Double(), nullable=False, server_default="0"),
        sa.Column("start_at", INSTANT),
        sa.UniqueConstraint("recording_id", "position"),
    )
    op.create_index("ix_recording_videos_video_id", "recording_videos", ["video_id"])


def _create_analyses() -> None:
    op.create_table(
        "analyses",
        sa.Column("analysis_id", sa.Integer(), primary_key=True),
        sa.Column("recording_id", sa.Integer(), sa.ForeignKey("recordings.recording_id"), nullable=False),
        sa.Column("video_id", sa.Integer(), sa.ForeignKey("videos.video_id"), nullable=False),
        sa.Column("model_version_id", sa.Integer(), sa.ForeignKey("model_versions.model_version_id"), nullable=False),
        sa.Column(
            "analysis_version_id", sa.Integer(), sa.ForeignKey("analysis_versions.analysis_version_id"), nullable=False
        ),
        sa.Column("status", sa.Text()),
        sa.Column("made_from", sa.Text(), nullable=False),
        sa.Column("people", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("tracks", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("decided_frame", sa.Integer()),
        sa.Column("checkpoint", sa.LargeBinary()),
        sa.Column("owner", sa.Text()),
        sa.Column("lease_until", INSTANT),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("finished_at", INSTANT),
        sa.UniqueConstraint("recording_id", "video_id", "model_version_id", "analysis_version_id", "status"),
        sa.CheckConstraint("status IN ('running', 'done')", name="status"),
        sa.CheckConstraint("(status = 'running') = (owner IS NOT NULL)", name="owner"),
        sa.CheckConstraint("(status = 'running') = (lease_until IS NOT NULL)", name="lease"),
        sa.CheckConstraint("status <> 'done' OR finished_at IS NOT NULL", name="finished"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_analyses_video_id_model_version_id", "analyses", ["video_id", "model_version_id"])
    _index_some("ix_analyses_replaced", "analyses", ["analysis_id"], "status IS NULL")


def _create_definitions() -> None:
    op.create_table(
        "event_versions",
        sa.Column("event_version_id", sa.Integer(), primary_key=True),
        sa.Column("version_sha256", sa.Text(), nullable=False, unique=True),
        sa.Column("registered_at", INSTANT, nullable=False),
    )
    op.create_table(
        "cameras",
        sa.Column("camera", sa.Text(), primary_key=True),
        sa.Column("event_version_id", sa.Integer(), sa.ForeignKey("event_versions.event_version_id")),
        sa.Column("since", INSTANT, nullable=False),
    )
    op.create_table(
        "zones",
        sa.Column("zone_id", sa.Integer(), primary_key=True),
        sa.Column("event_version_id", sa.Integer(), sa.ForeignKey("event_versions.event_version_id"), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("shape", sa.Text(), nullable=False),
        sa.Column("points", sa.Text(), nullable=False),
        sa.Column("valid_from", INSTANT),
        sa.Column("valid_to", INSTANT),
        sa.UniqueConstraint("event_version_id", "zone", "valid_from"),
        sa.CheckConstraint("shape IN ('polygon', 'line')", name="shape"),
    )
    op.create_table(
        "rules",
        sa.Column("rule_id", sa.Integer(), primary_key=True),
        sa.Column("event_version_id", sa.Integer(), sa.ForeignKey("event_versions.event_version_id"), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("rule_version", sa.Text(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.UniqueConstraint("event_version_id", "rule"),
        sa.CheckConstraint("severity IN ('info', 'warning', 'critical')", name="severity"),
    )


def _create_events() -> None:
    op.create_table(
        "event_runs",
        sa.Column("event_run_id", sa.Integer(), primary_key=True),
        sa.Column("analysis_id", sa.Integer(), nullable=False),
        sa.Column("event_version_id", sa.Integer(), sa.ForeignKey("event_versions.event_version_id"), nullable=False),
        sa.Column("checkpoint", sa.LargeBinary()),
        sa.Column("finished_at", INSTANT, nullable=False),
        sa.UniqueConstraint("analysis_id", "event_version_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "visits",
        sa.Column("event_run_id", sa.Integer(), nullable=False),
        sa.Column("zone_id", sa.Integer(), nullable=False),
        sa.Column("track", sa.Integer(), nullable=False),
        sa.Column("visit", sa.Integer(), nullable=False),
        sa.Column("entered_s", sa.Double(), nullable=False),
        sa.Column("left_s", sa.Double(), nullable=False),
        sa.Column("open", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.PrimaryKeyConstraint("event_run_id", "zone_id", "track", "visit"),
        sa.CheckConstraint("entered_s <= left_s", name="times"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "crossings",
        sa.Column("event_run_id", sa.Integer(), nullable=False),
        sa.Column("zone_id", sa.Integer(), nullable=False),
        sa.Column("track", sa.Integer(), nullable=False),
        sa.Column("crossing", sa.Integer(), nullable=False),
        sa.Column("at_s", sa.Double(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_run_id", "zone_id", "track", "crossing"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "events",
        sa.Column("event_id", sa.Integer(), primary_key=True),
        sa.Column("event_run_id", sa.Integer(), nullable=False),
        sa.Column("event_key", sa.Text(), nullable=False),
        sa.Column("rule_id", sa.Integer(), sa.ForeignKey("rules.rule_id"), nullable=False),
        sa.Column("track", sa.Integer()),
        sa.Column("zone_id", sa.Integer()),
        sa.Column("from_s", sa.Double(), nullable=False),
        sa.Column("to_s", sa.Double(), nullable=False),
        sa.Column("peak_s", sa.Double(), nullable=False),
        sa.Column("peak_video_id", sa.Integer(), nullable=False),
        sa.Column("peak_frame", sa.Integer(), nullable=False),
        sa.Column("score", sa.REAL(), nullable=False),
        sa.Column("open", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.CheckConstraint("from_s <= to_s", name="times"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_event_run_id", "events", ["event_run_id"])
    op.create_index("ix_events_event_key", "events", ["event_key"])


def _create_messages() -> None:
    op.create_table(
        "messages",
        sa.Column("message_id", sa.Integer(), primary_key=True),
        sa.Column("address_sha256", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False, server_default="waiting"),
        sa.Column("tries", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("owner", sa.Text()),
        sa.Column("lease_until", INSTANT),
        sa.Column("error", sa.Text()),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("next_try_at", INSTANT, nullable=False),
        sa.Column("sent_at", INSTANT),
        sa.UniqueConstraint("address_sha256", "kind", "about"),
        sa.CheckConstraint("kind IN ('event', 'night', 'missing_night', 'test')", name="kind"),
        sa.CheckConstraint("status IN ('waiting', 'sending', 'sent', 'given_up')", name="status"),
        sa.CheckConstraint("(status = 'sent') = (sent_at IS NOT NULL)", name="sent"),
    )
    _index_some("ix_messages_unsent", "messages", ["next_try_at"], "status IN ('waiting', 'sending')")


def _index_some(name: str, table: str, columns: list[str], condition: str) -> None:
    """Create a partial index."""
    where = sa.text(condition)
    op.create_index(name, table, columns, postgresql_where=where, sqlite_where=where)


def _create_former_analyses() -> None:
    """Create the tables of recordings as they were, empty."""
    op.create_table(
        "recordings",
        sa.Column("recording_id", sa.Integer(), primary_key=True),
        sa.Column("created_at", INSTANT, nullable=False),
    )
    op.create_table(
        "recording_videos",
        sa.Column("recording_id", sa.Integer(), sa.ForeignKey("recordings.recording_id"), primary_key=True),
        sa.Column("video_id", sa.Integer(), sa.ForeignKey("videos.video_id"), primary_key=True),
        sa.Column("start_s", sa.Double(), nullable=False, server_default="0"),
        sa.UniqueConstraint("video_id"),
    )
    op.create_table(
        "analyses",
        sa.Column("analysis_id", sa.Integer(), primary_key=True),
        sa.Column("recording_id", sa.Integer(), sa.ForeignKey("recordings.recording_id"), nullable=False),
        sa.Column("video_id", sa.Integer(), sa.ForeignKey("videos.video_id"), nullable=False),
        sa.Column("model_version_id", sa.Integer(), sa.ForeignKey("model_versions.model_version_id"), nullable=False),
        sa.Column(
            "analysis_version_id", sa.Integer(), sa.ForeignKey("analysis_versions.analysis_version_id"), nullable=False
        ),
        sa.Column("status", sa.Text()),
        sa.Column("made_from", sa.Text(), nullable=False),
        sa.Column("people", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("tracks", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("owner", sa.Text()),
        sa.Column("lease_until", INSTANT),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("finished_at", INSTANT),
        sa.CheckConstraint("status IN ('running', 'done')", name="status"),
        sa.CheckConstraint("(status = 'running') = (owner IS NOT NULL)", name="owner"),
        sa.CheckConstraint("(status = 'running') = (lease_until IS NOT NULL)", name="lease"),
        sa.CheckConstraint("status <> 'done' OR finished_at IS NOT NULL", name="finished"),
        sa.UniqueConstraint("video_id", "model_version_id", "analysis_version_id", "status"),
        sqlite_autoincrement=True,
    )
    _index_some("ix_analyses_replaced", "analyses", ["analysis_id"], "status IS NULL")
