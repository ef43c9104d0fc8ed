"""A batch and its work, read from the ledger for a report. No rows of results are counted, nothing is judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, Row, Select, exists, func, select, text, update

from storage.ledger.batches import SegmentCounts, count_segments
from storage.sql.clock import database_now, epoch_s
from storage.sql.database import DatabaseError, reading, writing
from storage.sql.tables import assignments, batches, model_versions, segments, videos

ROWS_AT_ONCE = 5000
SHORTEST_VISIT_S = 1.0


class BatchFacts(NamedTuple):
    """The row of a batch. took_s: until its end, or until now; estimated_s: None where nothing was measured before"""

    batch_id: int
    batch_key: str
    status: str
    archive: str
    model: str
    task: str
    model_version_id: int
    version_sha256: str
    dispatch: str
    started_at: datetime
    finished_at: datetime | None
    took_s: float
    estimated_s: float | None
    error: str | None
    files_listed: int | None
    files_quarantined: int | None


class DeviceFacts(NamedTuple):
    """A row of device_summary: numbers of one worker with one device. wall_s: None where it completed no segment"""

    worker: str | None
    device: str | None
    segments_done: int
    frames_done: int
    wall_s: float | None
    retries: int
    assignments_lost: int


class VideoFacts(NamedTuple):
    """One video of a batch, counting the segments that the batch expects. wall_s: None where no segment is done"""

    video: str
    segments: int
    segments_done: int
    segments_quarantined: int
    frames: int
    frames_done: int
    frames_undecodable: int
    people: int
    retries: int
    wall_s: float | None
    sha256: str


class WholeVideo(NamedTuple):
    """A video with the work of one model version on it, in all batches. people: rows, also those of labels"""

    video: str
    duration_s: float
    frames: int
    frames_done: int
    frames_undecodable: int
    segments_quarantined: int
    people: int
    sha256: str


class RefusedFile(NamedTuple):
    """A row of the view quarantine. start_frame, stop_frame: of a segment; None for a whole file"""

    key: str
    start_frame: int | None
    stop_frame: int | None
    reason: str


class Loss(NamedTuple):
    """An assignment that was lost, at_s after the batch's start. worker: None where its run never reached a device"""

    worker: str | None
    device: str | None
    at_s: float
    reason: str | None


class VideoNote(NamedTuple):
    """A video of a batch with an unusual file, and how the file was read.

    frames_retimed: with a time interpolated from their neighbours instead of their own stamp
    clock_changes: number of jumps of the recording's clock; clock_s: the longest jump, seconds
    stream: index of the stream that was chosen among `streams`
    unused_bytes: of size_bytes, after the last frame and in no stream
    """

    video: str
    frames_retimed: int
    clock_changes: int
    clock_s: float | None
    stream: int
    streams: int
    unused_bytes: int
    size_bytes: int


class Crowd(NamedTuple):
    """The second of a video with the most people in one frame."""

    video: str
    second: int
    most_people: int
    sha256: str


class Visits(NamedTuple):
    """People in a video by the shown analysis.

    people: number of tracks of at least SHORTEST_VISIT_S; longest_s: seconds between the first and the last sighting of
    the longest one, 0 without any
    """

    video: str
    people: int
    longest_s: float
    sha256: str


class Yield(NamedTuple):
    """Yield of a batch. film_s: seconds of film; rows: in poses or classifications; took_s: the whole batch"""

    batch_id: int
    started_at: datetime
    film_s: float
    frames: int
    rows: int
    took_s: float


@dataclass(frozen=True, eq=False)
class Spans:
    """The completed segments of a batch with their times, devices and films, in the order of their ends.

    workers: (worker, device) of each lane; lane: (n,) int32 index into it
    begun_s, ended_s: (n,) float64 seconds after the batch's start; begun is the end minus the seconds that it took
    frames: (n,) int32; attempt: (n,) int32, 1 for the first
    film: (n,) int32 video_id; format: (n,) int32, equal for films of the same picture size, codec and frame rate
    """

    workers: Sequence[tuple[str, str]]
    lane: NDArray[np.int32]
    begun_s: NDArray[np.float64]
    ended_s: NDArray[np.float64]
    frames: NDArray[np.int32]
    attempt: NDArray[np.int32]
    film: NDArray[np.int32]
    format: NDArray[np.int32]

    @property
    def frames_per_s(self) -> NDArray[np.float64]:
        return self.frames / (self.ended_s - self.begun_s)


