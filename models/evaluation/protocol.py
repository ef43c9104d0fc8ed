"""Evaluation of a pose model on COCO's images: figures, and the protocol that they depend on. Opens no device."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.decoders.posenet import EVALUATION_DECODE
from models.drawing.people import contact_sheet, draw_caption, draw_poses
from models.evaluation.coco import LEAST_KEYPOINTS, CocoError, CocoImage, CocoSet, Labelled, choose, coco_figures, match
from models.evaluation.spec import Mode
from models.inference.pipeline import DECODERS, FrameTensor, inside_frame, run_pipeline
from models.inference.preprocess import Mode as Resizing
from models.inference.preprocess import preprocess
from models.inference.runtime import Runtime
from models.manifest import Manifest
from models.types import FramePoses

PCK_SHARE = 0.2
SHEET_TILES = 6  # of the best, and of the worst
SHEET_COLUMNS = 4
SHEET_WIDTH = 1600
_LATER = ("notes", "outside")  # fields that stored protocols may lack
_AT_ONCE = 64  # pictures to check before the limit is compared
# Parameters of PoseNet that an evaluation changes: see EVALUATION_DECODE.
_THRESHOLDS = ("root_score_threshold", "keypoint_score_threshold", "pose_score_threshold")


@dataclass(frozen=True)
class Protocol:
    """Conditions of a measurement, by which PoseNet's published figures differ tenfold.

    mode: "multi" or "single", see coco.choose; "agreement": with another model's people, no annotations
    truth, truth_sha256: reference of the figures, an annotation file or a model version
    pictures: description of the images; images, images_sha256: their number, and the hash of their names and bytes
    people: number of people that count; resize: method of fitting an image into input_width x input_height pixels
    decode_params: of the decoder; device, precision: of the inference
    notes: omissions and repairs of the annotations, in words
    outside: position of a keypoint outside the image: at its "edge"; "" = unchanged, as in earlier versions
    """

    mode: Literal["multi", "single", "agreement"]
    truth: str
    truth_sha256: str
    pictures: str
    images: int
    images_sha256: str
    people: int
    input_width: int
    input_height: int
    resize: Resizing
    decoder: str
    decode_params: dict[str, Any]
    device: str
    precision: str
    notes: str = ""
    outside: Literal["", "edge"] = ""

    def to_json(self) -> str:
        """Write the protocol as JSON, without later fields that are empty, so that an older protocol keeps its hash."""
        told = {name: value for name, value in dataclasses.asdict(self).items() if name not in _LATER or value}
        return json.dumps(told, sort_keys=True)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def lines(self) -> dict[str, str]:
        """Describe the values: label -> text."""
        decode = ", ".join(f"{name} {value}" for name, value in self.decode_params.items())
        noted = {"left out, repaired": self.notes} if self.notes else {}
        return {
            "mode": self.mode,
            "images": f"{self.pictures} (sha256 {self.images_sha256[:12]})",
            **noted,
            "people": f"{self.people:,}",
            "truth": f"{self.truth} (sha256 {self.truth_sha256[:12]})",
            "input": f"{self.input_width}x{self.input_height} pixels, {self.resize}",
            "decoder": f"{self.decoder}: {decode}",
            **({"outside": f"keypoints outside the image are put at its {self.outside}"} if self.outside else {}),
            "device": f"{self.device}, {self.precision}",
        }


class Figures(NamedTuple):
    """Figures of an evaluation.

    ap, ap50, ap75, ar: COCO's for keypoints
    mean_oks: over all people that count, 0 for a person that was not found
    pck: share of their labelled keypoints within PCK_SHARE of the longer side of the annotated box
    Without annotations there is OKS only.
    """

    mean_oks: float
    ap: float | None = None
    ap50: float | None = None
    ap75: float | None = None
    ar: float | None = None
    pck: float | None = None

    def lines(self) -> dict[str, str]:
        """Describe the values: label -> text."""
        names = {
            "ap": "AP",
            "ap50": "AP50",
            "ap75": "AP75",
            "ar": "AR",
            "mean_oks": "mean OKS",
            "pck": "PCK (0.2 of box)",
        }
        values = {label: getattr(self, name) for name, label in names.items()}
        return {label: f"{value:.4f}" for label, value in values.items() if value is not None}


@dataclass(frozen=True, eq=False)
class Plan:
    """Plan of an evaluation. images: the chosen images of the set; protocol: of the figures"""

    coco: CocoSet
    images: list[CocoImage]
    protocol: Protocol


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Result of an evaluation. sheet: the best and the worst images with the found people, (h, w, 3) uint8 BGR"""

    figures: Figures
    sheet: NDArray[np.uint8]


