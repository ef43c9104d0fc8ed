"""Cameras with their zones and rules, the events that follow from these, marks of them, and messages about them."""

from sqlalchemy import (
    REAL,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from storage.sql.clock import UtcDateTime
from storage.sql.schema.base import metadata, one_of

ZONE_SHAPES = ("polygon", "line")
DIRECTIONS = ("left_to_right", "right_to_left")
SEVERITIES = ("info", "warning", "critical")
MARKS = ("right", "wrong")
MESSAGE_KINDS = ("event", "night", "missing_night", "test")
MESSAGE_STATUSES = ("waiting", "sending", "sent", "given_up")

# All zones and rules of one camera: whatever decides its events has one version.
event_versions = Table(
    "event_versions",
    metadata,
    Column("event_version_id", Integer, primary_key=True),
    Column("version_sha256", Text, nullable=False, unique=True),
    Column("registered_at", UtcDateTime, nullable=False),
)

# The empty name stands for videos without a camera.
cameras = Table(
    "cameras",
    metadata,
    Column("camera", Text, primary_key=True),
    # The version that the views show: NULL before the first one is complete.
    Column("event_version_id", ForeignKey("event_versions.event_version_id")),
    Column("since", UtcDateTime, nullable=False),
)

zones = Table(
    "zones",
    metadata,
    Column("zone_id", Integer, primary_key=True),
    Column("event_version_id", ForeignKey("event_versions.event_version_id"), nullable=False),
    Column("zone", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("shape", Text, nullable=False),
    Column("points", Text, nullable=False),  # JSON, [[x, y], …] in fractions of the picture
    Column("valid_from", UtcDateTime),
    Column("valid_to", UtcDateTime),
    UniqueConstraint("event_version_id", "zone", "valid_from"),
    one_of("shape", ZONE_SHAPES),
)

rules = Table(
    "rules",
    metadata,
    Column("rule_id", Integer, primary_key=True),
    Column("event_version_id", ForeignKey("event_versions.event_version_id"), nullable=False),
    Column("rule", Text, nullable=False),
    Column("rule_version", Text, nullable=False),  # sha256 of the definition
    Column("definition", Text, nullable=False),  # JSON
    Column("severity", Text, nullable=False),
    UniqueConstraint("event_version_id", "rule"),
    one_of("severity", SEVERITIES),
)

# The events of one analysis by one version. Written with all of its rows in one transaction.
event_runs = Table(
    "event_runs",
    metadata,
    Column("event_run_id", Integer, primary_key=True),
    Column("analysis_id", Integer, nullable=False),
    Column("event_version_id", ForeignKey("event_versions.event_version_id"), nullable=False),
    Column("checkpoint", LargeBinary),  # the run of the recording's next video continues from here
    Column("finished_at", UtcDateTime, nullable=False),
    UniqueConstraint("analysis_id", "event_version_id"),
    sqlite_autoincrement=True,
)

# Times are seconds on the recording's clock. A visit or an event belongs to the run of the video in which it ends. One
# that is not certain at the end of the video is `open`: the run of the next video has it whole, and the views leave the
# open one out then.
visits = Table(
    "visits",
    metadata,
    Column("event_run_id", Integer, nullable=False),
    Column("zone_id", Integer, nullable=False),
    Column("track", Integer, nullable=False),
    Column("visit", Integer, nullable=False),
    Column("video_id", Integer, nullable=False, index=True),  # in which it begins
    Column("entered_s", Double, nullable=False),
    Column("left_s", Double, nullable=False),
    Column("open", Boolean, nullable=False, server_default=false()),
    PrimaryKeyConstraint("event_run_id", "zone_id", "track", "visit"),
    CheckConstraint("entered_s <= left_s", name="times"),
    sqlite_with_rowid=False,
)

crossings = Table(
    "crossings",
    metadata,
    Column("event_run_id", Integer, nullable=False),
    Column("zone_id", Integer, nullable=False),
    Column("track", Integer, nullable=False),
    Column("crossing", Integer, nullable=False),
    Column("video_id", Integer, nullable=False, index=True),  # in which it happens
    Column("at_s", Double, nullable=False),
    Column("direction", Text, nullable=False),
    Column("open", Boolean, nullable=False, server_default=false()),
    one_of("direction", DIRECTIONS),
    PrimaryKeyConstraint("event_run_id", "zone_id", "track", "crossing"),
    sqlite_with_rowid=False,
)

# The view `events` shows these.
event_rows = Table(
    "event_rows",
    metadata,
    Column("event_id", Integer, primary_key=True),
    Column("event_run_id", Integer, nullable=False, index=True),
    Column("event_key", Text, nullable=False, index=True),  # equal for the same event made again
    Column("rule_id", ForeignKey("rules.rule_id"), nullable=False),
    Column("track", Integer),
    Column("zone_id", Integer),
    Column("video_id", Integer, nullable=False),  # in which it begins
    Column("from_s", Double, nullable=False),
    Column("to_s", Double, nullable=False),
    Column("peak_s", Double, nullable=False),
    Column("peak_video_id", Integer, nullable=False),
    Column("peak_frame", Integer, nullable=False),
    Column("score", REAL, nullable=False),
    Column("open", Boolean, nullable=False, server_default=false()),
    CheckConstraint("from_s <= to_s", name="times"),
    sqlite_autoincrement=True,
)

# Opinions of people about events. The key, not a reference: a mark outlives its event's row, which analyses replace.
event_marks = Table(
    "event_marks",
    metadata,
    Column("event_key", Text, primary_key=True),
    Column("mark", Text, nullable=False),
    Column("note", Text, nullable=False, server_default=""),
    Column("rule", Text, nullable=False),
    Column("rule_version", Text, nullable=False),
    Column("marked_at", UtcDateTime, nullable=False),
    one_of("mark", MARKS),
)

_UNSENT = text("status IN ('waiting', 'sending')")
# Each message once per address. The address itself may contain secrets and is not stored.
messages = Table(
    "messages",
    metadata,
    Column("message_id", Integer, primary_key=True),
    Column("address_sha256", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("about", Text, nullable=False),  # event_key, batch_key or day
    Column("content", Text, nullable=False),  # JSON
    Column("status", Text, nullable=False, server_default="waiting"),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("owner", Text),
    Column("lease_until", UtcDateTime),
    Column("error", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("next_try_at", UtcDateTime, nullable=False),
    Column("sent_at", UtcDateTime),
    UniqueConstraint("address_sha256", "kind", "about"),
    Index("ix_messages_unsent", "next_try_at", postgresql_where=_UNSENT, sqlite_where=_UNSENT),
    one_of("kind", MESSAGE_KINDS),
    one_of("status", MESSAGE_STATUSES),
    CheckConstraint("(status = 'sent') = (sent_at IS NOT NULL)", name="sent"),
)
