"""Heavy: the scaling that a network does itself, read from the beginning of its graph. No files.

Keras's Rescaling and Normalization layers, `preprocess_input` inside a model, a batch normalisation of the pixels and
the same written by hand all look alike in a frozen graph: a few operations on each pixel between the input and the
first operation that uses neighbouring pixels. Their joint effect is measured by running them on plain pictures.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

import numpy as np
from numpy.typing import NDArray

from models.conversion.graph import part_of, to_graph
from models.heavy.tensorflow import GraphDef, tf
from models.inference.scaling import IMAGENET_MEAN, Color, Scaling, named
from models.inference.sizes import InputSize

# Operations after which a plain picture is still a plain picture, each channel a function of the pixel's channels.
_POINTWISE = {
    *("Identity", "Cast", "StopGradient", "Mul", "Add", "AddV2", "Sub", "RealDiv", "Div", "DivNoNan", "BiasAdd", "Neg"),
    *("Minimum", "Maximum", "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "Transpose"),
    *("StridedSlice", "Slice", "ReverseV2", "Split", "SplitV", "Concat", "ConcatV2", "Gather", "GatherV2"),
    *("Pack", "Unpack", "ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic"),
}
_SHAPE_ONLY = {"Shape", "ShapeN", "Size", "Rank"}
_TOLERANCE = 1e-3  # of a difference of float32 values, in parts of the largest one
# Published means of ImageNet's pixels, in parts of 255. They tell the channel order: red is brighter than blue.
_NEAR_IMAGENET = 0.01


@dataclass(frozen=True)
class OwnScaling:
    """(x - mean) / std of each channel of the input, as the network computes it.

    mean, std: (3,) in the input's own units and channel order
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def expects(self) -> Scaling | None:
        """Return the range of values that the network expects, None where the numbers fit several.

        Only pixels of 0 to 255 have a mean or a spread far above 1, and only -1 to 1 has a mean below 0.
        """
        mean = np.array(self.mean, np.float64)
        std = np.array([abs(value) for value in self.std], np.float64)
        if (mean > -1e-6).all() and (mean <= 255).all() and ((mean > 2) | (std > 2.5)).all() and (std <= 512).all():
            return named("0..255", self._color(255))
        if ((mean >= 0.2) & (mean <= 0.8) & (std <= 1)).all() or (_near(mean, 0) and _near(std * 255, 1)):
            return named("0..1", self._color(1))
        if ((mean < -0.02) & (mean >= -1.02) & (std <= 2.5)).all():
            return named("-1..1")
        return None

    def _color(self, white: float) -> Color:
        """BGR where the means are ImageNet's with blue first."""
        reversed_mean = white * np.array(IMAGENET_MEAN[::-1])
        return "BGR" if np.abs(np.array(self.mean) - reversed_mean).max() <= _NEAR_IMAGENET * white else "RGB"

    def describe(self) -> str:
        """Describe the scaling for people."""
        mean, std = (", ".join(f"{v:.4g}" for v in _short(values)) for values in (self.mean, self.std))
        return f"the network subtracts {mean} and divides by {std} itself"


def own_scaling(graph: GraphDef, given: str, size: InputSize) -> OwnScaling | None:
    """Find the scaling at the beginning of a frozen graph; None where there is none or it is not linear per channel.

    given: name of the placeholder [1, *size, 3] float32. Only its first operations are run.
    """
    ends = _ends(graph, given)
    if len(ends) != 1 or ends == {f"{given}:0"}:
        return None
    response = _response(graph, given, ends.pop(), size)
    return None if response is None else _per_channel(*response)


def _ends(graph: GraphDef, given: str) -> set[str]:
    """Return the tensors that the rest of the network reads and only pointwise operations make from the input."""
    constant, pointwise = _constant_and_pointwise(graph, given)
    ends = set()
    for node in graph.node:
        if node.name in pointwise or node.name in constant or node.op in _SHAPE_ONLY:
            continue
        ends |= {_tensor(name) for name in node.input if _node_of(name) in pointwise}
    return ends


