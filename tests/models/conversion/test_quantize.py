"""The parts of a network that stay in floating point: those of one output map only, and what follows the maps."""

from typing import Any

import numpy as np

from models.conversion.quantize import _heads
from models.heavy.openvino import ov

ops = ov.opset8


def convolution(given: Any, name: str) -> Any:
    """A convolution of 3x3 with four channels, and a ReLU behind it."""
    weights = ops.constant(np.ones((4, given.shape[1], 3, 3), np.float32), name=f"{name}/weights")
    made = ops.convolution(given, weights, [1, 1], [1, 1], [1, 1], [1, 1], name=name)
    return ops.relu(made, name=f"{name}/relu")


def backbone() -> tuple[Any, Any]:
    image = ops.parameter([1, 3, 16, 16], np.float32, name="image")
    return image, convolution(convolution(image, "first"), "shared")


def test_maps_that_are_outputs_keep_their_convolution() -> None:
    """Like PoseNet: one convolution for each output, behind a backbone for all."""
    image, shared = backbone()
    maps = [convolution(shared, name) for name in ("heatmap", "offset")]
    assert _heads(ov.Model(maps, [image])) == ["heatmap", "heatmap/relu", "offset", "offset/relu"]


def test_branches_and_post_processing_keep_all() -> None:
    """Like MoveNet: two convolutions for each map, and one output that is read from the best cells of the maps."""
    image, shared = backbone()
    centers = convolution(convolution(shared, "center/1"), "center/2")
    places = convolution(convolution(shared, "place/1"), "place/2")
    flat = ops.reshape(centers, ops.constant([1, -1]), False, name="flat")
    best = ops.topk(flat, ops.constant(3), 1, "max", "value", name="best")
    size = ops.shape_of(shared, name="size")  # of a shape only: no reason to keep the backbone
    cells = ops.reshape(places, ops.reduce_prod(size, ops.constant([0]), True, name="cells/size"), False, name="cells")
    people = ops.gather(cells, best.output(1), ops.constant(0), name="people")
    found = _heads(ov.Model([people], [image]))
    branches = {f"{kind}/{number}{end}" for kind in ("center", "place") for number in (1, 2) for end in ("", "/relu")}
    assert set(found) == branches | {"flat", "best", "cells", "cells/size", "people"}


def test_a_single_output_keeps_its_last_convolution_and_not_the_whole_network() -> None:
    image, shared = backbone()
    assert _heads(ov.Model([ops.sigmoid(shared, name="people")], [image])) == ["people", "shared", "shared/relu"]
