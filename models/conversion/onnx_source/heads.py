"""The outputs of ONNX models that are known, how such a model is fed, and how its people are read.

No ONNX, no OpenVINO: shapes and arrays only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.decoders.candidates import CandidateParams
from models.decoders.movenet import MULTI_SHAPE
from models.decoders.rtmo import DETS, RTMO_KEYPOINTS, RTMO_PARAMS
from models.decoders.yolo_pose import (
    ANCHOR_PARAMS,
    ANCHOR_VALUES,
    ANCHORS,
    DETECTION_PARAMS,
    DETECTIONS,
    ROW_VALUES,
)
from models.errors import ConversionError
from models.inference.scaling import Scaling, named
from models.types import KEYPOINTS

Shape = tuple[int | None, ...]
"""Of an output; None = not known before the model runs."""
# Above, rows are the anchors of another head, such as YOLOv7's [1, 25500, 57] with another order of values.
MOST_ROWS = 1000
Size = int | Literal["n", "n <= 1000"]
_SLACK = 1e-3  # of scores beyond 0 and 1


@dataclass(frozen=True)
class Head:
    """Signature of a model, and its meaning.

    outputs: name in the IR -> shape; "n" = any number, or at most MOST_ROWS
    decoder, params: see models.inference.pipeline.DECODERS
    scaling: of the input, with its reason in words
    """

    title: str
    outputs: dict[str, tuple[Size, ...]]
    decoder: str
    params: CandidateParams
    scaling: Scaling
    basis: str


# BGR: configs/body_2d_keypoint/rtmo of MMPose have no `bgr_to_rgb`, mean 0 and std 1; images are read as BGR.
_RTMO = Head(
    "RTMO",
    {DETS: (1, "n", 5), RTMO_KEYPOINTS: (1, "n", KEYPOINTS, 3)},
    "rtmo",
    RTMO_PARAMS,
    named("0..255", "BGR"),
    "as MMPose trains RTMO",
)
_TRAINED_BY_ULTRALYTICS = named("0..1"), "as Ultralytics trains pose heads"
_ANCHORS = Head(
    "an Ultralytics pose head", {ANCHORS: (1, ANCHOR_VALUES, "n")}, "yolo-pose", ANCHOR_PARAMS, *_TRAINED_BY_ULTRALYTICS
)
_DETECTIONS = Head(
    "an Ultralytics pose head with its selection (YOLO26, or nms=True)",
    {DETECTIONS: (1, "n <= 1000", ROW_VALUES)},
    "yolo-pose",
    DETECTION_PARAMS,
    *_TRAINED_BY_ULTRALYTICS,
)
HEADS = (_RTMO, _ANCHORS, _DETECTIONS)


def recognise(shapes: Mapping[str, Shape | None]) -> tuple[Head, dict[str, str]]:
    """Recognise a model by the shapes of its outputs (None: not even the rank is known).

    Returns its head, and the source's name of each output by its name in the IR.
    Raises ConversionError where they are none of the known ones, or fit several.
    """
    found = [(head, names) for head in HEADS if (names := _matched(head, shapes)) is not None]
    if len(found) == 1 and not _is_movenet(shapes):
        return found[0]
    seen = ", ".join(f"{name} {_written(shape)}" for name, shape in shapes.items()) or "none"
    known = "; ".join(
        f"{', '.join(f'{name} {_written(shape)}' for name, shape in head.outputs.items())} of {head.title}"
        for head in HEADS
    )
    if len(found) > 1:
        raise ConversionError(f"The outputs are {seen}, which fit several models. Export another size.")
    hint = " For MoveNet give its TensorFlow.js weights." if _is_movenet(shapes) else ""
    raise ConversionError(
        f"The outputs are {seen}. Supported are {known}, with COCO's {KEYPOINTS} keypoints. Give such a model.{hint}"
    )


def _is_movenet(shapes: Mapping[str, Shape | None]) -> bool:
    return list(shapes.values()) == [MULTI_SHAPE]


def _matched(head: Head, shapes: Mapping[str, Shape | None]) -> dict[str, str] | None:
    """Return name in the IR -> source's name; None where the shapes are not the head's."""
    names = {}
    for output, pattern in head.outputs.items():
        fitting = [name for name, shape in shapes.items() if shape is not None and _fits(shape, pattern)]
        if len(fitting) != 1:
            return None
        names[output] = fitting[0]
    return names if len(set(names.values())) == len(shapes) else None


def _fits(shape: Shape, pattern: tuple[Size, ...]) -> bool:
    return len(shape) == len(pattern) and all(map(_may_be, shape, pattern))


def _may_be(side: int | None, expected: Size) -> bool:
    if isinstance(expected, int):
        return side == expected or (side is None and expected == 1)  # a batch of any size
    return side is None or expected == "n" or side <= MOST_ROWS


def _written(shape: tuple[object, ...] | None) -> str:
    return "of unknown rank" if shape is None else f"[{', '.join('?' if s is None else str(s) for s in shape)}]"


def refuse_other_values(head: Head, outputs: Mapping[str, NDArray[np.float32]]) -> None:
    """Raise ConversionError where the outputs have the shapes of a head, and values that no such head computes."""
    for name, values in scores_of(outputs).items():
        if values.size and not (values.min() >= -_SLACK and values.max() <= 1 + _SLACK):
            raise ConversionError(
                f"The scores in {name} go from {values.min():.3g} to {values.max():.3g}, those of {head.title} from 0 "
                "to 1. Export the model with its sigmoid."
            )
    rows = outputs.get(DETECTIONS)
    if rows is not None and (rows[..., 5] % 1).any():
        raise ConversionError(
            f"The sixth value of a row of {DETECTIONS} is the person's class, a whole number, but here it is "
            f"{rows[..., 5][rows[..., 5] % 1 != 0][0]:.3g}. Give the export of {head.title}."
        )


def scores_of(outputs: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Return the scores of people and keypoints in each output of a head."""
    found = {}
    for name, array in outputs.items():
        if name == ANCHORS:
            found[name] = array[:, 4::3]
        elif name == DETECTIONS:
            found[name] = np.concatenate([array[..., 4:5], array[..., 8::3]], axis=2)
        elif name in (DETS, RTMO_KEYPOINTS):
            found[name] = array[..., -1]
    return found
