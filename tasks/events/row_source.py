"""The rows of a recording that rules are evaluated over, in windows of bounded size."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.events.columns import KEYPOINT_VALUES, OF_KEYPOINTS
from models.events.evaluation import CompiledRule, columns_of
from models.events.feet import Feet, feet_of
from models.events.frame_rows import FrameClock, FrameRows, local_hours
from models.events.people_rows import PeopleRows, PeopleStream, SeenPeople
from storage.sql.database import Database
from storage.sql.events.motion_rows import MotionChunk, MotionSource, processed_frames, read_motion, track_spans
from storage.sql.events.runs import AnalysedVideo

ROWS_AT_ONCE = 20_000
MOST_FRAMES, FEWEST_FRAMES = 50_000, 500


class Window(NamedTuple):
    """Rows of successive frames of one video. Numbers and times are those of the recording.

    people, frames: columns of rules; feet: places of the people who are seen
    end_s: time of the last frame, None without frames
    """

    people: PeopleRows
    feet: Feet
    frames: dict[str, NDArray[Any]]
    end_s: float | None


class RowSource:
    """Rows of the videos of a recording, in order. with_poses: read keypoints, which most of the time goes into"""

    def __init__(self, engine: Database, videos: Sequence[AnalysedVideo], with_poses: bool) -> None:
        self._engine, self._videos, self._with_poses = engine, videos, with_poses
        self._clock = FrameClock()
        last = videos[-1]
        self._people = PeopleStream((last.width, last.height))

    def windows(self, start_frame: int, stop_frame: int) -> Iterator[Window]:
        """Yield the rows of the recording's frames [start_frame, stop_frame), later than those before."""
        for video in self._videos:
            first, last = max(start_frame, video.start_frame), min(stop_frame, video.stop_frame)
            if first < last:
                yield from self._of_video(video, first - video.start_frame, last - video.start_frame)

    def _of_video(self, video: AnalysedVideo, start: int, stop: int) -> Iterator[Window]:
        source = MotionSource(video.analysis_id, video.video_id, video.model_version_id)
        spans = track_spans(self._engine, video.analysis_id)
        self._clock.begin_video(video.start_frame, video.start_s)
        size = min(max(ROWS_AT_ONCE * video.frames // max(video.people, 1), FEWEST_FRAMES), MOST_FRAMES)
        for first in range(start, stop, size):
            last = min(first + size, stop)
            chunk = read_motion(self._engine, source, spans, first, last, self._with_poses)
            processed = _sampled(video, processed_frames(self._engine, source, first, last))
            yield self._window(video, chunk, processed)

    def _window(self, video: AnalysedVideo, chunk: MotionChunk, processed: NDArray[np.int64]) -> Window:
        frame = chunk.frame + video.start_frame
        times = processed + video.start_frame, video.step_s, frame, chunk.t_s + video.start_s
        frames = self._clock.push(*times)
        hours = local_hours(frames.t_s, video.start_at, video.time_zone)
        seen = SeenPeople(chunk.track, frame, *chunk[3:])
        people = self._people.push(seen, frames, hours)
        seen_s = frames.t_s[np.searchsorted(frames.frame, frame)]
        feet = feet_of(chunk.track.astype(np.int32), frame, seen_s, chunk.keypoints, chunk.keypoint_scores)
        end_s = float(frames.t_s[-1]) if len(frames.t_s) else None
        return Window(people, feet, _columns(frames, hours), end_s)


def needs_poses(rules: Sequence[CompiledRule]) -> bool:
    """Return whether the conditions use more than the motion."""
    return bool({"score", *KEYPOINT_VALUES, *OF_KEYPOINTS} & columns_of(rules, "people"))


def _columns(frames: FrameRows, hours: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    return {**frames._asdict(), "local_hour": hours}


def _sampled(video: AnalysedVideo, frames: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the frames that the model version looked at, by the video's mean rate."""
    if video.frames_per_second is None or not len(frames):
        return frames
    around = np.arange(max(int(frames[0]) - 1, 0), int(frames[-1]) + 1)
    steps = np.floor((around + 0.5) * video.step_s * video.frames_per_second)
    chosen = around[np.diff(steps, prepend=steps[0] if around[0] else -1) > 0]
    return np.asarray(np.intersect1d(frames, chosen), np.int64)