class _Seen(NamedTuple):
    """An image with its people: their mean_oks, and the matched poses, (n, 17, 2) and (n, 17)."""

    image: CocoImage
    mean_oks: float
    keypoints: NDArray[np.float32]
    scores: NDArray[np.float32]


def plan_evaluation(coco: CocoSet, manifest: Manifest, runtime: Runtime, mode: Mode, limit: int | None) -> Plan:
    """Plan an evaluation. limit: maximum number of images, the first by id

    Raises CocoError where no person is annotated, or the model does not support the mode.
    """
    chosen = choose(coco.images, mode)
    which = f"the {len(chosen)} with exactly one annotated person, of at least {LEAST_KEYPOINTS} keypoints,"
    described = f"{'all' if mode == 'multi' else which} of the {len(coco.images)} available of {coco.in_file}"
    readable, damaged = _readable(chosen, limit)
    images = [image for image, _ in readable]
    if limit is not None and limit < len(chosen):
        described = f"the first {limit} by id, {described}"
    people = sum(len(image.people) for image in images)
    if not people:
        reason = f" {damaged[0]}." if damaged else ""
        raise CocoError(f"The {len(images)} images for {mode} have no person to count.{reason} Choose other images.")
    names = "".join(f"{image.image_id} {image.path.name} {sha256}\n" for image, sha256 in readable)
    left_out = (f"{len(damaged)} × image left out ({damaged[0]})",) if damaged else ()
    return Plan(
        coco,
        images,
        Protocol(
            mode=mode,
            truth="COCO keypoint annotations",
            truth_sha256=coco.sha256,
            pictures=described,
            images=len(images),
            images_sha256=hashlib.sha256(names.encode()).hexdigest(),
            people=people,
            input_width=manifest.input.width,
            input_height=manifest.input.height,
            resize="stretch" if mode == "single" else manifest.input.resize,
            decoder=manifest.decoder,
            decode_params=evaluation_params(manifest, mode),
            device=runtime.device,
            precision=runtime.precision,
            notes="; ".join(coco.notes + left_out),
            outside="edge",
        ),
    )


def _readable(images: Sequence[CocoImage], limit: int | None) -> tuple[list[tuple[CocoImage, str]], list[str]]:
    """Return the complete images with the sha256 of their bytes, up to the limit; and the reasons of the others."""
    readable: list[tuple[CocoImage, str]] = []
    damaged: list[str] = []
    for start in range(0, len(images), _AT_ONCE):
        some = images[start : start + _AT_ONCE]
        with ThreadPoolExecutor() as threads:
            for image, found in zip(some, threads.map(_look, some), strict=True):
                if found.error:
                    damaged.append(found.error)
                else:
                    readable.append((image, found.sha256))
                if len(readable) == limit:
                    return readable, damaged
    return readable, damaged


class _FileCheck(NamedTuple):
    """Check of a file. sha256: of its bytes; error: the damage of the picture"""

    sha256: str
    error: str = ""


def _look(image: CocoImage) -> _FileCheck:
    try:
        content = image.content()
        image.decode(content)
    except CocoError as error:
        return _FileCheck("", str(error))
    return _FileCheck(hashlib.sha256(content).hexdigest())


def evaluation_params(manifest: Manifest, mode: Mode) -> dict[str, Any]:
    """Return the model's parameters with low thresholds, so that unsure people count too, with their scores.

    OpenPose's, for several people, are unchanged. Raises CocoError where the model detects no people.
    """
    if manifest.decoder == "posenet" and mode == "multi":
        return {**manifest.decode_params, **{name: getattr(EVALUATION_DECODE, name) for name in _THRESHOLDS}}
    if manifest.decoder == "posenet":
        low = {"keypoint_score_threshold": 0.0, "pose_score_threshold": 0.0}
        return {**manifest.decode_params, "mode": "single", **low}
    if manifest.decoder in ("movenet", "rtmo", "yolo-pose"):
        return {**manifest.decode_params, "keypoint_score_threshold": 0.0, "pose_score_threshold": 0.0}
    if manifest.decoder == "openpose":
        return manifest.decode_params | ({"pose_score_threshold": 0.0} if mode == "single" else {})
    raise CocoError(
        f"{manifest.name} has the decoder {manifest.decoder}, which detects no people. Choose another model."
    )


