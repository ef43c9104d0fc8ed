"""The values that packages pass to each other. Standard library and numpy only; no disk, no network."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.errors import ErrorWithRemedy as ErrorWithRemedy
from models.errors import NightjarError as NightjarError

# COCO's keypoints in COCO's order: the order of every array of keypoints, and of the columns of SQL and Parquet.
KEYPOINT_NAMES = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
KEYPOINTS = len(KEYPOINT_NAMES)

Floats: TypeAlias = NDArray[np.floating[Any]]  # of either precision


_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?P<authority>[^/?#]*)")
_PORT = re.compile(r".*:\d*|\[[0-9A-Fa-f:.]+\]")


def refuse_credentials(address: str) -> None:
    """Raise NightjarError for an address with a user name or password in it, which logs and tables would keep.

    The address is not repeated. A password may hold a '/', so that the part before it looks like a host with a strange
    port.
    """
    found = _ADDRESS.match(address)
    if found is None:
        return
    authority = found["authority"]
    if "@" in authority or (":" in authority and not _PORT.fullmatch(authority)):
        raise NightjarError(
            "An address contains a user name or a password, which logs and the database would keep. Remove them from "
            "the address. Use NIGHTJAR_S3_ACCESS_KEY_ID and NIGHTJAR_S3_SECRET_ACCESS_KEY for a store, and "
            "PREFECT_API_AUTH_STRING for Prefect."
        )


class TimeRepair(NamedTuple):
    """A stretch of frames [start_frame, stop_frame) in which the container's time stamps could not be used as they are.

    frames: number of frames that received a time between those of their neighbours instead
    clock_s: NULL, or the seconds by which the recording's clock jumped before start_frame, which are left out
    """

    start_frame: int
    stop_frame: int
    frames: int
    clock_s: float | None


@dataclass(frozen=True)
class Video:
    """One video file, identified by its bytes: a renamed copy is the same video.

    width, height: pixels of the first frame as a player shows it; the frame of reference of all coordinates
    rotation: degrees clockwise that turn a decoded frame into the shown one: 0, 90, 180 or 270
    frames: exact number of frames, counted by demuxing
    fps: average frames per second, None for a single frame
    duration_s: from the first frame's start to the last frame's end
    stored_width, stored_height: pixels of the first frame as it is decoded
    crop_left, crop_top, crop_right, crop_bottom: stored pixels that the container excludes from the picture
    pixel_aspect: width of a stored pixel divided by its height
    mirrored: left and right are exchanged, before `rotation`
    stream: index of the stream that is used; streams: number of video streams in the file
    time_repairs: where the container's time stamps were damaged, ascending
    unused_bytes: bytes after the last packet of all streams, which the container does not explain; 0 = none to report
    coded_bytes, coded_sha256: of the coded pictures alone, see storage.video.coded_film; None = not known
    created_s: creation time by the container, seconds since 1970; None = it claims none
    created_read: False = read by a version that did not look for it
    """

    sha256: str
    size_bytes: int
    container: str
    codec: str
    width: int
    height: int
    rotation: int
    frames: int
    fps: float | None
    duration_s: float
    stored_width: int
    stored_height: int
    crop_left: int = 0
    crop_top: int = 0
    crop_right: int = 0
    crop_bottom: int = 0
    pixel_aspect: float = 1.0
    mirrored: bool = False
    stream: int = 0
    streams: int = 1
    time_repairs: tuple[TimeRepair, ...] = ()
    unused_bytes: int = 0
    coded_bytes: int | None = None
    coded_sha256: str | None = None
    created_s: float | None = None
    created_read: bool = False


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """Position of each frame of a video: frame n is the n-th in presentation order.

    pts: (frames,) int64, ascending, in units of the stream's time base
    timestamps_s: (frames,) float64, seconds on a player's clock (0 = the container's start)
    keyframes: (k,) int64, ascending frame numbers where decoding can start; 0 is always one
    numbered_by: identification of a decoded frame: by its pts; where the container's are not reliable by its packet, by
        the dts with which it leaves the decoder (`pts` then contains those), or by counting from the file's start
    packets: (frames,) int64, only where numbered by packet: number of the packet that contains each frame, from 0
    key_stamps, key_bytes: (k,) int64, likewise: pts of the keyframes' packets and their positions in the file, for
        seeking to a keyframe and recognising it; -1 = unknown
    key_headers: (k,) int64, only where packets carry headers for the decoder: number of them up to each keyframe
    """

    pts: NDArray[np.int64]
    timestamps_s: NDArray[np.float64]
    keyframes: NDArray[np.int64]
    numbered_by: Literal["pts", "packet", "dts", "order"] = "pts"
    packets: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    key_stamps: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    key_bytes: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    key_headers: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True, order=True)
class Segment:
    """Frames [start_frame, stop_frame) of a video: the unit of retry and of commit."""

    video_sha256: str
    start_frame: int
    stop_frame: int

    @property
    def frames(self) -> int:
        return self.stop_frame - self.start_frame


class FramePoses(NamedTuple):
    """The people found in one frame, the surest first.

    scores: (people,) float32
    keypoints: (people, 17, 2) float32, x then y, pixels; NaN = not found
    keypoint_scores: (people, 17) float32; NaN where the keypoint is not found
    """

    scores: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    keypoint_scores: NDArray[np.float32]


class Region(NamedTuple):
    """Part of a frame, in whole pixels of the displayed frame. (0, 0) is its top left pixel."""

    left: int
    top: int
    width: int
    height: int


class FrameLabel(NamedTuple):
    """Label of one frame by a classifier.

    score: the label's probability, 0 to 1
    region: where the score is from; None = the classifier looks at whole frames
    """

    label: str
    score: float
    region: Region | None = None


@dataclass(frozen=True, eq=False)
class Poses:
    """The people of many frames, one row per person per frame, ordered by (frame, person).

    frame: (n,) int64; person: (n,) int16, 0 = the surest of its frame; t_s: (n,) float64 seconds
    scores: (n,) float32
    keypoints: (n, 17, 2) float32, x then y, pixels of the original frame as shown; NaN = not found
    keypoint_scores: (n, 17) float32; NaN where the keypoint is not found
    """

    frame: NDArray[np.int64]
    person: NDArray[np.int16]
    t_s: NDArray[np.float64]
    scores: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    keypoint_scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def gather(cls, frames: Sequence[tuple[int, float, FramePoses]]) -> "Poses":
        """Rows from (frame number, t_s, people) of each frame, in frame order."""
        counts = [len(people.scores) for _, _, people in frames]
        return cls(
            frame=np.repeat(np.array([number for number, _, _ in frames], np.int64), counts),
            person=np.concatenate([np.arange(n, dtype=np.int16) for n in counts] or [np.empty(0, np.int16)]),
            t_s=np.repeat(np.array([t_s for _, t_s, _ in frames], np.float64), counts),
            scores=_stack([people.scores for _, _, people in frames], ()),
            keypoints=_stack([people.keypoints for _, _, people in frames], (KEYPOINTS, 2)),
            keypoint_scores=_stack([people.keypoint_scores for _, _, people in frames], (KEYPOINTS,)),
        )


@dataclass(frozen=True, eq=False)
class Classifications:
    """Labels of many frames by a classifier, one row per frame, in the frames' order.

    frame: (n,) int64; label: (n,) str; t_s: (n,) float64 seconds; scores: (n,) float32, the label's probability
    regions: (n, 4) int32 left, top, width, height: where in the displayed frame each score is from, in pixels;
        None = the classifier looks at whole frames
    """

    frame: NDArray[np.int64]
    label: NDArray[np.str_]
    t_s: NDArray[np.float64]
    scores: NDArray[np.float32]
    regions: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def gather(cls, frames: Sequence[tuple[int, float, FrameLabel]]) -> "Classifications":
        """Rows from (frame number, t_s, label) of each frame, in frame order."""
        regions = [seen.region for _, _, seen in frames if seen.region is not None]
        return cls(
            frame=np.array([number for number, _, _ in frames], np.int64),
            label=np.array([seen.label for _, _, seen in frames], np.str_),
            t_s=np.array([t_s for _, t_s, _ in frames], np.float64),
            scores=np.array([seen.score for _, _, seen in frames], np.float32),
            regions=np.array(regions, np.int32) if regions else None,
        )


Rows = Poses | Classifications
"""Rows that a model writes to SQL: of people, or of frames."""


def _stack(parts: list[NDArray[np.float32]], shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.concatenate([np.empty((0, *shape), np.float32), *parts])


@dataclass(frozen=True)
class ModelVersion:
    """One converted model as the database knows it: the hash of all that determines its rows, and its origin.

    version_sha256: Manifest.version_id; manifest: the whole manifest.json
    frames_per_second: number of frames processed per second of video; None = every frame
    """

    version_sha256: str
    name: str
    task: str
    ir_sha256: str
    source_location: str
    source_sha256: str
    source_format: str
    precision: str
    manifest: str
    frames_per_second: float | None = None


@dataclass(frozen=True)
class SegmentReport:
    """Report on one segment: the content of the ledger and the result file besides the rows.

    frames_done: frames that were processed, or skipped because the model version samples some frames per second only
    undecodable: numbers of the frames that could not be decoded, ascending
    device: full name of the inference device, such as "CPU (Intel Xeon …)"; precision: "f32", "bf16", "f16"
    worker: its name; wall_s: seconds from the first frame's request to the last frame's decoding
    """

    frames_done: int
    undecodable: tuple[int, ...]
    device: str
    precision: str
    worker: str
    wall_s: float


@dataclass(frozen=True)
class CameraZone:
    """A part of a camera's picture in one period.

    kind: such as "area", "door" or "bed"
    points: fractions of the picture's width and height, x to the right and y down; a polygon has no repeated first one
    valid_from, valid_to: times in UTC; None = without a beginning, without an end
    """

    name: str
    kind: str
    shape: Literal["polygon", "line"]
    points: tuple[tuple[float, float], ...]
    valid_from: datetime | None = None
    valid_to: datetime | None = None


class Visit(NamedTuple):
    """The stay of a person in a polygon. Frames and seconds are those of the recording.

    zone: index in the list of zones; entered_frame, last_frame: first and last sighting inside
    entered_s: time of the first sighting inside
    left_s: time of the first sighting outside; of the last one inside where the person was not seen afterwards
    """

    zone: int
    track: int
    entered_frame: int
    last_frame: int
    entered_s: float
    left_s: float


class Crossing(NamedTuple):
    """A person who has crossed a line: the first sighting on its other side. Frame and time are of the recording.

    direction: as seen from the line's first point towards its last one
    """

    zone: int
    track: int
    frame: int
    at_s: float
    direction: Literal["left_to_right", "right_to_left"]


class ZoneRows(NamedTuple):
    """Visits of polygons, and crossings of lines."""

    visits: list[Visit]
    crossings: list[Crossing]


class VideoError(NightjarError):
    """A video that cannot be used. The text is the reason that the quarantine shows."""


class AttemptError(NightjarError):
    """An attempt that failed for a reason that says nothing about the video: another attempt may succeed."""


class TooSlowError(AttemptError):
    """An attempt that took too much wall-clock time: a slow disk or a busy machine. The next night may succeed."""


class Step(NamedTuple):
    """One batch of training. epoch: from 1; step: from 1, through all epochs; accuracy: 0 to 1"""

    epoch: int
    step: int
    loss: float
    accuracy: float


class Epoch(NamedTuple):
    """One epoch, from 1. loss, accuracy: the mean over its training pictures, each measured at its own step

    step: the last one's number; seconds: training and validation
    """

    epoch: int
    step: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float
