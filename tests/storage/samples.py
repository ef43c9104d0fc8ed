"""Small videos, model versions and poses for the tests of storage."""

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sqlalchemy import Engine

from models.types import KEYPOINTS, Classifications, ModelVersion, Poses, Rows, Segment, SegmentReport, Video
from storage.ledger.batches import expect_segments, start_batch
from storage.ledger.leases import Claim, claim
from storage.ledger.plan import plan_segments
from storage.sql.catalogue import RecordedFile, file_is_video, register_model, video_id_of
from storage.sql.database import writing


def make_video(sha256: str = "a" * 64, frames: int = 100) -> Video:
    return Video(sha256, 1234, "mov,mp4", "h264", 640, 480, 0, frames, 25.0, frames / 25, 640, 480)


def make_model(version_sha256: str = "1" * 64, name: str = "posenet-075", task: str = "pose") -> ModelVersion:
    return ModelVersion(version_sha256, name, task, "2" * 64, "weights/", "3" * 64, "tfjs", "FP16", "{}")


def make_poses(start_frame: int, stop_frame: int, people: int = 2) -> Poses:
    """This number of people in every frame; values depend on the frame number, every fifth keypoint is missing."""
    frame = np.repeat(np.arange(start_frame, stop_frame), people)
    rng = np.random.Generator(np.random.PCG64(0))
    noise = rng.random((1000, people, KEYPOINTS, 3), dtype=np.float32)[np.arange(start_frame, stop_frame) % 1000]
    noise = noise.reshape(len(frame), KEYPOINTS, 3)
    noise[noise[:, :, 2] < 0.2] = np.nan
    return Poses(
        frame=frame,
        person=np.tile(np.arange(people, dtype=np.int16), stop_frame - start_frame),
        t_s=frame / 25,
        scores=np.float32(1) / (1 + frame.astype(np.float32)),
        keypoints=noise[:, :, :2] * np.float32(640),
        keypoint_scores=noise[:, :, 2].copy(),
    )


def make_labels(start_frame: int, stop_frame: int) -> Classifications:
    """A car in the first ten of twenty frames; scores depend on the frame number."""
    frame = np.arange(start_frame, stop_frame)
    return Classifications(
        frame=frame,
        label=np.where(frame % 20 < 10, "car", "not_car"),
        t_s=frame / 25,
        scores=np.float32(1) / (1 + frame.astype(np.float32)),
    )


def make_report(frames_done: int, undecodable: tuple[int, ...] = ()) -> SegmentReport:
    return SegmentReport(frames_done, undecodable, "CPU (test)", "f32", "worker-1", 1.5)


def cut(video: Video, length: int) -> list[Segment]:
    starts = range(0, video.frames, length)
    return [Segment(video.sha256, start, min(start + length, video.frames)) for start in starts]


def register_video(engine: Engine, video: Video) -> int:
    with writing(engine) as connection:
        return video_id_of(connection, video)


def plan_video(engine: Engine, video_id: int, model_version_id: int, plan: Sequence[Segment]) -> int:
    with writing(engine) as connection:
        return plan_segments(connection, video_id, model_version_id, plan)


def record_file(engine: Engine, archive: str, key: str, size_bytes: int, etag: str, *, video_id: int) -> None:
    """Record a file of an archive that is this video."""
    with writing(engine) as connection:
        file_is_video(connection, RecordedFile(archive, key, size_bytes, etag), video_id)


def planned_batch(
    engine: Engine, video: Video, length: int = 20, owner: str = "owner", model: ModelVersion | None = None
) -> tuple[int, int, int]:
    """A registered, planned video and a batch that expects it: (video_id, model_version_id, batch_id)."""
    video_id, model_version_id = register_video(engine, video), register_model(engine, model or make_model())
    plan_video(engine, video_id, model_version_id, cut(video, length))
    batch_id = start_batch(engine, "archive/", model_version_id, "local", owner)
    expect_segments(engine, batch_id, [video_id], files_listed=1, files_quarantined=0)
    return video_id, model_version_id, batch_id


def must_claim(engine: Engine, batch_id: int, owner: str = "me", lease_s: float = 60) -> Claim:
    mine = claim(engine, batch_id, owner, lease_s)
    assert mine is not None
    return mine


def assert_same(found: Rows, expected: Rows) -> None:
    assert type(found) is type(expected)
    for name in expected.__dataclass_fields__:
        mine, theirs = getattr(found, name), getattr(expected, name)
        if mine is None or theirs is None:
            assert mine is theirs, name
            continue
        assert mine.dtype.kind == theirs.dtype.kind == "U" or mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs, err_msg=name)


@st.composite
def poses_of(draw: st.DrawFn, segment: Segment) -> Poses:
    """Any rows that a segment may have, with NaN anywhere in the keypoints."""
    keys = st.tuples(st.integers(segment.start_frame, segment.stop_frame - 1), st.integers(0, 200))
    rows = sorted(draw(st.sets(keys, max_size=12)))
    n = len(rows)
    places, nan = st.floats(-(2.0**20), 2.0**20, width=32), st.just(float("nan"))
    scores = st.floats(0, 1, width=32)
    return Poses(
        frame=np.array([frame for frame, _ in rows], np.int64),
        person=np.array([person for _, person in rows], np.int16),
        t_s=_times(draw, [frame for frame, _ in rows]),
        scores=draw(hnp.arrays(np.float32, n, elements=scores)),
        keypoints=draw(hnp.arrays(np.float32, (n, KEYPOINTS, 2), elements=places | nan)),
        keypoint_scores=draw(hnp.arrays(np.float32, (n, KEYPOINTS), elements=scores | nan)),
    )


def _times(draw: st.DrawFn, frames: list[int]) -> NDArray[np.float64]:
    """One time per frame, in the frames' order."""
    different = sorted(set(frames))
    times = sorted(draw(st.lists(st.floats(0, 1e6), min_size=len(different), max_size=len(different))))
    by_frame = dict(zip(different, times, strict=True))
    return np.array([by_frame[frame] for frame in frames], np.float64)


@st.composite
def labels_of(draw: st.DrawFn, segment: Segment) -> Classifications:
    """Any labels that a segment may have."""
    frames = sorted(draw(st.sets(st.integers(segment.start_frame, segment.stop_frame - 1), max_size=12)))
    n = len(frames)
    # Characters that neither a database nor a numpy text can store: lone surrogates, NUL.
    texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
    return Classifications(
        frame=np.array(frames, np.int64),
        label=np.array(draw(st.lists(texts, min_size=n, max_size=n)), np.str_),
        t_s=_times(draw, frames),
        scores=draw(hnp.arrays(np.float32, n, elements=st.floats(0, 1, width=32))),
        regions=draw(hnp.arrays(np.int32, (n, 4), elements=st.integers(1, 40))) if n and draw(st.booleans()) else None,
    )
