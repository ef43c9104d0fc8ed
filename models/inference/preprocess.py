"""A picture of any size -> the model's input tensor, and the way back for coordinates. No video, no inference.

Coordinates are OpenCV's and COCO's: (0, 0) is the centre of the top left pixel. `cv2.resize` and swscale line up the
pictures' outer edges, not the centres of their first pixels; so do `to_tensor` and `to_original`: scaling alone would
be off by half a tensor pixel, which is 4 pixels of a 1768 pixels wide frame.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from models.decoders.region_spec import RegionSpec
from models.decoders.regions import plan_tiles
from models.inference.motion import smallest_side
from models.types import Region

PAD_VALUE = 127
"""Around a letterboxed picture: mid grey, which is 0 after the model's scaling, like the padding of its convolutions.

PoseNet was published with black. On 72 annotated people of COCO the two do not differ beyond chance.
"""
YOLO_GREY = 114
"""Around a picture of the mode "letterbox-114": Ultralytics' models and RTMO were trained with it."""
BLACK = 0
"""Around a picture of the mode "fit": MoveNet was trained with it, and finds fewer people next to grey."""
MAX_STRETCH = 1.1
"""How much the mode "fit" may change a picture's proportions in order to fill more of the tensor."""

Image = NDArray[np.uint8]
Mode = Literal["letterbox", "letterbox-114", "corner", "stretch", "fit"]
_PADDING: dict[Mode, int] = {"letterbox": PAD_VALUE, "letterbox-114": YOLO_GREY, "corner": PAD_VALUE, "fit": BLACK}
Float = TypeVar("Float", np.float32, np.float64)


@dataclass(frozen=True)
class Resize:
    """Placement of a picture in a tensor, in pixels: its size `inner_width` x `inner_height`, its corner at
    (offset_x, offset_y). Made by `plan_resize`.
    """

    source_width: int
    source_height: int
    tensor_width: int
    tensor_height: int
    inner_width: int
    inner_height: int
    offset_x: int
    offset_y: int
    pad_value: int = PAD_VALUE

    @property
    def scale(self) -> tuple[float, float]:
        """Tensor pixels per source pixel, across and down: nearly equal for a letterbox (whole pixels)."""
        return self.inner_width / self.source_width, self.inner_height / self.source_height

    def to_tensor(self, xy: NDArray[Float]) -> NDArray[Float]:
        """(..., 2) x, y in pixels of the source -> in pixels of the tensor, of the same type; NaN stays NaN."""
        moved: NDArray[Float] = ((xy + 0.5) * np.array(self.scale) + self._shift).astype(xy.dtype)
        return moved

    def to_original(self, xy: NDArray[Float]) -> NDArray[Float]:
        """(..., 2) x, y in pixels of the tensor -> in pixels of the source, of the same type; NaN stays NaN.

        A position in the padding becomes one outside of the picture.
        """
        moved: NDArray[Float] = ((xy - self._shift) / np.array(self.scale) - 0.5).astype(xy.dtype)
        return moved

    @property
    def _shift(self) -> NDArray[np.float64]:
        return np.array([self.offset_x - 0.5, self.offset_y - 0.5])

    def inner(self, tensor: Image) -> Image:
        """Write the padding into the tensor. Returns the part of it for the resized picture.

        tensor: (tensor_height, tensor_width, 3); the part: (inner_height, inner_width, 3)

        Raises ValueError where the tensor has another shape.
        """
        _expect("The tensor", tensor, (self.tensor_height, self.tensor_width, 3))
        if (self.inner_width, self.inner_height) == (self.tensor_width, self.tensor_height):
            return tensor
        bottom, right = self.offset_y + self.inner_height, self.offset_x + self.inner_width
        tensor[: self.offset_y] = self.pad_value
        tensor[bottom:] = self.pad_value
        tensor[self.offset_y : bottom, : self.offset_x] = self.pad_value
        tensor[self.offset_y : bottom, right:] = self.pad_value
        return tensor[self.offset_y : bottom, self.offset_x : right]

    def place(self, inner: Image, tensor: Image) -> None:
        """Write a picture that is resized already, with its padding, into the tensor.

        inner: (inner_height, inner_width, 3); tensor: (tensor_height, tensor_width, 3)

        Raises ValueError where one of them has another shape.
        """
        _expect("The resized picture", inner, (self.inner_height, self.inner_width, 3))
        self.inner(tensor)[:] = inner


