"""Small videos, model versions and poses for the tests of storage."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sqlalchemy import Engine

from models.types import KEYPOINTS, ModelVersion, Poses, Segment, SegmentReport, Video
from storage.catalogue import register_model, register_video
from storage.ledger import Claim, claim, expect_segments, plan_video, start_batch


def make_video(sha256: str = "a" * 64, frames: int = 100) -> Video:
    return Video(sha256, 1234, "mov,mp4", "h264", 640, 480, 0, frames, 25.0, frames / 25)


def make_model(version_sha256: str = "1" * 64, name: str = "posenet-075") -> ModelVersion:
    return ModelVersion(version_sha256, name, "pose", "2" * 64, "weights/", "3" * 64, "tfjs", "FP16", "{}")


def make_poses(start_frame: int, stop_frame: int, people: int = 2) -> Poses:
    """So many people in every frame; each value follows from its frame number, every fifth keypoint is not found."""
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


def make_report(frames_done: int, undecodable: tuple[int, ...] = ()) -> SegmentReport:
    return SegmentReport(frames_done, undecodable, "CPU (test)", "f32", "worker-1", 1.5)


def cut(video: Video, length: int) -> list[Segment]:
    starts = range(0, video.frames, length)
    return [Segment(video.sha256, start, min(start + length, video.frames)) for start in starts]


def planned_batch(engine: Engine, video: Video, length: int = 20, owner: str = "owner") -> tuple[int, int, int]:
    """A registered, planned video and a batch that expects it: (video_id, model_version_id, batch_id)."""
    video_id, model_version_id = register_video(engine, video), register_model(engine, make_model())
    plan_video(engine, video_id, model_version_id, cut(video, length))
    batch_id = start_batch(engine, "archive/", model_version_id, "local", owner)
    expect_segments(engine, batch_id, [video_id], files_listed=1, files_quarantined=0)
    return video_id, model_version_id, batch_id


def must_claim(engine: Engine, batch_id: int, owner: str = "me", lease_s: float = 60) -> Claim:
    mine = claim(engine, batch_id, owner, lease_s)
    assert mine is not None
    return mine


def assert_same(found: Poses, expected: Poses) -> None:
    for name in Poses.__dataclass_fields__:
        mine, theirs = getattr(found, name), getattr(expected, name)
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs, err_msg=name)


@st.composite
def poses_of(draw: st.DrawFn, segment: Segment) -> Poses:
    """Any rows that a segment may have: any finite float32, NaN anywhere in the keypoints."""
    keys = st.tuples(st.integers(segment.start_frame, segment.stop_frame - 1), st.integers(0, 200))
    rows = sorted(draw(st.sets(keys, max_size=12)))
    n = len(rows)
    finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
    with_nan = st.floats(width=32, allow_nan=True, allow_infinity=False)
    times = st.floats(-1e6, 1e6, allow_nan=False)
    return Poses(
        frame=np.array([frame for frame, _ in rows], np.int64),
        person=np.array([person for _, person in rows], np.int16),
        t_s=draw(hnp.arrays(np.float64, n, elements=times)),
        scores=draw(hnp.arrays(np.float32, n, elements=finite)),
        keypoints=draw(hnp.arrays(np.float32, (n, KEYPOINTS, 2), elements=with_nan)),
        keypoint_scores=draw(hnp.arrays(np.float32, (n, KEYPOINTS), elements=with_nan)),
    )
