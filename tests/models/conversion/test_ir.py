"""An OpenVINO IR as a source: copied unchanged, rounded on request, or refused if it is not one."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from models.conversion.convert import convert
from models.conversion.ir import is_ir, load_ir, save_ir
from models.conversion.sources import detect_format
from models.conversion.spec import ConvertSpec
from models.decoders.openpose import CHANNELS, FIELDS, HEATMAPS
from models.errors import ConversionError
from models.heavy.openvino import ov
from models.inference.runtime import OpenVinoRuntime
from models.inference.scaling import ScalingRequest
from models.manifest import BIN_FILE, MANIFEST_FILE, XML_FILE, Manifest, verify_ir

ops = ov.opset8
HEIGHT, WIDTH, CELL = 64, 96, 8
SHAPES = {name: (1, channels, HEIGHT // CELL, WIDTH // CELL) for name, channels in CHANNELS.items()}
OPENPOSE = "openpose/human-pose-estimation-0001-FP16-INT8"


def write_ir(folder: Path, fp16: bool = False, channels: dict[str, int] = CHANNELS) -> Path:
    """A model with OpenPose's shapes: the mean blue, green and red of each cell, then random mixtures of them."""
    rng = np.random.default_rng(0)
    data = ops.parameter([1, 3, HEIGHT, WIDTH], np.float32, name="data")
    data.output(0).set_names({"data"})
    means = ops.avg_pool(data, [CELL, CELL], [0, 0], [0, 0], [CELL, CELL], True)
    results = []
    for name, number in channels.items():
        weights = np.vstack([np.eye(3), rng.normal(0, 0.01, (number - 3, 3))]).astype(np.float32)
        node = ops.convolution(means, weights[:, :, None, None], [1, 1], [0, 0], [0, 0], [1, 1])
        node.output(0).set_names({name})
        results.append(ops.result(node))
    folder.mkdir(parents=True, exist_ok=True)
    ov.save_model(ov.Model(results, [data], "tiny"), folder / "tiny.xml", compress_to_fp16=fp16)
    return folder / "tiny.xml"


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny IR's .xml, weights in FP32."""
    return write_ir(tmp_path_factory.mktemp("fp32"))


def test_an_ir_is_recognised_by_its_content(fp32: Path, tmp_path: Path) -> None:
    assert detect_format(fp32) == detect_format(fp32.parent) == "openvino-ir"
    shutil.copy(fp32, tmp_path / "page.json")
    assert is_ir(tmp_path / "page.json")
    (tmp_path / "page.xml").write_text("<html><body>Log in</body></html>")
    with pytest.raises(ConversionError, match="web page or XML"):
        detect_format(tmp_path / "page.xml")


@pytest.mark.parametrize("precision", ["FP32", "FP16"])
def test_an_ir_of_the_requested_precision_is_copied_unchanged(tmp_path: Path, precision: str) -> None:
    xml = write_ir(tmp_path / "source", precision == "FP16")
    manifest = convert(xml.parent, ConvertSpec("a", precision=precision), tmp_path / "out", location="there")  # type: ignore[arg-type]
    assert (tmp_path / "out" / XML_FILE).read_bytes() == xml.read_bytes()
    assert (tmp_path / "out" / BIN_FILE).read_bytes() == xml.with_suffix(".bin").read_bytes()
    assert Manifest.from_json((tmp_path / "out" / MANIFEST_FILE).read_text()) == manifest
    verify_ir(tmp_path / "out", manifest)
    assert (manifest.precision, manifest.task, manifest.decoder) == (precision, "pose", "openpose")
    assert (manifest.input.height, manifest.input.width, manifest.input.color) == (HEIGHT, WIDTH, "BGR")
    assert manifest.outputs == SHAPES
    assert (manifest.source.format, manifest.source.location) == ("openvino-ir", "there")
    assert manifest.source.files.keys() == {"tiny.xml", "tiny.bin"}
    assert set(manifest.source.files.values()) == set(manifest.ir_sha256.values())
    assert set(manifest.parity.max_abs.values()) == {0.0}
    assert manifest.stick.fit is (precision == "FP16")


def test_rounding_is_compared_with_the_source(fp32: Path, tmp_path: Path) -> None:
    manifest = convert(fp32, ConvertSpec("a"), tmp_path / "out")
    assert (manifest.precision, load_ir(tmp_path / "out" / XML_FILE).precision) == ("FP16", "FP16")
    assert (tmp_path / "out" / BIN_FILE).stat().st_size < fp32.with_suffix(".bin").stat().st_size
    assert manifest.parity.image_count == 8
    for name in CHANNELS:
        assert 0 < manifest.parity.mean_abs[name] <= manifest.parity.bound[name]
    assert manifest.stick.fit
    assert convert(fp32, ConvertSpec("b"), tmp_path / "again").version_id == manifest.version_id


