"""Parameters of a batch, from which the command line and the flow's form are made. Imports nothing heavy."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from models.inference.spec import FrameRate, RuntimeSpec
from models.spec import Option

Dispatch = Literal["local", "fleet"]
Overlay = Literal["none", "sample", "all"]


@dataclass(frozen=True)
class NightSpec:
    """One run of a model over an archive. runtime: this machine's device, for local dispatch"""

    archive: Annotated[str, Option("Folder with videos, or s3://bucket/prefix.", min_length=1, address=True)]
    model: Annotated[str, Option("A converted model's name (its newest version) or a version's hash.", min_length=1)]
    segment_s: Annotated[int, Option("Seconds of video per segment: the unit of commit and retry.", ge=1, le=3600)] = 60
    dispatch: Annotated[
        Dispatch,
        Option("Process the segments on this machine (local), or on the workers of the edge pool (fleet)."),
    ] = "local"
    overlay: Annotated[
        Overlay,
        Option(
            "Write videos with the skeletons drawn in to the artifact store: of the busiest segments (sample), or of "
            "all videos. They show faces."
        ),
    ] = "none"
    runtime: RuntimeSpec = field(default=RuntimeSpec())
    frames_per_second: FrameRate = None

    @property
    def own_device(self) -> str | None:
        """Return the device that this machine needs; None if the edge pool does the work."""
        return self.runtime.device if self.dispatch == "local" else None


@dataclass(frozen=True)
class OverlayRequest:
    """A processed video, or a part of it, to be drawn with its results.

    video: key in its archive, path, or the start of its hash; model: name or hash, None = the one that the views show
    from_s, to_s: seconds on the video's clock; None = to its end
    output: file to write, None = into the artifact store
    blur_faces: blur the heads of the people whom the model found
    """

    video: str
    model: str | None = None
    from_s: float = 0.0
    to_s: float | None = None
    output: Path | None = None
    blur_faces: bool = False
