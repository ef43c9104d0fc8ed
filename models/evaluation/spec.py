"""Parameters of an evaluation on annotated images. Light."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from models.inference.spec import DeviceName
from models.spec import Option

Mode = Literal["multi", "single"]


@dataclass(frozen=True)
class EvaluateSpec:
    """The model, the annotated images, and the mode of the evaluation."""

    model: Annotated[
        str, Option("A model's name (its newest version) or a version's hash.", min_length=1, max_length=100)
    ]
    coco: Annotated[
        Path,
        Option("COCO's keypoint annotations, such as person_keypoints_val2017.json.", max_length=1000, place="file"),
    ]
    images: Annotated[
        Path,
        Option("Folder of the annotated images; missing ones are left out.", max_length=1000, place="folder"),
    ]
    mode: Annotated[
        Mode,
        Option("multi: all images with all people. single: images of one annotated person, decoded as one, stretched."),
    ] = "multi"
    device: DeviceName = "CPU"
    limit: Annotated[
        int | None, Option("Maximum number of images, the first by id.", when_empty="all images", ge=1)
    ] = None
