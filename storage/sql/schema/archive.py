"""Videos and the files of archives."""

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
    false,
    text,
)

from storage.sql.clock import UtcDateTime
from storage.sql.schema.base import metadata

videos = Table(
    "videos",
    metadata,
    Column("video_id", Integer, primary_key=True),
    Column("sha256", Text, nullable=False, unique=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("container", Text, nullable=False),
    Column("codec", Text, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("rotation", Integer, nullable=False),
    Column("frames", Integer, nullable=False),
    Column("fps", Double),  # NULL: a single frame
    Column("duration_s", Double, nullable=False),
    Column("stream", Integer, nullable=False, server_default="0"),
    Column("streams", Integer, nullable=False, server_default="1"),
    # A recording that was read while it was being written: the views show only the complete one.
    Column("superseded_by", ForeignKey("videos.video_id")),
    Column("probed_at", UtcDateTime, nullable=False),
    # The defaults are for rows from before these columns.
    Column("stored_width", Integer, nullable=False, server_default="0"),
    Column("stored_height", Integer, nullable=False, server_default="0"),
    Column("crop_left", Integer, nullable=False, server_default="0"),
    Column("crop_top", Integer, nullable=False, server_default="0"),
    Column("crop_right", Integer, nullable=False, server_default="0"),
    Column("crop_bottom", Integer, nullable=False, server_default="0"),
    Column("pixel_aspect", Double, nullable=False, server_default="1"),
    Column("mirrored", Boolean, nullable=False, server_default=false()),
    Column("unused_bytes", BigInteger, nullable=False, server_default="0"),
    # NULL: probed before these columns existed.
    Column("coded_bytes", BigInteger),
    Column("coded_sha256", Text),
    # As the container claims it, read as UTC. False: read by a version that did not look for it.
    Column("creation_time", UtcDateTime),
    Column("creation_time_read", Boolean, nullable=False, server_default=false()),
    Column("notified_at", UtcDateTime),  # NULL: its events are not in the outbox yet
    CheckConstraint("frames > 0", name="frames"),
)

time_repairs = Table(
    "time_repairs",
    metadata,
    Column("video_id", ForeignKey("videos.video_id"), primary_key=True),
    Column("start_frame", Integer, primary_key=True),
    Column("stop_frame", Integer, nullable=False),
    Column("frames", Integer, nullable=False),
    Column("clock_s", Double),
    CheckConstraint("0 <= start_frame AND start_frame < stop_frame", name="frames"),
)

_REFUSED = text("reason IS NOT NULL")
archive_files = Table(
    "archive_files",
    metadata,
    Column("archive", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("etag", Text, nullable=False),
    Column("video_id", ForeignKey("videos.video_id")),
    Column("reason", Text),
    Column("retry", Boolean, nullable=False, server_default=text("false")),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("read_at", UtcDateTime, nullable=False),
    Column("gone_at", UtcDateTime),
    # The former video of a refused file: a recording that was cut in mid-frame is read again when it is complete.
    Column("former_video_id", ForeignKey("videos.video_id")),
    # By the site file: where and when the file was taken. The same bytes may lie under two cameras.
    Column("camera", Text),
    Column("start_at", UtcDateTime),
    Column("time_zone", Text),
    Column("clock", Text),
    Column("no_clock", Text),
    Index("ix_archive_files_refused", "archive", postgresql_where=_REFUSED, sqlite_where=_REFUSED),
    CheckConstraint("(video_id IS NULL) <> (reason IS NULL)", name="video_or_reason"),
)
# The files of a video, the one that gives its name first. Ordered by bytes, whatever the server's language.
_names = {"sqlite": ("ix_archive_files_name", "key"), "postgresql": ("ix_archive_files_name_c", 'key COLLATE "C"')}
for _dialect, (_name, _bytes) in _names.items():
    _order = (archive_files.c.video_id, archive_files.c.gone_at.desc(), text(_bytes), archive_files.c.archive)
    Index(_name, *_order).ddl_if(dialect=_dialect)

ignored_files = Table(
    "ignored_files",
    metadata,
    Column("archive", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("size_bytes", BigInteger),
    Column("etag", Text),
    Column("reason", Text, nullable=False),
    Column("since", UtcDateTime, nullable=False),
)
