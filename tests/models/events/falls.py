"""People who fall, bend, sit down and squat in rendered scenes, and the events of a shipped rule from their poses."""

from collections.abc import Iterator, Sequence
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from models.events.evaluation import ConditionEngine, RuleStream, compile_rule
from models.events.frame_rows import FrameClock
from models.events.intervals import Interval, IntervalParams, Intervals, RowsOfKeys
from models.events.people_rows import PeopleStream, SeenPeople
from models.events.shipped import SHIPPED
from models.motion.motion import motion_of
from models.motion.params import MotionParams
from models.motion.types import MotionRows
from models.synthetic.video import Actor, Camera, Scene
from models.tracking.params import TrackParams
from models.tracking.tracker import track_poses
from models.types import Poses
from storage.track_rows import MOTION_VALUES
from tests.models.tracking.scenes import true_people

SIZE, FPS, DURATION_S, ACTS_S = (640, 480), 12.5, 6.0, 2.0
NOISE_PX = 2.0
CAMERAS = {"at the eye's height": Camera(), "under the ceiling": Camera(height_m=2.4, pitch_deg=18)}
HEADINGS = range(0, 360, 45)
DISTANCES_M = (5.0, 7.0)  # a person who falls towards the camera stays in the picture


def actor(action: str, heading_deg: float, z_m: float, speed_m_s: float = 0.0) -> Actor:
    """A person who stands or walks, and then acts at a natural speed."""
    moves_s = {"sit": 1.0, "bend": 0.8, "squat": 0.8}.get(action)
    until = ACTS_S + 2.5 if action in ("bend", "squat") else 1e9
    return Actor(
        action,
        z_m=z_m,
        heading_deg=heading_deg,
        speed_m_s=speed_m_s,
        acts_from_s=ACTS_S,
        acts_until_s=until,
        moves_s=moves_s,
    )


def scenes(
    action: str, speed_m_s: float = 0.0, distances_m: Sequence[float] = DISTANCES_M
) -> Iterator[tuple[str, Scene]]:
    """Yield scenes of one person in eight headings, before two cameras and at these distances, with their names."""
    for number, (place, camera) in enumerate(CAMERAS.items()):
        for heading in HEADINGS:
            for z_m in distances_m:
                seed = 1000 + 10 * heading + int(z_m) + number
                yield (
                    f"{action} {place}, {heading} degrees, {z_m} m",
                    Scene(seed, (actor(action, heading, z_m, speed_m_s),), SIZE, camera),
                )


def poses_of(scene: Scene) -> Poses:
    """Return the true keypoints of a scene's people, with noise."""
    rng = np.random.default_rng(scene.seed)
    found = [true_people(scene, frame / FPS)[1] for frame in range(round(DURATION_S * FPS))]
    frame = np.repeat(np.arange(len(found)), [len(one.scores) for one in found])
    person = np.concatenate([np.arange(len(one.scores), dtype=np.int16) for one in found])
    keypoints, scores, people = (
        np.concatenate([getattr(one, name) for one in found]) for name in ("keypoints", "keypoint_scores", "scores")
    )
    noisy = (keypoints + rng.normal(0, NOISE_PX, keypoints.shape)).astype(np.float32)
    return Poses(frame.astype(np.int64), person, frame / FPS, people, noisy, scores)


def events_of(poses: Poses, rule: str, frames: int, fps: float = FPS, size: tuple[int, int] = SIZE) -> list[Interval]:
    """Track the people, and return the events of the shipped rule. frames: of the film, with people or without"""
    (definition,) = (each for each in SHIPPED if each.rule == rule)
    params = (definition.min_duration_s, definition.bridge_gap_s, definition.cool_down_s, 1 / fps)
    seen = seen_people(poses, size, fps)
    clock = FrameClock()
    clock.begin_video(0, 0.0)
    looked_at = clock.push(np.arange(frames), 1 / fps, seen.frame, seen.frame / fps)
    rows = PeopleStream(size).push(seen, looked_at, np.full(frames, np.nan)).columns
    intervals = Intervals(IntervalParams(*params))
    found: list[Interval] = []
    with ConditionEngine() as engine:
        for _, held in RuleStream(engine, [compile_rule(definition)], "people").push(rows):
            found += intervals.push(RowsOfKeys(rows["track"], rows["frame"], rows["t_s"], *held))
    return found + intervals.finish()


def seen_people(poses: Poses, size: tuple[int, int], fps: float) -> SeenPeople:
    """Return the rows of motion with their poses. The frames are numbered as the times say."""
    tracked = list(track_poses([poses], TrackParams(), size, 1 / fps))
    track = np.concatenate([rows.track for rows in tracked])
    parts = list(motion_of(tracked, MotionParams(), 1 / fps))
    motion = {f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(MotionRows)}
    place = {key: row for row, key in enumerate(zip(track.tolist(), poses.frame.tolist(), strict=True))}
    keys = zip(motion["track"].tolist(), motion["frame"].tolist(), strict=True)
    source = np.array([place.get(key, -1) for key in keys], np.int64)
    return SeenPeople(
        motion["track"].astype(np.int64),
        motion["frame"],
        motion["filled"],
        np.column_stack([motion[name] for name in MOTION_VALUES]),
        _taken(poses.scores, source),
        _taken(poses.keypoints, source),
        _taken(poses.keypoint_scores, source),
    )


def _taken(values: NDArray[np.float32], source: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the values of these rows, NaN for -1."""
    known = (source >= 0).reshape(-1, *[1] * (values.ndim - 1))
    return np.where(known, values[source], np.nan).astype(np.float64)
