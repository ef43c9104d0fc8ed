"""Computation that an IR needs per picture, from the IR alone. No OpenVINO, no device, no time.

Of networks of one kind the wider one computes more and, as a rule, sees better.
"""

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def multiply_adds(xml: Path) -> int:
    """Of its convolutions and matrix products; all else is little beside them. Shapes must be static."""
    return sum(_of_layer(layer) for layer in ElementTree.parse(xml).getroot().iter("layer"))  # noqa: S314 - our own IR


def _of_layer(layer: ElementTree.Element) -> int:
    """Numbers that come out, times the products that each is a sum of."""
    kind = layer.get("type")
    if kind not in ("Convolution", "GroupConvolution", "MatMul"):
        return 0
    (first, second), (out,) = _shapes(layer, "input"), _shapes(layer, "output")
    if kind == "MatMul":
        data = layer.find("data")
        transposed = data is not None and data.get("transpose_a") == "true"
        return math.prod(out) * first[-2 if transposed else -1]
    # Weights: (out, in, height, width), or (groups, out, in, height, width).
    return math.prod(out) * math.prod(second[1 if kind == "Convolution" else 2 :])


def _shapes(layer: ElementTree.Element, side: str) -> list[list[int]]:
    return [[int(dim.text or "") for dim in port.findall("dim")] for port in layer.findall(f"{side}/port")]
