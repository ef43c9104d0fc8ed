"""Compile a network for the Myriad X without a stick. Runs in a separate environment (Python 3.9).

    python myriad_compile.py FOLDER [KEY=VALUE …]

FOLDER contains graph.json and weights.npz, see test_myriad.py. Prints one line of JSON: status 0 if it compiled.
OpenVINO 2022.2 with the plugin is in the wheel onnxruntime-openvino 1.13.1. It reads ONNX only, and has a C API only.
"""

import ctypes
import json
import os
import sys
from pathlib import Path

import libusb_package
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OPSET = 13


class Config(ctypes.Structure):
    pass


Config._fields_ = [("name", ctypes.c_char_p), ("value", ctypes.c_char_p), ("next", ctypes.POINTER(Config))]


class Param(ctypes.Union):
    _fields_ = [("number", ctypes.c_uint), ("room", ctypes.c_char * 64)]


def to_onnx(folder: Path) -> Path:
    graph = json.loads((folder / "graph.json").read_text())
    weights = np.load(folder / "weights.npz")
    nodes = [helper.make_node(n["op"], n["inputs"], [n["name"]], **n["attributes"]) for n in graph["nodes"]]
    kind = {"u8": TensorProto.UINT8, "f32": TensorProto.FLOAT}
    ends = [
        [helper.make_tensor_value_info(name, kind[dtype], shape) for name, dtype, shape in graph[end]]
        for end in ("inputs", "outputs")
    ]
    initializers = [numpy_helper.from_array(weights[name], name) for name in weights.files]
    model = helper.make_model(
        helper.make_graph(nodes, "graph", *ends, initializer=initializers),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    onnx.save(model, str(folder / "model.onnx"))
    return folder / "model.onnx"


def compile_for_stick(model: Path, blob: Path, options: dict) -> dict:
    ctypes.CDLL(str(libusb_package.get_library_path()), ctypes.RTLD_GLOBAL)  # what the plugin links to
    folder = Path(onnxruntime.__file__).parent / "capi"
    library = ctypes.CDLL(str(folder / "libopenvino_c.so"))
    core, network, compiled = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    assert library.ie_core_create(str(folder / "plugins.xml").encode(), ctypes.byref(core)) == 0
    assert library.ie_core_read_network(core, str(model).encode(), None, ctypes.byref(network)) == 0
    config = None
    for name, value in {"MYRIAD_ENABLE_MX_BOOT": "NO", **options}.items():  # NO: compile, and start no stick
        config = ctypes.pointer(Config(name.encode(), value.encode(), config))
    status = library.ie_core_load_network(core, network, b"MYRIAD", config, ctypes.byref(compiled))
    if status != 0:
        return {"status": status}
    requests = Param()
    name = b"OPTIMAL_NUMBER_OF_INFER_REQUESTS"
    assert library.ie_exec_network_get_metric(compiled, name, ctypes.byref(requests)) == 0
    assert library.ie_core_export_network(compiled, str(blob).encode()) == 0
    return {"status": 0, "blob_bytes": blob.stat().st_size, "requests": requests.number}


if __name__ == "__main__":
    where = Path(sys.argv[1])
    print(json.dumps(compile_for_stick(to_onnx(where), where / "model.blob", dict(a.split("=") for a in sys.argv[2:]))))
    sys.stdout.flush()
    os._exit(0)  # the plugin's own exit handler waits for a stick
