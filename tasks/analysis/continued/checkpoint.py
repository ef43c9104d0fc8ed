"""The state of an analysis at the end of a video, from which the analysis of the next one continues."""

from dataclasses import dataclass

import numpy as np

from models.checkpoints import Arrays, Layout, read_arrays, write_arrays

_MAKER = "analysis, 1"
_LAYOUT: Layout = {
    "tracker": ("u1", ()),
    "motion": ("u1", ()),
    "frames": ("<i8", ()),
    "videos": ("<i8", (2,)),
    "summaries": ("u1", ()),
}


@dataclass(frozen=True)
class AnalysisCheckpoint:
    """State of an analysis after its last pose.

    tracker, motion: their checkpoints
    pose_frame, motion_frame: frames of the recording whose tracks and motion are the first that were not decided
    summaries: start_frame of a video with such rows -> checkpoint of the summaries of its tracks
    """

    tracker: bytes
    motion: bytes
    pose_frame: int
    motion_frame: int
    summaries: dict[int, bytes]

    def to_bytes(self) -> bytes:
        videos = [(start_frame, len(state)) for start_frame, state in self.summaries.items()]
        arrays: Arrays = {
            "tracker": np.frombuffer(self.tracker, np.uint8),
            "motion": np.frombuffer(self.motion, np.uint8),
            "frames": np.array([self.pose_frame, self.motion_frame], np.int64),
            "videos": np.array(videos, np.int64).reshape(-1, 2),
            "summaries": np.frombuffer(b"".join(self.summaries.values()), np.uint8),
        }
        return write_arrays(_MAKER, arrays)


def read_checkpoint(data: bytes) -> AnalysisCheckpoint:
    """Read the bytes of a checkpoint. Raises ValueError where they are damaged, or of another version."""
    arrays = read_arrays(data, _MAKER, _LAYOUT)
    frames, videos, states = arrays["frames"], arrays["videos"], arrays["summaries"].tobytes()
    ends = np.cumsum(videos[:, 1])
    if len(frames) != 2 or (videos[:, 1] < 0).any() or (ends[-1] if len(ends) else 0) != len(states):
        raise ValueError("The checkpoint is not complete. Begin again without it.")
    summaries = {
        start_frame: states[end - length : end]
        for (start_frame, length), end in zip(videos.tolist(), ends.tolist(), strict=True)
    }
    tracker, motion = (arrays[name].tobytes() for name in ("tracker", "motion"))
    return AnalysisCheckpoint(tracker, motion, int(frames[0]), int(frames[1]), summaries)