def _constant_and_pointwise(graph: GraphDef, given: str) -> tuple[set[str], set[str]]:
    """Return the names of the nodes that do not depend on the pixels, and of those that depend on them pointwise.

    A picture's shape counts as constant: the graph's input is fixed.
    """
    inputs = {n.name: {_node_of(name) for name in n.input if not name.startswith("^")} for n in graph.node}
    operations = {node.name: node.op for node in graph.node}
    constant: set[str] = set()
    pointwise: set[str] = set()
    for name in _in_order(inputs):
        if name == given:
            pointwise.add(name)
        elif inputs[name] <= constant or (operations[name] in _SHAPE_ONLY and inputs[name] <= constant | pointwise):
            constant.add(name)
        elif operations[name] in _POINTWISE and inputs[name] <= constant | pointwise:
            pointwise.add(name)
    return constant, pointwise


def _in_order(inputs: dict[str, set[str]]) -> Iterator[str]:
    """Order the nodes, each after its inputs. Nodes in a loop, absent from frozen networks, are left out."""
    order = TopologicalSorter(inputs)
    try:
        order.prepare()
    except CycleError:
        return
    while order.is_active():
        ready = order.get_ready()
        yield from ready
        order.done(*ready)


def _node_of(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]


def _tensor(name: str) -> str:
    name = name.lstrip("^")
    return name if ":" in name else f"{name}:0"


def _response(
    graph: GraphDef, given: str, end: str, size: InputSize
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Measure the matrix (3, 3) and offset (3,) between input and end; None where the relation is not affine."""
    colors = np.vstack([np.zeros(3), 255 * np.eye(3), [[40, 90, 200]]]).astype(np.float32)
    needed = part_of(graph, [end])
    with tf.compat.v1.Session(graph=to_graph(needed)) as session:
        try:
            seen = [session.run(end, {f"{given}:0": np.full((1, *size, 3), color)}) for color in colors]
        except tf.errors.OpError:
            return None  # a fault of the graph is reported when all of it runs
    middles = [_middle(values) for values in seen]
    if any(middle is None for middle in middles):
        return None
    at = np.array(middles, np.float64)
    offset, matrix = at[0], ((at[1:4] - at[0]) / 255).T
    largest = max(1.0, float(np.abs(at).max()))
    is_linear = np.abs(matrix @ colors[4] + offset - at[4]).max() <= _TOLERANCE * largest
    return (matrix, offset) if is_linear else None


def _middle(values: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return the three channels of the middle pixel, on whichever axis they are."""
    if values.ndim != 4 or 3 not in (values.shape[1], values.shape[3]):
        return None
    channels_last = values if values.shape[3] == 3 else values.transpose(0, 2, 3, 1)
    pixel: NDArray[np.float32] = channels_last[0, channels_last.shape[1] // 2, channels_last.shape[2] // 2]
    return pixel


def _per_channel(matrix: NDArray[np.float64], offset: NDArray[np.float64]) -> OwnScaling | None:
    """Return the scaling per channel; None = channels are mixed, lost, or left as they are."""
    source = np.abs(matrix).argmax(axis=1)
    gain = matrix[np.arange(3), source]
    rest = np.abs(matrix).sum(axis=1) - np.abs(gain)
    if sorted(source) != [0, 1, 2] or (gain == 0).any() or (rest > _TOLERANCE * np.abs(gain)).any():
        return None
    if np.allclose(gain, 1) and np.allclose(offset, 0):
        return None
    mean, std = np.empty(3), np.empty(3)
    mean[source], std[source] = -offset / gain + 0.0, 1 / gain
    return OwnScaling(tuple(mean.tolist()), tuple(std.tolist()))


def _near(values: NDArray[np.float64], target: float) -> bool:
    return bool(np.abs(values - target).max() <= 0.02)


def _short(values: tuple[float, ...]) -> tuple[float, ...]:
    return values[:1] if np.allclose(values, values[0]) else values
