"""Chunks of stored poses: every row of the requested frames once, in order, on both databases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from models.types import Poses
from storage.ledger.commit import commit_segment
from storage.sql.analyses.pose_chunks import FramesWithPoses, chunks_of, read_chunks
from storage.sql.browse.player.series import FRAMES_AT_ONCE, SERIES_COLUMNS, read_series
from storage.sql.result_rows import read_poses
from tests.storage.samples import assert_same, make_poses, make_report, make_video, must_claim, planned_batch


@st.composite
def ascending_parts(draw: st.DrawFn) -> list[FramesWithPoses]:
    """Parts in the order of frames, some of which touch, some without people."""
    parts, start = [], 0
    for gap, frames, people in draw(
        st.lists(st.tuples(st.integers(0, 3), st.integers(1, 60), st.integers(0, 500)), max_size=12)
    ):
        parts.append(FramesWithPoses(start + gap, start + gap + frames, people))
        start += gap + frames
    return parts


@given(ascending_parts(), st.integers(1, 300))
def test_chunks_contain_each_requested_frame_once(parts: list[FramesWithPoses], rows_at_once: int) -> None:
    asked = [frame for part in parts for frame in range(part.start_frame, part.stop_frame)]
    chunks = list(chunks_of(parts, rows_at_once))
    assert [frame for start, stop in chunks for frame in range(start, stop)] == asked
    assert all(start < stop for start, stop in chunks)


def test_a_crowded_part_is_divided_and_empty_ones_are_joined() -> None:
    crowded = list(chunks_of([FramesWithPoses(0, 1000, 10_000)], 1000))
    assert crowded == [(start, start + 100) for start in range(0, 1000, 100)]
    second = [FramesWithPoses(start, start + 25, 30) for start in range(0, 2500, 25)]
    assert list(chunks_of(second, 1000)) == [(0, 825), (825, 1650), (1650, 2475), (2475, 2500)]


@pytest.fixture
def stored(engine: Engine) -> tuple[Engine, int, int]:
    """Two people in frames [0, 20) and [40, 60), some keypoints not found; the segment between them is not done."""
    video_id, model_version_id, batch_id = planned_batch(engine, make_video(frames=60), length=20)
    for claim in [must_claim(engine, batch_id) for _ in range(3)]:
        start, stop = claim.segment.start_frame, claim.segment.stop_frame
        if start != 20:
            assert commit_segment(engine, claim, make_poses(start, stop), make_report(20))
    return engine, video_id, model_version_id


def test_chunks_equal_the_committed_rows(stored: tuple[Engine, int, int]) -> None:
    chunks = list(read_chunks(*stored, [FramesWithPoses(0, 20, 40), FramesWithPoses(40, 60, 40)]))
    assert len(chunks) == 2
    for chunk, start in zip(chunks, (0, 40), strict=True):
        assert_same(chunk, read_poses(*stored, start, start + 20))
        assert np.isnan(chunk.keypoints).any()


def test_frames_without_rows_are_an_empty_chunk(stored: tuple[Engine, int, int]) -> None:
    [chunk] = read_chunks(*stored, [FramesWithPoses(20, 40, 0)])
    assert isinstance(chunk, Poses)
    assert len(chunk) == 0
    assert chunk.keypoints.shape == (0, 17, 2)


def test_no_connection_is_held_between_two_chunks(stored: tuple[Engine, int, int]) -> None:
    """The work on a chunk takes seconds, in which an open transaction would keep old rows from being removed."""
    held: list[object] = []
    event.listen(stored[0], "checkout", lambda connection, *rest: held.append(connection))
    event.listen(stored[0], "checkin", lambda connection, *rest: held.remove(connection))
    parts = [FramesWithPoses(0, 20, 40), FramesWithPoses(40, 60, 40)]
    series = read_series(stored[0], 1, 1, SERIES_COLUMNS[:1], range(0, 2 * FRAMES_AT_ONCE))
    for chunks in (read_chunks(*stored, parts), series):
        assert [len(held) for _ in chunks] == [0, 0]
