"""Batches, the videos of one, and the reasons why some of its work was not done. Read only."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Engine, Select, func, select, text

from storage.sql.clock import database_now, epoch_s
from storage.sql.database import reading
from storage.sql.tables import archive_files, batch_segments, batches, model_versions, segments, videos


class NightRow(NamedTuple):
    """A batch. Counts are None while it runs.

    took_s: until its end, or until now; estimated_s: None where nothing was measured before
    rows: people or labels
    """

    batch_id: int
    status: str
    owner: str
    flow_run_id: str | None
    started_at: datetime
    finished_at: datetime | None
    took_s: float
    estimated_s: float | None
    archive: str
    dispatch: str
    model: str
    task: str
    files_listed: int | None
    files_quarantined: int | None
    frames_done: int | None
    frames_undecodable: int | None
    frames_quarantined: int | None
    frames_missing: int | None
    rows: int | None
    error: str | None

    @property
    def frames_expected(self) -> int:
        """Frames of all segments of the batch."""
        return sum(
            each or 0
            for each in (self.frames_done, self.frames_undecodable, self.frames_quarantined, self.frames_missing)
        )

    @property
    def frames_per_s(self) -> float | None:
        """Processed frames per second of the whole batch; None if it processed none."""
        return self.frames_done / self.took_s if self.frames_done and self.took_s > 0 else None


class NightVideo(NamedTuple):
    """A video of a batch with its frames in this batch. rows: people or labels"""

    video: str
    sha256: str
    frames: int
    frames_done: int
    frames_undecodable: int
    segments_quarantined: int
    rows: int


class Refusal(NamedTuple):
    """A file or a segment in quarantine.

    sha256: of the segment's video; None for a file that is no video
    start_frame, stop_frame: of a segment; None for a file
    """

    reason: str
    name: str
    sha256: str | None
    start_frame: int | None
    stop_frame: int | None


def _nights() -> Select[Any]:
    took_s = epoch_s(func.coalesce(batches.c.finished_at, database_now())) - epoch_s(batches.c.started_at)
    special = {
        "took_s": took_s,
        "model": model_versions.c.name,
        "task": model_versions.c.task,
        "rows": batches.c.people,
    }
    columns = (special[name] if name in special else batches.c[name] for name in NightRow._fields)
    return select(*columns).join(model_versions, model_versions.c.model_version_id == batches.c.model_version_id)


def read_nights(engine: Engine, most: int) -> list[NightRow]:
    """Return the newest batches that are not forgotten, the newest first."""
    newest = _nights().where(batches.c.forgotten_at.is_(None)).order_by(batches.c.batch_id.desc()).limit(most)
    with reading(engine) as connection:
        return [NightRow(*row) for row in connection.execute(newest)]


def read_night(engine: Engine, batch_id: int) -> NightRow | None:
    """Return one batch; None if there is none of this number."""
    with reading(engine) as connection:
        row = connection.execute(_nights().where(batches.c.batch_id == batch_id)).first()
    return None if row is None else NightRow(*row)


def read_neighbours(engine: Engine, batch_id: int) -> tuple[int | None, int | None]:
    """Return the numbers of the batches before and after this one, without those that are forgotten."""
    listed = batches.c.forgotten_at.is_(None)
    before = select(func.max(batches.c.batch_id)).where(listed, batches.c.batch_id < batch_id)
    after = select(func.min(batches.c.batch_id)).where(listed, batches.c.batch_id > batch_id)
    with reading(engine) as connection:
        return connection.execute(before).scalar(), connection.execute(after).scalar()


# Grouped by number first: names are looked up for one page only. `here`: name in the archive of the batch.
VIDEOS = text("""
WITH mine AS (
    SELECT s.video_id, sum(s.stop_frame - s.start_frame) AS frames, coalesce(sum(s.frames_done), 0) AS frames_done,
           coalesce(sum(s.undecodable_frames), 0) AS frames_undecodable,
           count(CASE WHEN s.status = 'quarantined' THEN 1 END) AS segments_quarantined,
           coalesce(sum(s.people), 0) AS found
    FROM batch_segments AS e JOIN segments AS s ON s.segment_id = e.segment_id
    WHERE e.batch_id = :batch_id
    GROUP BY s.video_id
)
SELECT coalesce((SELECT coalesce(min(CASE WHEN f.gone_at IS NULL THEN f.key END), min(f.key))
                 FROM archive_files AS f WHERE f.video_id = m.video_id AND f.archive = b.archive), v.sha256) AS here,
       v.sha256, m.frames, m.frames_done, m.frames_undecodable, m.segments_quarantined, m.found, count(*) OVER ()
FROM mine AS m
JOIN videos AS v ON v.video_id = m.video_id
JOIN batches AS b ON b.batch_id = :batch_id
ORDER BY here, v.sha256
LIMIT :most OFFSET :skip
""")


def read_night_videos(engine: Engine, batch_id: int, most: int, skip: int = 0) -> tuple[list[NightVideo], int]:
    """Return the videos that the batch processed by name, at most this number, and the number of all."""
    with reading(engine) as connection:
        rows = connection.execute(VIDEOS, {"batch_id": batch_id, "most": most, "skip": skip}).all()
    return [NightVideo(*row[:-1]) for row in rows], rows[0][-1] if rows else 0


def read_refusals(engine: Engine, night: NightRow, most: int) -> list[Refusal]:
    """Return the batch's segments in quarantine, then the files of its archive that are no usable videos now."""
    with reading(engine) as connection:
        found = [Refusal(*row) for row in connection.execute(_quarantined(night.batch_id).limit(most))]
        files = _refused_files(night.archive).limit(most - len(found)) if len(found) < most else None
        return found + [Refusal(*row) for row in (connection.execute(files) if files is not None else ())]


def _quarantined(batch_id: int) -> Select[Any]:
    here = (archive_files.c.video_id == videos.c.video_id) & (archive_files.c.archive == batches.c.archive)
    key = select(func.min(archive_files.c.key)).where(here).correlate(videos, batches).scalar_subquery()
    columns = (segments.c.reason, func.coalesce(key, videos.c.sha256).label("key"), videos.c.sha256)
    return (
        select(*columns, segments.c.start_frame, segments.c.stop_frame)
        .join(batch_segments, batch_segments.c.segment_id == segments.c.segment_id)
        .join(batches, batches.c.batch_id == batch_segments.c.batch_id)
        .join(videos, videos.c.video_id == segments.c.video_id)
        .where(batch_segments.c.batch_id == batch_id, segments.c.status == "quarantined")
        .order_by("key", segments.c.start_frame)
    )


def _refused_files(archive: str) -> Select[Any]:
    file = archive_files.c
    refused = select(file.reason, file.key, text("NULL"), text("NULL"), text("NULL"))
    return refused.where(file.reason.is_not(None), file.gone_at.is_(None), file.archive == archive).order_by(file.key)