def evaluate(plan: Plan, runtime: Runtime, on_image: Callable[[], None] = lambda: None) -> Evaluated:
    """Evaluate the model of the runtime. Raises RuntimeFault, or CocoError for an image."""
    found: dict[int | str, FramePoses] = {}
    seen: list[_Seen] = []
    right: list[NDArray[np.bool_]] = []
    similarities: list[float] = []
    for image, poses in zip(plan.images, find_people(plan, runtime), strict=True):
        found[image.image_id] = poses
        who, similarity = match(poses.keypoints, image.people)
        right += [_within(poses, index, person) for index, person in zip(who, image.people, strict=True)]
        similarities += similarity.tolist()
        if image.people:
            mine = who[who >= 0]
            seen.append(_Seen(image, float(similarity.mean()), poses.keypoints[mine], poses.keypoint_scores[mine]))
        on_image()
    precision = coco_figures(plan.coco.dataset, found)
    figures = Figures(float(np.mean(similarities)), *precision, float(np.concatenate(right).mean()))
    return Evaluated(figures, _sheet(seen))


def _within(poses: FramePoses, index: int, person: Labelled) -> NDArray[np.bool_]:
    """Return whether each labelled keypoint of the person was found near enough; NaN = not found."""
    if index < 0:
        return np.zeros(int(person.labelled.sum()), np.bool_)
    error = np.hypot(*(poses.keypoints[index] - person.keypoints).T)
    return np.asarray(error[person.labelled] <= PCK_SHARE * person.side)


def find_people(plan: Plan, runtime: Runtime) -> Iterator[FramePoses]:
    """Yield the people of each image, in its pixels, in the images' order."""
    protocol = plan.protocol
    size = (protocol.input_width, protocol.input_height)
    read = DECODERS[protocol.decoder](protocol.decode_params)
    ways = {}

    def tensors() -> Iterator[FrameTensor]:
        for number, image in enumerate(plan.images):
            tensor, ways[number] = preprocess(image.read(), size, protocol.resize, color="RGB")
            yield FrameTensor(number, 0.0, tensor[None])

    for number, _, poses in run_pipeline(tensors(), runtime, read):
        assert isinstance(poses, FramePoses)
        poses = surest(poses) if protocol.mode == "single" else poses
        yield poses._replace(keypoints=inside_frame(poses.keypoints, ways.pop(number)))


def surest(poses: FramePoses) -> FramePoses:
    """Keep the first person only, for decoders without a mode for one person."""
    return FramePoses(*(values[:1] for values in poses))


def _sheet(seen: Sequence[_Seen]) -> NDArray[np.uint8]:
    """Draw the best images, then the worst ones: the found people, and a cross at each annotated keypoint."""
    ranked = sorted(seen, key=lambda one: (-one.mean_oks, str(one.image.path)))
    chosen = ranked if len(ranked) <= 2 * SHEET_TILES else ranked[:SHEET_TILES] + ranked[-SHEET_TILES:]
    return contact_sheet([_tile(one) for one in chosen], SHEET_COLUMNS, SHEET_WIDTH)


def _tile(one: _Seen) -> NDArray[np.uint8]:
    picture = np.ascontiguousarray(one.image.read()[..., ::-1])
    draw_poses(picture, one.keypoints, one.scores)
    for person in one.image.people:
        for x, y in person.keypoints[person.labelled].round().astype(int).tolist():
            cv2.drawMarker(picture, (x, y), (255, 255, 255), cv2.MARKER_TILTED_CROSS, 9, 2, cv2.LINE_AA)
    draw_caption(picture, f"mean OKS {one.mean_oks:.2f} of {len(one.image.people)}   {one.image.path.name}")
    return picture
