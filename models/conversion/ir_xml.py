"""Facts from an IR's XML: its fitness for a Neural Compute Stick, and its multiply-adds. No OpenVINO, no device.

The stick's last OpenVINO is 2022.3 LTS, which supports the operation sets up to opset10 and static shapes.
"""

import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from models.manifest import Precision, Stick

NEWEST_OPSET = 10  # of OpenVINO 2022.3


def check_stick(xml: Path, precision: Precision) -> Stick:
    """Check every operation, also inside loops and branches. The first reason found is reported."""
    layers = list(ElementTree.parse(xml).getroot().iter("layer"))  # noqa: S314 - read by OpenVINO before
    opsets = {layer: _opset(layer.get("version", "")) for layer in layers}
    newest = max((opset for opset in opsets.values() if opset), default=0)
    unfit = _unsupported(opsets, precision)
    return Stick(unfit is None, unfit or f"{precision}, static shapes, no operation newer than opset{newest}", newest)


def _opset(version: str) -> int | None:
    found = re.fullmatch(r"opset(\d+)", version)
    return int(found[1]) if found else None


def _unsupported(opsets: dict[ElementTree.Element, int | None], precision: str) -> str | None:
    for layer, opset in opsets.items():
        name = f"operation {layer.get('type')} ({layer.get('name')})"
        if opset is None:
            return f"{name} is of {layer.get('version')}, a stick supports opset1 to opset{NEWEST_OPSET} only"
        if opset > NEWEST_OPSET:
            return f"{name} is of opset{opset}, a stick supports opset1 to opset{NEWEST_OPSET}"
        if any(dim.text == "-1" for dim in layer.iter("dim")):
            return f"{name} has a dynamic shape, a stick supports static shapes only"
    return None if precision == "FP16" else f"the weights are {precision}, a stick computes in FP16"


def multiply_adds(xml: Path) -> int:
    """Count the multiply-adds of convolutions and matrix products; the rest is negligible.

    Operations on each person that a graph has selected, with shapes that differ from frame to frame, are left out.
    """
    return sum(_of_layer(layer) for layer in ElementTree.parse(xml).getroot().iter("layer"))  # noqa: S314 - our own IR


def _of_layer(layer: ElementTree.Element) -> int:
    """Return the number of output values, times the number of products that each one sums."""
    kind = layer.get("type")
    if kind not in ("Convolution", "GroupConvolution", "MatMul"):
        return 0
    (first, second), (out,) = _shapes(layer, "input"), _shapes(layer, "output")
    if -1 in (*first, *second, *out):
        return 0
    if kind == "MatMul":
        data = layer.find("data")
        transposed = data is not None and data.get("transpose_a") == "true"
        return math.prod(out) * first[-2 if transposed else -1]
    # Weights: (out, in, height, width), or (groups, out, in, height, width).
    return math.prod(out) * math.prod(second[1 if kind == "Convolution" else 2 :])


def _shapes(layer: ElementTree.Element, side: str) -> list[list[int]]:
    return [[int(dim.text or "") for dim in port.findall("dim")] for port in layer.findall(f"{side}/port")]
