"""Two models built here, fast, exact and without weights: a PoseNet in shape only, which sees one person wherever a
bright spot is, and a classifier, which says whether there is a spot."""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from models.conversion.ir_xml import check_stick
from models.heavy.openvino import ov
from models.manifest import BIN_FILE, MANIFEST_FILE, XML_FILE, InputSpec, Manifest, Parity, Source, file_sha256

ops = ov.opset8
SIZE, CELL, GRID = 224, 16, 14
# A cell whose mean pixel, scaled to [-1, 1], is above BRIGHT has a keypoint; the person's 17 keypoints lie in it.
BRIGHT = 0.5
OUTPUTS = {
    "heatmap": (1, GRID, GRID, 17),
    "offset_2": (1, GRID, GRID, 34),
    "displacement_fwd_2": (1, GRID, GRID, 32),
    "displacement_bwd_2": (1, GRID, GRID, 32),
}


def write_tiny_model(folder: Path, name: str = "tiny") -> Manifest:
    """model.xml, model.bin and manifest.json, as `convert` leaves them."""
    image, cells = _cells()
    logits = ops.multiply(ops.subtract(cells, np.float32(BRIGHT)), np.float32(20))
    heatmap = ops.broadcast(logits, np.array(OUTPUTS["heatmap"]))
    results = []
    for output, shape in OUTPUTS.items():
        node = heatmap if output == "heatmap" else ops.broadcast(ops.multiply(cells, np.float32(0)), np.array(shape))
        if output == "offset_2":
            node = ops.add(node, np.float32(CELL / 4))  # more would be nearer to the next cell

        node.output(0).set_names({output})
        results.append(ops.result(node))
    params = {"nms_radius_px": 40.0, "max_people": 5, "origin_px": CELL // 4}
    return _write(folder, name, "pose", ov.Model(results, [image], name), OUTPUTS, "posenet", params)


def write_tiny_classifier(folder: Path, name: str = "spotter") -> Manifest:
    """The probability that some cell is bright: labels `empty` and `spot`."""
    image, cells = _cells()
    brightest = ops.reshape(ops.reduce_max(cells, np.array([1, 2, 3]), keep_dims=True), np.array([1, 1]), False)
    probability = ops.sigmoid(ops.multiply(ops.subtract(brightest, np.float32(BRIGHT)), np.float32(20)))
    probability.output(0).set_names({"classification"})
    model = ov.Model([ops.result(probability)], [image], name)
    params = {"labels": ["empty", "spot"], "threshold": 0.5}
    return _write(folder, name, "classification", model, {"classification": (1, 1)}, "classifier", params)


def _cells() -> tuple[Any, Any]:
    """The input, and the mean of each cell's pixels in [-1, 1], (1, GRID, GRID, 1)."""
    image = ops.parameter([1, SIZE, SIZE, 3], np.float32, name="image")
    image.output(0).set_names({"image"})
    grey = ops.reduce_mean(image, np.array([3]), keep_dims=True)
    planar = ops.transpose(grey, np.array([0, 3, 1, 2]))
    means = ops.avg_pool(planar, [CELL, CELL], [0, 0], [0, 0], [CELL, CELL], True)
    return image, ops.transpose(means, np.array([0, 2, 3, 1]))


def _write(
    folder: Path,
    name: str,
    task: Literal["pose", "classification"],
    model: Any,
    outputs: dict[str, Any],
    decoder: str,
    decode_params: dict[str, Any],
) -> Manifest:
    folder.mkdir(parents=True)
    ov.save_model(model, folder / XML_FILE, compress_to_fp16=True)
    manifest = Manifest(
        name=name,
        task=task,
        source=Source("built in a test", "tests/tiny_model.py", "0" * 64, {}),
        tools={},
        precision="FP16",
        input=InputSpec("image", (1, SIZE, SIZE, 3)),
        outputs=outputs,
        decoder=decoder,
        decode_params=decode_params,
        ir_sha256={file: file_sha256(folder / file) for file in (XML_FILE, BIN_FILE)},
        parity=Parity("none", 0, {}, {}, {}),
        stick=check_stick(folder / XML_FILE, "FP16"),
    )
    (folder / MANIFEST_FILE).write_text(manifest.to_json())
    return manifest