@pytest.mark.parametrize("precision", ["FP16", "FP32"])
def test_another_input_size_is_compared_with_the_source_of_that_size(tmp_path: Path, precision: str) -> None:
    xml = write_ir(tmp_path / "source", precision == "FP16")
    spec = ConvertSpec("a", size="96x160", precision=precision)  # type: ignore[arg-type]
    manifest = convert(xml, spec, tmp_path / "out")
    assert (manifest.input.height, manifest.input.width, manifest.precision) == (96, 160, precision)
    assert manifest.outputs == {name: (1, channels, 96 // CELL, 160 // CELL) for name, channels in CHANNELS.items()}
    assert manifest.parity.image_count == 8
    own = convert(xml, ConvertSpec("a", precision=precision), tmp_path / "own")  # type: ignore[arg-type]
    assert own.version_id != manifest.version_id
    runtime = OpenVinoRuntime(tmp_path / "out", manifest)
    runtime.start(0, np.zeros((1, 96, 160, 3), np.uint8))
    assert {name: output.shape for name, output in runtime.wait(0).items()} == manifest.outputs


def test_pictures_are_converted_to_the_models_colours_and_layout(fp32: Path, tmp_path: Path) -> None:
    """RGB bytes are converted to BGR, 0 to 255, and the right side of a wide picture stays right."""
    manifest = convert(fp32, ConvertSpec("a", precision="FP32"), tmp_path / "out")
    runtime = OpenVinoRuntime(tmp_path / "out", manifest)
    tensor = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)
    tensor[0, 2 * CELL : 3 * CELL, 10 * CELL : 11 * CELL] = (200, 100, 50)
    runtime.start(0, tensor)
    outputs = runtime.wait(0)
    assert {name: output.shape for name, output in outputs.items()} == SHAPES
    for name in (FIELDS, HEATMAPS):
        np.testing.assert_allclose(outputs[name][0, :3, 2, 10], (50, 100, 200), atol=1e-3)
        assert np.count_nonzero(outputs[name][0, :3]) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "64x100"}, "Give multiples of 8 for OpenPose"),
        ({"width": 0.5}, r"--width 0.5 does not apply to an IR \(its input is \(1, 3, 64, 96\)\)"),
        ({"scaling": ScalingRequest("0..1")}, r"--scale 0\.\.1 does not apply"),
        ({"precision": "FP32"}, "weights are FP16, but --precision is FP32"),
    ],
)
def test_impossible_changes_of_an_ir_are_refused(tmp_path: Path, options: dict[str, object], message: str) -> None:
    xml = write_ir(tmp_path / "source", fp16=True)
    with pytest.raises(ConversionError, match=message):
        convert(xml, ConvertSpec("a", **options), tmp_path / "out")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_broken_and_foreign_irs_are_refused(fp32: Path, tmp_path: Path) -> None:
    xml = Path(shutil.copytree(fp32.parent, tmp_path / "broken")) / "tiny.xml"
    whole = xml.read_text()
    xml.write_text(whole[: len(whole) // 2])
    with pytest.raises(ConversionError, match=r"tiny\.xml is damaged XML"):
        load_ir(xml)
    xml.write_text(whole.replace("<net ", '<!DOCTYPE net [<!ENTITY a "b">]><net ', 1))
    with pytest.raises(ConversionError, match="defines a document type"):
        load_ir(xml)
    xml.with_suffix(".bin").unlink()
    with pytest.raises(ConversionError, match=r"no tiny\.bin next to tiny\.xml"):
        load_ir(xml)
    with pytest.raises(ConversionError, match=r"outputs are .*output.*, not Mconv7_stage2_L1"):
        load_ir(write_ir(tmp_path / "foreign", channels={"output": 5}))
    with pytest.raises(ConversionError, match=r"Mconv7_stage2_L2 has the shape .*, not \(1, 19, 8, 12\)"):
        load_ir(write_ir(tmp_path / "channels", channels={**CHANNELS, HEATMAPS: 18}))


@pytest.mark.real_data
def test_the_published_ir_is_accepted(data: Path, tmp_path: Path) -> None:
    manifest = convert(data / OPENPOSE, ConvertSpec("openpose"), tmp_path / "out")
    assert manifest.precision == "FP16-INT8"
    assert manifest.input.shape == (1, 3, 256, 456)
    assert manifest.outputs == {FIELDS: (1, 38, 32, 57), HEATMAPS: (1, 19, 32, 57)}
    assert manifest.ir_sha256[XML_FILE].startswith("2ea05c99126a")
    assert manifest.stick.reason == "the weights are FP16-INT8, a stick computes in FP16"
    with pytest.raises(ConversionError, match="does not run on a Neural Compute Stick: the weights are FP16-INT8"):
        convert(data / OPENPOSE, ConvertSpec("openpose", device_target="MYRIAD"), tmp_path / "stick")


def test_a_full_disk_has_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO raises "iostream error" and removes the partial file."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("basic_ios::clear: iostream error")

    model = ov.Core().read_model(write_ir(tmp_path))
    monkeypatch.setattr(ov, "save_model", fail)
    with pytest.raises(RuntimeError, match="iostream"):
        save_ir(model, tmp_path, fp16=True)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}'"):
        save_ir(model, tmp_path, fp16=True)
    assert not (tmp_path / "room").exists()