def read_batch(engine: Engine, batch_id: int | None = None) -> BatchFacts:
    """Return this batch, or the newest one. Raises DatabaseError where there is none."""
    took_s = epoch_s(func.coalesce(batches.c.finished_at, database_now())) - epoch_s(batches.c.started_at)
    own = {name: batches.c[name] for name in BatchFacts._fields if name in batches.c}
    version = {"model": "name", "task": "task", "version_sha256": "version_sha256"}
    columns = {**own, **{name: model_versions.c[column] for name, column in version.items()}}
    rows = (
        select(*({**columns, "took_s": took_s}[name].label(name) for name in BatchFacts._fields))
        .join(model_versions, model_versions.c.model_version_id == batches.c.model_version_id)
        .order_by(batches.c.batch_id.desc())
        .limit(1)
    )
    with reading(engine) as connection:
        row = connection.execute(rows if batch_id is None else rows.where(batches.c.batch_id == batch_id)).first()
    if row is None:
        raise DatabaseError("There is no such batch.", "Run 'nightjar run ARCHIVE --model NAME' first.")
    return BatchFacts(*row)


def read_counts(engine: Engine, batch_id: int) -> SegmentCounts:
    """Return the counts at the batch's end, or now while it runs. Repairs by later batches do not count here."""
    ended = ("segments_done", "segments_quarantined", "segments_missing", "frames_done", "frames_undecodable")
    names = (*ended, "frames_quarantined", "frames_missing", "people", "finished_at")
    mine = select(*(batches.c[name] for name in names)).where(batches.c.batch_id == batch_id)
    with reading(engine) as connection:
        row = connection.execute(mine).one()
    if row.finished_at is None:
        return count_segments(engine, batch_id)
    expected = row.frames_done + row.frames_undecodable + row.frames_quarantined + row.frames_missing
    done, quarantined, missing, *frames = row[:-1]
    return SegmentCounts(missing, 0, done, quarantined, expected, *frames)


def write_estimate(engine: Engine, batch_id: int, estimated_s: float | None) -> None:
    with writing(engine) as connection:
        mine = batches.c.batch_id == batch_id
        connection.execute(update(batches).where(mine).values(estimated_s=estimated_s))


def read_devices(engine: Engine, batch_id: int) -> list[DeviceFacts]:
    """Work of each worker, in the order of names."""
    columns = ", ".join(DeviceFacts._fields)
    sql = f"SELECT {columns} FROM device_summary WHERE batch_id = :batch_id ORDER BY worker, device"  # noqa: S608
    return [DeviceFacts(*row) for row in _ask(engine, sql, batch_id=batch_id)]


def _ask(engine: Engine, sql: str, **values: Any) -> Sequence[Row[Any]]:
    with reading(engine) as connection:
        return connection.execute(text(sql), values).all()


# The name of video `v` in the archive of batch `b`. A subquery, so that copies of a file do not multiply rows.
NAME_HERE = """\
coalesce((SELECT coalesce(min(CASE WHEN f.gone_at IS NULL THEN f.key END), min(f.key)) FROM archive_files AS f
                 WHERE f.video_id = v.video_id AND f.archive = b.archive), v.sha256)"""

EXPECTED_VIDEOS = """\
(SELECT DISTINCT s.video_id FROM batch_segments AS e JOIN segments AS s ON s.segment_id = e.segment_id
      WHERE e.batch_id = :batch_id)"""

VIDEOS = f"""
SELECT {NAME_HERE} AS video,
       s.segments, s.segments_done, s.segments_quarantined, s.frames,
       s.frames_done, s.frames_undecodable, s.people, s.retries, s.wall_s, v.sha256
FROM (
    SELECT s.video_id, count(*) AS segments,
           count(CASE WHEN s.status = 'done' THEN 1 END) AS segments_done,
           count(CASE WHEN s.status = 'quarantined' THEN 1 END) AS segments_quarantined,
           sum(s.stop_frame - s.start_frame) AS frames,
           coalesce(sum(s.frames_done), 0) AS frames_done,
           coalesce(sum(s.undecodable_frames), 0) AS frames_undecodable,
           coalesce(sum(s.people), 0) AS people,
           sum(CASE WHEN s.attempt > 1 THEN s.attempt - 1 ELSE 0 END) AS retries,
           sum(s.wall_s) AS wall_s
    FROM batch_segments AS e JOIN segments AS s ON s.segment_id = e.segment_id
    WHERE e.batch_id = :batch_id
    GROUP BY s.video_id
) AS s
JOIN videos AS v ON v.video_id = s.video_id
JOIN batches AS b ON b.batch_id = :batch_id
ORDER BY 1
"""  # noqa: S608


def read_videos(engine: Engine, batch_id: int) -> list[VideoFacts]:
    """Frames of each video that the batch expected, and those in the ledger now, in the order of names."""
    return [VideoFacts(*row) for row in _ask(engine, VIDEOS, batch_id=batch_id)]