def plan_resize(source_size: tuple[int, int], tensor_size: tuple[int, int], mode: Mode) -> Resize:
    """Placement of a picture of `source_size` in a tensor of `tensor_size`; both (width, height) in pixels.

    mode: "letterbox" keeps the proportions and centres, like PoseNet's published `padAndResizeTo`; "letterbox-114" does
        so on another grey, like Ultralytics' LetterBox; "corner" keeps them and starts at the top left, like
        OpenPose's published demo; "stretch" fills; "fit" is a letterbox on black whose picture is stretched by up to
        MAX_STRETCH, so that nearly equal proportions leave no bars
    Raises ValueError where a size is not positive or the mode unknown.
    """
    if min(*source_size, *tensor_size) < 1:
        raise ValueError(
            f"A picture of {source_size} cannot be placed in a tensor of {tensor_size}. Give positive (width, height)."
        )
    if mode == "stretch":
        return Resize(*source_size, *tensor_size, *tensor_size, 0, 0)
    if mode not in _PADDING:
        raise ValueError(f"The resize mode is {mode!r}. Give 'stretch', {', '.join(map(repr, _PADDING))}.")
    fills = [tensor / source for source, tensor in zip(source_size, tensor_size, strict=True)]
    most = min(fills) * (MAX_STRETCH if mode == "fit" else 1)
    width, height = (max(1, round(side * min(fill, most))) for side, fill in zip(source_size, fills, strict=True))
    left, top = (0, 0) if mode == "corner" else ((tensor_size[0] - width) // 2, (tensor_size[1] - height) // 2)
    return Resize(*source_size, *tensor_size, width, height, left, top, _PADDING[mode])


def preprocess(
    image: Image, tensor_size: tuple[int, int], mode: Mode, color: Literal["BGR", "RGB"] = "BGR"
) -> tuple[Image, Resize]:
    """Make the input tensor of one picture, (height, width, 3) uint8 RGB, and the way back.

    image: (h, w, 3) uint8 in the order `color` (OpenCV reads BGR); tensor_size: (width, height) pixels
    Bilinear, like PoseNet's published code. Raises ValueError where the array is not an image.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(
            f"The picture is {image.shape} {image.dtype}. Give (h, w, 3) uint8, as read with cv2.IMREAD_COLOR."
        )
    resize = plan_resize((image.shape[1], image.shape[0]), tensor_size, mode)
    inner = cv2.resize(image, (resize.inner_width, resize.inner_height), interpolation=cv2.INTER_LINEAR)
    tensor = np.empty((resize.tensor_height, resize.tensor_width, 3), np.uint8)
    rgb = inner if color == "RGB" else inner[:, :, ::-1]
    resize.place(np.asarray(rgb, np.uint8), tensor)
    return tensor, resize


class RegionCuts(NamedTuple):
    """Regions to cut out of frames. read_size: (width, height) in which a frame is read to that end"""

    spec: RegionSpec
    read_size: tuple[int, int]


def plan_cuts(frame_size: tuple[int, int], spec: RegionSpec, tensor_size: tuple[int, int]) -> RegionCuts:
    """Choose the smallest size to read a frame in that gives every region all pixels of its tensor, or all there are.

    All sizes are (width, height) in pixels.
    """
    sizes = [(region.width, region.height) for region in plan_tiles(frame_size, spec)]
    if spec.moving:
        sizes.append((smallest_side(frame_size),) * 2)
    needed = max(tensor / side for size in sizes for tensor, side in zip(tensor_size, size, strict=True))
    width, height = (max(1, round(side * min(1.0, needed))) for side in frame_size)
    return RegionCuts(spec, (width, height))


def cut_region(picture: Image, region: Region, frame_size: tuple[int, int], tensor: Image) -> None:
    """Write a region of a frame into a tensor, stretched.

    picture: (h, w, 3) uint8, the frame in any size; region: in pixels of the frame, of which frame_size is the size
    tensor: (height, width, 3) uint8
    """
    height, width = picture.shape[:2]
    across, down = width / frame_size[0], height / frame_size[1]
    left, top = min(round(region.left * across), width - 1), min(round(region.top * down), height - 1)
    right = max(left + 1, round((region.left + region.width) * across))
    bottom = max(top + 1, round((region.top + region.height) * down))
    part = picture[top:bottom, left:right]
    shrinks = part.shape[0] > tensor.shape[0] or part.shape[1] > tensor.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    tensor[:] = cv2.resize(part, (tensor.shape[1], tensor.shape[0]), interpolation=interpolation)


def _expect(what: str, array: Image, shape: tuple[int, int, int]) -> None:
    if array.shape != shape:
        raise ValueError(f"{what} is {array.shape}, not {shape}. Use the Resize that it was made with.")
