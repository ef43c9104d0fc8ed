"""Damage of videos that batches found."""

from sqlalchemy import Engine, select

from storage.sql.database import reading
from storage.sql.tables import segments


def has_undecodable_frames(engine: Engine, video_id: int) -> bool:
    """Return whether a batch has met frames of the video that cannot be decoded."""
    damaged = select(segments.c.video_id).where(segments.c.video_id == video_id, segments.c.undecodable_frames > 0)
    with reading(engine) as connection:
        return connection.execute(damaged.limit(1)).first() is not None