WHOLE_VIDEOS = f"""
SELECT {NAME_HERE} AS video, v.duration_s, v.frames, coalesce(sum(s.frames_done), 0),
       coalesce(sum(s.undecodable_frames), 0), count(CASE WHEN s.status = 'quarantined' THEN 1 END),
       coalesce(sum(s.people), 0), v.sha256
FROM {EXPECTED_VIDEOS} AS mine
JOIN videos AS v ON v.video_id = mine.video_id
JOIN batches AS b ON b.batch_id = :batch_id
JOIN segments AS s ON s.video_id = v.video_id AND s.model_version_id = b.model_version_id
GROUP BY v.video_id, v.sha256, v.duration_s, v.frames, b.archive
ORDER BY 1
LIMIT :most
"""  # noqa: S608


def read_whole_videos(engine: Engine, batch_id: int, most: int) -> list[WholeVideo]:
    """Return the first `most` videos of the batch by name, with all work of its model version on each.

    Videos that were done before the batch are not read.
    """
    return [WholeVideo(*row) for row in _ask(engine, WHOLE_VIDEOS, batch_id=batch_id, most=most)]


REFUSED = """
SELECT key, start_frame, stop_frame, reason FROM quarantine WHERE archive = :archive ORDER BY key, start_frame
"""


def read_refused(engine: Engine, archive: str) -> list[RefusedFile]:
    """Files and segments of this archive that are in quarantine, in the order of names."""
    return [RefusedFile(*row) for row in _ask(engine, REFUSED, archive=archive)]


NOTES = f"""
SELECT {NAME_HERE} AS video, coalesce(sum(t.frames), 0), count(t.clock_s),
       CASE WHEN max(t.clock_s) > -min(t.clock_s) THEN max(t.clock_s) ELSE min(t.clock_s) END,
       v.stream, v.streams, v.unused_bytes, v.size_bytes
FROM {EXPECTED_VIDEOS} AS mine
JOIN videos AS v ON v.video_id = mine.video_id
JOIN batches AS b ON b.batch_id = :batch_id
LEFT JOIN time_repairs AS t ON t.video_id = v.video_id
WHERE v.streams > 1 OR t.video_id IS NOT NULL OR v.unused_bytes > 0
GROUP BY v.video_id, v.sha256, v.stream, v.streams, v.unused_bytes, v.size_bytes, b.archive
ORDER BY 1
"""  # noqa: S608


def read_notes(engine: Engine, batch_id: int) -> list[VideoNote]:
    """Videos of the batch with repaired times, several streams or unused bytes, in the order of names."""
    return [VideoNote(*row) for row in _ask(engine, NOTES, batch_id=batch_id)]


CROWDS = f"""
SELECT {NAME_HERE} AS video, c.second, c.most_people, v.sha256
FROM (
    SELECT p.video_id, p.second, max(p.most_people) AS most_people, sum(p.frames_seen) AS frames_seen,
           row_number() OVER (PARTITION BY p.video_id
                              ORDER BY max(p.most_people) DESC, sum(p.frames_seen) DESC, p.second) AS place
    FROM pose_seconds AS p
    WHERE p.model_version_id = :model_version_id
      AND p.video_id IN (SELECT video_id FROM segments WHERE batch_id = :batch_id AND status = 'done')
    GROUP BY p.video_id, p.second
) AS c
JOIN videos AS v ON v.video_id = c.video_id
JOIN batches AS b ON b.batch_id = :batch_id
WHERE c.place = 1
ORDER BY c.most_people DESC, c.frames_seen DESC, 1
LIMIT :most
"""  # noqa: S608


def read_crowds(engine: Engine, batch: BatchFacts, most: int) -> list[Crowd]:
    """Return the second with the most people of each video that the batch processed, the fullest first."""
    values = {"batch_id": batch.batch_id, "model_version_id": batch.model_version_id, "most": most}
    return [Crowd(*row) for row in _ask(engine, CROWDS, **values)]


VISITS = f"""
SELECT {NAME_HERE} AS video, count(t.track), coalesce(max(t.last_s - t.first_s), 0), v.sha256
FROM {EXPECTED_VIDEOS} AS mine
JOIN videos AS v ON v.video_id = mine.video_id
JOIN batches AS b ON b.batch_id = :batch_id
JOIN analyses AS a ON a.video_id = v.video_id AND a.model_version_id = b.model_version_id AND a.status = 'done'
    AND a.analysis_version_id = (SELECT analysis_version_id FROM shown_analysis)
LEFT JOIN tracks AS t ON t.analysis_id = a.analysis_id AND t.last_s - t.first_s >= :shortest_s
GROUP BY v.video_id, v.sha256, b.archive
ORDER BY 1
"""  # noqa: S608


