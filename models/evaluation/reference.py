"""Accuracy and cost of the published models, as this project measured them, and which to take. Measures nothing.

The figures are in models/data/reference.json, which `make reference` writes.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

FILE = Path(__file__).parents[1] / "data" / "reference.json"

Purpose = Literal["PC", "stick"]


class Recommended(NamedTuple):
    """A model, and its size as `nightjar convert --size` takes it."""

    model: str
    size: str


RECOMMENDED: MappingProxyType[Purpose, Recommended] = MappingProxyType(
    {"PC": Recommended("movenet-multipose", "192x320"), "stick": Recommended("posenet-075", "353")}
)
"""See docs/decisions/147. MoveNet does not run on a Neural Compute Stick."""


@dataclass(frozen=True)
class ReferenceModel:
    """Figures of a model at one input size.

    size: as `nightjar convert --size` takes it
    ap, mean_oks: in the mode `multi`; single_mean_oks: in the mode `single`, see models.evaluation.coco.choose
    frames_per_s, cpu_ms: of the inference alone, with all cores in use; CPU milliseconds of all threads, per frame
    """

    model: str
    size: str
    ap: float
    mean_oks: float
    single_mean_oks: float
    frames_per_s: float
    cpu_ms: float

    @property
    def purpose(self) -> str:
        """The purposes that the model is recommended for, between commas."""
        return ", ".join(
            name for name, (model, size) in RECOMMENDED.items() if (model, size) == (self.model, self.size)
        )


@dataclass(frozen=True)
class ReferenceFigures:
    """Figures of all models, measured in one run, and their conditions.

    images: description of the annotated ones, with the number of people
    single_images: number of images in the mode `single`
    truth_sha256, images_sha256: of the annotations, and of the images' names and bytes
    machine: that measured the speed; other_load: share of its CPUs that others used meanwhile, 0 to 1
    rounds: of the speed, with all models in turns; their medians are the figures
    """

    images: str
    single_images: int
    truth_sha256: str
    images_sha256: str
    machine: str
    openvino: str
    other_load: float
    rounds: int
    measured_on: str
    models: tuple[ReferenceModel, ...]

    @property
    def protocol(self) -> str:
        """Describe the conditions in sentences."""
        return (
            f"AP and mean OKS: as 'nightjar evaluate' in the mode multi, on {self.images}; one person: mean OKS in "
            f"the mode single, on {self.single_images} of them. Speed: the inference alone in f32 with all cores, "
            f"medians of {self.rounds} rounds in turns, on {self.machine}, of which others used "
            f"{self.other_load:.0%} meanwhile, with OpenVINO {self.openvino}, on {self.measured_on}."
        )


@cache
def read_reference() -> ReferenceFigures:
    """Read the figures."""
    raw = json.loads(FILE.read_text(encoding="utf-8"))
    return ReferenceFigures(**{**raw, "models": tuple(ReferenceModel(**model) for model in raw["models"])})


def advice() -> list[str]:
    """Name the recommended models in sentences, with the command that converts each."""
    pc, stick = RECOMMENDED["PC"], RECOMMENDED["stick"]
    return [
        f"On a PC, take {pc.model}: 'nightjar convert {pc.model} --size {pc.size}' for wide videos (16:9), and without "
        "--size for others.",
        f"On a Neural Compute Stick, take {stick.model}: 'nightjar convert {stick.model} --size {stick.size}'.",
    ]
