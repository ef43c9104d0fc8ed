"""Planned segments of a video for a model version: they tile the video and never change."""

from collections.abc import Iterable, Sequence

from sqlalchemy import (
    Connection,
    Engine,
    func,
    insert,
    select,
)

from models.types import Segment, Video
from storage.sql.catalogue import RecordedFile, file_is_video, video_id_of
from storage.sql.clock import database_now
from storage.sql.database import reading, writing
from storage.sql.tables import segments, videos


def enter_video(
    engine: Engine, file: RecordedFile, video: Video, model_version_id: int, plan: Sequence[Segment]
) -> int:
    """Register the video of a file, plan its segments, and record the file, in one transaction.

    A commit waits for the disk, which on an SD card takes longer than the rest. Returns the video's id.
    """
    with writing(engine) as connection:
        video_id = video_id_of(connection, video)
        plan_segments(connection, video_id, model_version_id, plan)
        file_is_video(connection, file, video_id)
        return video_id


def plan_segments(connection: Connection, video_id: int, model_version_id: int, plan: Sequence[Segment]) -> int:
    """Add the video's missing segments to the ledger. Returns the number of new ones.

    Planned segments stay as they are: a plan with other lengths fills holes (after a rebuild from results) and
    adds nothing to a video without holes. Raises ValueError unless the segments then tile the video exactly.
    """
    frames = lock_video(connection, video_id)
    known = planned_ranges(connection, video_id, model_version_id)
    holes = _holes(known, frames)
    new = sorted(
        (max(start, segment.start_frame), min(stop, segment.stop_frame))
        for segment in plan
        for start, stop in holes
        if segment.start_frame < stop and start < segment.stop_frame
    )
    _check_tiles(sorted(known + new), frames)
    insert_segments(connection, video_id, model_version_id, new)
    return len(new)


def lock_video(connection: Connection, video_id: int) -> int:
    """Lock the video's segments until the transaction ends. Returns the video's number of frames."""
    row = select(videos.c.frames).where(videos.c.video_id == video_id).with_for_update(key_share=True)
    return int(connection.execute(row).scalar_one())


def planned_ranges(connection: Connection, video_id: int, model_version_id: int) -> list[tuple[int, int]]:
    """[start_frame, stop_frame) of the video's segments in the ledger, ascending."""
    mine = (segments.c.video_id == video_id) & (segments.c.model_version_id == model_version_id)
    rows = select(segments.c.start_frame, segments.c.stop_frame).where(mine).order_by(segments.c.start_frame)
    return [(start, stop) for start, stop in connection.execute(rows)]


def insert_segments(
    connection: Connection, video_id: int, model_version_id: int, ranges: Iterable[tuple[int, int]]
) -> None:
    planned = {
        "video_id": video_id,
        "model_version_id": model_version_id,
        "status": "planned",
        "attempt": 0,
        "tries": 0,
    }
    statement = insert(segments).values(planned_at=database_now())
    rows = [{**planned, "start_frame": start, "stop_frame": stop} for start, stop in ranges]
    if rows:
        connection.execute(statement, rows)


def _holes(known: list[tuple[int, int]], frames: int) -> list[tuple[int, int]]:
    stops, starts = [0, *(stop for _, stop in known)], [*(start for start, _ in known), frames]
    return [(stop, start) for stop, start in zip(stops, starts, strict=True) if stop < start]


def _check_tiles(ranges: list[tuple[int, int]], frames: int) -> None:
    covered = 0
    for start, stop in ranges:
        if start != covered:
            raise ValueError(f"The segments leave a gap or overlap between frames {covered} and {start}.")
        covered = stop
    if covered != frames:
        raise ValueError(f"The segments end at frame {covered}, but the video has {frames} frames.")


def planned_videos(engine: Engine, model_version_id: int) -> set[int]:
    """Return the videos that are completely covered by segments of this model version."""
    held_frames = func.sum(segments.c.stop_frame - segments.c.start_frame)
    complete = (
        select(segments.c.video_id)
        .join(videos, videos.c.video_id == segments.c.video_id)
        .where(segments.c.model_version_id == model_version_id)
        .group_by(segments.c.video_id, videos.c.frames)
        .having(held_frames == videos.c.frames)
    )
    with reading(engine) as connection:
        return set(connection.execute(complete).scalars())


def frames_done_in(engine: Engine, video_id: int, model_version_id: int, start: int, stop: int) -> int:
    """Count the frames of [start, stop) that lie in completed segments of this model version."""
    mine = (segments.c.video_id == video_id) & (segments.c.model_version_id == model_version_id)
    inside = (segments.c.start_frame < stop) & (segments.c.stop_frame > start) & (segments.c.status == "done")
    with reading(engine) as connection:
        found = connection.execute(select(segments.c.start_frame, segments.c.stop_frame).where(mine & inside))
        return sum(min(last, stop) - max(first, start) for first, last in found)


def videos_done(engine: Engine, model_version_id: int) -> set[int]:
    """Return the videos with at least one completed segment of this model version."""
    done = (segments.c.model_version_id == model_version_id) & (segments.c.status == "done")
    with reading(engine) as connection:
        return set(connection.execute(select(segments.c.video_id).where(done).distinct()).scalars())