def read_visits(engine: Engine, batch: BatchFacts) -> list[Visits]:
    """Return the people in each analysed video that the batch expected, in the order of names."""
    values = {"batch_id": batch.batch_id, "shortest_s": SHORTEST_VISIT_S}
    return [Visits(*row) for row in _ask(engine, VISITS, **values)]


def read_yields(engine: Engine, batch: BatchFacts) -> list[Yield]:
    """Return the yields of the previous batch with the same archive and model name, if any, and of this batch."""
    took_s = epoch_s(func.coalesce(batches.c.finished_at, database_now())) - epoch_s(batches.c.started_at)
    theirs = (segments.c.batch_id == batches.c.batch_id) & (segments.c.status == "done")
    newest = (
        select(batches.c.batch_id)
        .join(model_versions, model_versions.c.model_version_id == batches.c.model_version_id)
        .where(batches.c.archive == batch.archive, model_versions.c.name == batch.model)
        .where(batches.c.batch_id <= batch.batch_id, exists().where(theirs))
        .order_by(batches.c.batch_id.desc())
        .limit(2)
        .subquery()
    )
    rows = (
        select(
            batches.c.batch_id,
            batches.c.started_at,
            func.sum(segments.c.frames_done * videos.c.duration_s / videos.c.frames),
            func.sum(segments.c.frames_done),
            func.sum(segments.c.people),
            func.min(took_s),
        )
        .join(newest, newest.c.batch_id == batches.c.batch_id)
        .join(segments, theirs)
        .join(videos, videos.c.video_id == segments.c.video_id)
        .group_by(batches.c.batch_id, batches.c.started_at)
        .order_by(batches.c.batch_id)
    )
    with reading(engine) as connection:
        return [Yield(*row) for row in connection.execute(rows)]


def read_losses(engine: Engine, batch_id: int) -> list[Loss]:
    """Read the losses of a batch in the order of time."""
    at_s = epoch_s(assignments.c.ended_at) - epoch_s(batches.c.started_at)
    rows = (
        select(assignments.c.worker, assignments.c.device, at_s, assignments.c.reason)
        .join(batches, batches.c.batch_id == assignments.c.batch_id)
        .where(assignments.c.batch_id == batch_id, assignments.c.status == "lost")
        .order_by(assignments.c.ended_at)
    )
    with reading(engine) as connection:
        return [Loss(*row) for row in connection.execute(rows)]


SPAN = np.dtype(
    [
        ("lane", "i4"),
        ("begun_s", "f8"),
        ("ended_s", "f8"),
        ("frames", "i4"),
        ("attempt", "i4"),
        ("film", "i4"),
        ("format", "i4"),
    ]
)


def read_spans(engine: Engine, batch_id: int) -> Spans:
    """Spans of all segments that the batch completed, 36 bytes each."""
    lanes: dict[tuple[str, str], int] = {}
    formats: dict[tuple[Any, ...], int] = {}
    with reading(engine) as connection:
        rows = connection.execution_options(yield_per=ROWS_AT_ONCE).execute(_done(batch_id))
        found = np.fromiter((_span(row, lanes, formats) for row in rows), SPAN)
    return Spans(list(lanes), *(found[name].copy() for name in SPAN.names or ()))


def _span(row: Row[Any], lanes: dict[tuple[str, str], int], formats: dict[tuple[Any, ...], int]) -> tuple[Any, ...]:
    """One SPAN. Lanes and formats are numbered in the order of their first use."""
    lane = lanes.setdefault((row.worker, row.device), len(lanes))
    of = formats.setdefault((row.width, row.height, row.codec, round(row.fps or 0)), len(formats))
    return lane, row.ended_s - row.wall_s, row.ended_s, row.frames_done, row.attempt, row.video_id, of


def _done(batch_id: int) -> Select[Any]:
    ended_s = epoch_s(segments.c.finished_at) - epoch_s(batches.c.started_at)
    mine = (segments.c.worker, segments.c.device, segments.c.wall_s, segments.c.frames_done, segments.c.attempt)
    film = (videos.c.video_id, videos.c.width, videos.c.height, videos.c.codec, videos.c.fps)
    return (
        select(*mine, *film, ended_s.label("ended_s"))
        .join(batches, batches.c.batch_id == segments.c.batch_id)
        .join(videos, videos.c.video_id == segments.c.video_id)
        .where(segments.c.batch_id == batch_id, segments.c.status == "done", segments.c.wall_s > 0)
        .order_by(segments.c.finished_at, segments.c.segment_id)
    )
