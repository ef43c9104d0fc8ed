"""Parameters of a batch. Light, so that the command line and the flow's form are made from them."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from models.inference.spec import FrameRate, RuntimeSpec
from models.spec import Option

Dispatch = Literal["local", "fleet"]
Overlay = Literal["none", "sample", "all"]


@dataclass(frozen=True)
class NightSpec:
    """One run of a model over an archive. runtime: this machine's device, for dispatch local"""

    archive: Annotated[str, Option("Folder with videos, or s3://bucket/prefix.", min_length=1, address=True)]
    model: Annotated[str, Option("A converted model's name (its newest version) or a version's hash.", min_length=1)]
    segment_s: Annotated[int, Option("Seconds of video per segment: the unit of commit and retry.", ge=1, le=3600)] = 60
    dispatch: Annotated[
        Dispatch,
        Option("Process the segments on this machine (local), or by the workers of the edge pool on theirs (fleet)."),
    ] = "local"
    overlay: Annotated[Overlay, Option("Videos with the skeletons drawn in, written to the artifact store.")] = "sample"
    runtime: RuntimeSpec = field(default=RuntimeSpec())
    frames_per_second: FrameRate = None

    @property
    def own_device(self) -> str | None:
        """The device that this machine needs; None where only workers of the edge pool compute."""
        return self.runtime.device if self.dispatch == "local" else None
