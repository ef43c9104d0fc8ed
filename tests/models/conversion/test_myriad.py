"""The compiler for the stick's chip, without a stick: it accepts the shipped model and refuses unsupported operations.

This shows that each operation can run there, with the compiled-in preprocessing, but neither results nor speed.
Its OpenVINO reads ONNX only, so the graph is rewritten as ONNX, operation by operation, with the same weights.
"""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.conversion.convert import convert
from models.conversion.spec import ConvertSpec
from models.heavy.openvino import ov
from models.inference.runtime import _with_pixels_as_input
from tests.conftest import ROOT
from tests.models.conversion.test_ir_xml import UV, find_python

LOCK = ROOT / "deployments/locks/myriad.lock"
ENVIRONMENT = ROOT / ".venv-myriad"
COMPILE = Path(__file__).parents[1] / "myriad_compile.py"
SAME = {"Add": "Add", "Subtract": "Sub", "Multiply": "Mul"}
FLOAT = 1  # ONNX's number of the type


class Graph:
    """Convert an OpenVINO model to lists of ONNX operations. Raises KeyError for an operation without a rule."""

    def __init__(self, model: Any) -> None:
        self.arrays: dict[str, Any] = {}
        self.nodes: list[dict[str, Any]] = []
        self.inputs = [[port.get_friendly_name(), "u8", list(port.shape)] for port in model.get_parameters()]
        self.outputs: list[list[Any]] = []
        for node in model.get_ordered_ops():
            sources = [port.get_source_output().get_node().get_friendly_name() for port in node.inputs()]
            self._add(node, node.get_friendly_name(), sources)

    def _add(self, node: Any, name: str, sources: list[str]) -> None:
        kind = node.get_type_name()
        if kind == "Constant":
            self.arrays[name] = node.data
        elif kind == "Convert" and sources[0] in self.arrays:  # weights, kept in FP16
            self.arrays[name] = self.arrays[sources[0]].astype(np.float32)
        elif kind == "Convert":
            self._append("Cast", name, sources, to=FLOAT)
        elif kind in ("Convolution", "GroupConvolution"):
            self._append("Conv", name, sources, **self._convolution(node, sources[1]))
        elif kind == "Clamp":
            limits = {f"{name}.{end}": np.float32(node.get_attributes()[end]) for end in ("min", "max")}
            self.arrays.update(limits)
            self._append("Clip", name, [*sources, *limits])
        elif kind == "Transpose":
            self._append("Transpose", name, sources[:1], perm=self.arrays[sources[1]].tolist())
        elif kind == "Result":
            self.outputs.append([sources[0], "f32", list(node.get_output_shape(0))])
        elif kind != "Parameter":
            self._append(SAME[kind], name, sources)

    def _convolution(self, node: Any, weights: str) -> dict[str, Any]:
        given, groups = node.get_attributes(), 1
        if node.get_type_name() == "GroupConvolution":
            kernel = self.arrays[weights]
            groups, self.arrays[weights] = len(kernel), kernel.reshape(-1, *kernel.shape[2:])
        pads = [*given["pads_begin"], *given["pads_end"]]
        return {"strides": given["strides"], "dilations": given["dilations"], "pads": pads, "group": groups}

    def _append(self, op: str, name: str, sources: list[str], **attributes: Any) -> None:
        self.nodes.append({"op": op, "name": name, "inputs": sources, "attributes": attributes})

    def write(self, folder: Path) -> None:
        used = {source for node in self.nodes for source in node["inputs"]}
        write(folder, self.nodes, self.inputs, self.outputs, {k: v for k, v in self.arrays.items() if k in used})


def write(folder: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], arrays: dict[str, Any]) -> None:
    np.savez(folder / "weights.npz", **arrays)
    (folder / "graph.json").write_text(json.dumps({"nodes": nodes, "inputs": inputs, "outputs": outputs}))


@pytest.fixture(scope="module")
def python_39() -> Path:
    """The Python of an environment with the compiler, created if it is absent or its lock has changed."""
    interpreter = find_python("3.9")
    if interpreter is None:
        pytest.skip("no Python 3.9 runs here, and the wheel with the compiler has no other")
    python, stamp = ENVIRONMENT / "bin/python", ENVIRONMENT / "lock.sha256"
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if not stamp.is_file() or stamp.read_text() != wanted:
        subprocess.run([UV, "venv", "--quiet", "--clear", "--python", interpreter, ENVIRONMENT], check=True)
        install = [UV, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", LOCK]
        done = subprocess.run(install, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"the wheel with the compiler cannot be installed here: {done.stderr.strip()[-300:]}")
        stamp.write_text(wanted)
    return python


def compile_for_stick(python: Path, folder: Path, *options: str) -> dict[str, int]:
    done = subprocess.run([python, COMPILE, folder, *options], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """posenet-demo as the runtime compiles it: input in bytes, scaling compiled in."""
    folder = tmp_path_factory.mktemp("myriad")
    spec = ConvertSpec("posenet-demo", device_target="MYRIAD")
    manifest = convert(ROOT / "models/data/posenet-demo/model.json", spec, folder / "ir")
    model = ov.Core().read_model(str(folder / "ir/model.xml"))
    Graph(_with_pixels_as_input(ov, model, manifest)).write(folder)
    return folder


def test_the_shipped_model_compiles_and_requests_four_inferences(python_39: Path, demo: Path) -> None:
    """With the runtime's own hint. The blob contains the weights in FP16, two bytes each."""
    found = compile_for_stick(python_39, demo, "PERFORMANCE_HINT=THROUGHPUT")
    weights = sum(array.size for array in np.load(demo / "weights.npz").values())
    assert (found["status"], found["requests"]) == (0, 4)
    assert found["blob_bytes"] > 2 * weights


def test_a_stick_rejects_the_precision_hint(python_39: Path, demo: Path) -> None:
    """The plugin refuses it, so the runtime leaves it out for sticks."""
    assert compile_for_stick(python_39, demo, "INFERENCE_PRECISION_HINT=f32")["status"] != 0


@pytest.mark.parametrize(("op", "inputs", "fits"), [("Relu", ["image"], True), ("CumSum", ["image", "axis"], False)])
def test_only_operations_of_the_chip_compile(
    python_39: Path, tmp_path: Path, op: str, inputs: list[str], fits: bool
) -> None:
    """A network of one operation compiles if the chip has the operation."""
    node = {"op": op, "name": "out", "inputs": inputs, "attributes": {}}
    arrays = {"axis": np.int64(1)} if "axis" in inputs else {}
    write(tmp_path, [node], [["image", "f32", [1, 8]]], [["out", "f32", [1, 8]]], arrays)
    assert (compile_for_stick(python_39, tmp_path)["status"] == 0) == fits
