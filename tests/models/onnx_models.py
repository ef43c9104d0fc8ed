"""ONNX models with the signatures of RTMO and of Ultralytics' pose heads, whose right answer is known.

Each sees a person wherever a square of CELL pixels of the tensor is red. No published weights are at hand.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

CELL = 16
BOX = (40.0, 120.0)  # width and height
SHARPNESS = 20.0  # of the sigmoid that makes a score of a cell's redness
KEYPOINT_OFFSETS = np.array([((k % 3 - 1) * 6, (k - 8) * 5) for k in range(17)], np.float32)  # x, y
VISIBILITY = np.array([0.9] * 16 + [0.1], np.float32)  # the right ankle is never seen
ROWS = 20  # of an end-to-end head


class Graph:
    """Nodes and constants of an ONNX graph, in the order in which they were added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def add(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def second(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Like `add`, and return the second output."""
        names = [f"t{len(self.nodes)}", f"t{len(self.nodes)}b"]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[1]

    def write(self, path: Path, given: Any, outputs: dict[str, Any], opset: int = 17, **metadata: str) -> Path:
        """Write the model. outputs: name -> shape"""
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
        graph = helper.make_graph(self.nodes, "graph", [given], ends, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        helper.set_model_props(model, metadata)
        onnx.save(model, str(path))
        return path


def image(size: tuple[Any, Any], name: str = "images", kind: int = TensorProto.FLOAT, batch: Any = 1) -> Any:
    """The input, (batch, 3, height, width). A text instead of a number is a dynamic axis."""
    return helper.make_tensor_value_info(name, kind, [batch, 3, *size])


class _Cells:
    """Score, position and keypoints of each cell: (1, 1, n), (1, 1, n) twice, and (1, 17, n) twice."""

    def __init__(self, graph: Graph, given: str, red: int, full: float) -> None:
        """red: the channel of red; full: its largest value."""
        weights = np.full((1, 3, 1, 1), -0.5 / full, np.float32)
        weights[0, red] = 1 / full
        means = graph.add("AveragePool", given, kernel_shape=[CELL, CELL], strides=[CELL, CELL])
        redness = graph.add("Conv", means, graph.constant(weights))
        bright = graph.add("Sub", redness, graph.constant(0.5))
        score = graph.add("Sigmoid", graph.add("Mul", bright, graph.constant(SHARPNESS)))
        ones = graph.add("Add", graph.add("Mul", redness, graph.constant(0)), graph.constant(1))
        flat = graph.constant([1, 1, -1], np.int64)
        self.score = graph.add("Reshape", score, flat)
        self.x, self.y = (graph.add("Reshape", self._centres(graph, ones, axis), flat) for axis in (3, 2))
        self.keypoint_x, self.keypoint_y = (
            graph.add("Add", centre, graph.constant(KEYPOINT_OFFSETS[:, axis].reshape(1, 17, 1)))
            for axis, centre in enumerate((self.x, self.y))
        )
        self.visibility = graph.add(
            "Add",
            graph.add("Mul", self.keypoint_x, graph.constant(0)),
            graph.constant(VISIBILITY.reshape(1, 17, 1)),
        )

    @staticmethod
    def _centres(graph: Graph, ones: str, axis: int) -> str:
        """Pixel in the middle of each cell, where the first pixel's centre is 0."""
        count = graph.add("CumSum", ones, graph.constant(axis, np.int64))
        return graph.add("Sub", graph.add("Mul", count, graph.constant(CELL)), graph.constant(CELL / 2 + 0.5))


def _corners(graph: Graph, cells: _Cells) -> str:
    """(1, 4, n): left, top, right, bottom."""
    sides = []
    for sign in (-0.5, 0.5):
        sides += [
            graph.add("Add", centre, graph.constant(sign * side))
            for centre, side in zip((cells.x, cells.y), BOX, strict=True)
        ]
    return graph.add("Concat", *sides, axis=1)


def _keypoints(graph: Graph, cells: _Cells) -> str:
    """(1, 51, n): x, y and visibility of each."""
    axis = graph.constant([2], np.int64)
    parts = [graph.add("Unsqueeze", part, axis) for part in (cells.keypoint_x, cells.keypoint_y, cells.visibility)]
    stacked = graph.add("Concat", *parts, axis=2)
    return graph.add("Reshape", stacked, graph.constant([1, 51, -1], np.int64))


def write_yolo(path: Path, size: tuple[Any, Any] = (192, 256), kind: int = TensorProto.FLOAT, **metadata: str) -> Path:
    """One output [1, 56, n]: centre, width and height, score, keypoints."""
    graph = Graph()
    given = image(size, kind=kind)
    pixels = given.name if kind == TensorProto.FLOAT else graph.add("Cast", given.name, to=TensorProto.FLOAT)
    cells = _Cells(graph, pixels, red=0, full=1.0)
    nothing = graph.add("Mul", cells.x, graph.constant(0))
    sides = [graph.add("Add", nothing, graph.constant(side)) for side in BOX]
    graph.add("Concat", cells.x, cells.y, *sides, cells.score, _keypoints(graph, cells), output="output0", axis=1)
    return graph.write(path, given, {"output0": [1, 56, "anchors"]}, **metadata)


def write_yolo_end_to_end(path: Path, size: tuple[Any, Any] = (192, 256)) -> Path:
    """One output [1, ROWS, 57]: corners, score, class, keypoints of the surest cells."""
    graph = Graph()
    given = image(size)
    cells = _Cells(graph, given.name, red=0, full=1.0)
    label = graph.add("Mul", cells.x, graph.constant(0))
    everything = graph.add("Concat", _corners(graph, cells), cells.score, label, _keypoints(graph, cells), axis=1)
    rows = graph.add("Transpose", everything, perm=[0, 2, 1])
    scores = graph.add("Transpose", cells.score, perm=[0, 2, 1])
    count = graph.constant([ROWS], np.int64)
    places = graph.second("TopK", scores, count, axis=1)  # (1, ROWS, 1)
    every = graph.add("Tile", places, graph.constant([1, 1, 57], np.int64))
    graph.add("GatherElements", rows, every, output="output0", axis=1)
    return graph.write(path, given, {"output0": [1, ROWS, 57]})


def _descending(graph: Graph, scores: str) -> str:
    """(n,): the places of all rows, the surest first. scores: (1, n, 1), n not known before"""
    count = graph.add("Gather", graph.add("Shape", scores), graph.constant([1], np.int64))
    return graph.add("Reshape", graph.second("TopK", scores, count, axis=1), graph.constant([-1], np.int64))


def write_rtmo(path: Path, size: tuple[Any, Any] = (192, 256), *, nms: bool = True, nobody_row: bool = False) -> Path:
    """Two outputs, `dets` [1, n, 5] and `keypoints` [1, n, 17, 3], of the cells that a NonMaxSuppression selects.

    nms: False leaves it out, so that each cell is a row
    nobody_row: a row of zeros is added and all are sorted, as MMDeploy exports it
    """
    graph = Graph()
    given = image(size, "input")
    cells = _Cells(graph, given.name, red=2, full=255.0)
    boxes = graph.add("Transpose", _corners(graph, cells), perm=[0, 2, 1])
    scores = graph.add("Transpose", cells.score, perm=[0, 2, 1])
    dets = graph.add("Concat", boxes, scores, axis=2)
    flat = graph.add("Transpose", _keypoints(graph, cells), perm=[0, 2, 1])
    keypoints = graph.add("Reshape", flat, graph.constant([1, -1, 17, 3], np.int64))
    if nms:
        limits = [graph.constant([50], np.int64), graph.constant([0.65]), graph.constant([0.1])]
        chosen = graph.add("NonMaxSuppression", boxes, cells.score, *limits)
        batch_and_place = graph.add("Gather", chosen, graph.constant([0, 2], np.int64), axis=1)
        axis = graph.constant([0], np.int64)
        dets, keypoints = (
            graph.add("Unsqueeze", graph.add("GatherND", rows, batch_and_place), axis) for rows in (dets, keypoints)
        )
        if nobody_row:
            dets, keypoints = (
                graph.add("Concat", rows, graph.constant(np.zeros((1, 1, *shape))), axis=1)
                for rows, shape in ((dets, [5]), (keypoints, [17, 3]))
            )
            places = _descending(graph, graph.add("Gather", dets, graph.constant([4], np.int64), axis=2))
            dets, keypoints = (graph.add("Gather", rows, places, axis=1) for rows in (dets, keypoints))
    graph.add("Identity", dets, output="dets")
    graph.add("Identity", keypoints, output="keypoints")
    return graph.write(path, given, {"dets": [1, "n", 5], "keypoints": [1, "n", 17, 3]})


def picture(size: tuple[int, int], cells: list[tuple[int, int]]) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB, grey, with a red square in these cells of the tensor: (row, column)."""
    pixels = np.full((*size, 3), 90, np.uint8)
    for row, column in cells:
        pixels[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = (255, 0, 0)
    return pixels


def person(row: int, column: int) -> NDArray[np.float32]:
    """(17, 2) x, y of the keypoints of the person in a cell, in pixels of the tensor; NaN = not found."""
    centre = np.array([(column + 0.5) * CELL - 0.5, (row + 0.5) * CELL - 0.5], np.float32)
    keypoints = centre + KEYPOINT_OFFSETS
    keypoints[VISIBILITY < 0.3] = np.nan
    return keypoints
