"""The stick check. IRs are run with OpenVINO 2022.3.2, the last version with a stick, on its CPU plugin."""

import hashlib
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.conversion.ir_xml import check_stick
from models.heavy.openvino import ov
from models.manifest import XML_FILE
from tests.conftest import ROOT
from tests.models.conftest import Convert

LOCK = ROOT / "deployments/locks/stick.lock"
ENVIRONMENT = ROOT / ".venv-stick"
UV = ROOT / ".venv/bin/uv"

RUN_ON_2022 = """
import sys
import numpy as np
from openvino.runtime import Core, get_version
assert get_version().startswith("2022.3.2"), get_version()
compiled = Core().compile_model(sys.argv[1], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
request = compiled.create_infer_request()
request.infer([np.load(sys.argv[2])])
np.savez(sys.argv[3], **{output.get_any_name(): request.get_tensor(output).data for output in compiled.outputs})
"""


def find_python(version: str) -> Path | None:
    """Find a Python of this version, such as 3.10, that runs: a version manager's shim may exist but fail."""
    on_path = [Path(folder, f"python{version}") for folder in os.environ.get("PATH", "").split(os.pathsep)]
    home = Path.home()
    managed = [*home.glob(f".pyenv/versions/{version}*/bin/python{version}")]
    managed += home.glob(f".local/share/uv/python/cpython-{version}*/bin/python{version}")
    for candidate in [*on_path, *managed]:
        if candidate.is_file():
            run = subprocess.run(
                [candidate, "-c", "import ssl, venv, sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True
            )
            if run.returncode == 0 and run.stdout.decode().strip() == version:
                return candidate
    return None


@pytest.fixture(scope="session")
def python_2022() -> Path:
    """The Python of an environment with OpenVINO 2022.3.2, created if it is absent or its lock has changed."""
    interpreter = find_python("3.10")
    if interpreter is None:
        pytest.skip("no Python 3.10 runs here, and OpenVINO 2022.3.2 has no wheel for a newer one")
    python, stamp = ENVIRONMENT / "bin/python", ENVIRONMENT / "lock.sha256"
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if not stamp.is_file() or stamp.read_text() != wanted:
        subprocess.run([UV, "venv", "--quiet", "--clear", "--python", interpreter, ENVIRONMENT], check=True)
        install = [UV, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", LOCK]
        subprocess.run(install, check=True)
        stamp.write_text(wanted)
    return python


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("source", "size"),
    [
        ("posenet/tfjs_manifest_075", 224),
        pytest.param("posenet/frozen_050", 224, marks=pytest.mark.slow),
        pytest.param("imagenet/tfjs_layers_mobilenet_0_25", None, marks=pytest.mark.slow),
    ],
)
def test_openvino_2022_3_reads_and_runs_the_ir(
    python_2022: Path,
    convert_once: Convert,
    tensor: NDArray[np.float32],
    tmp_path: Path,
    source: str,
    size: int | None,
) -> None:
    converted = convert_once(source, size)
    assert converted.manifest.stick.fit
    np.save(tmp_path / "tensor.npy", tensor)
    arguments = [str(converted.folder / XML_FILE), str(tmp_path / "tensor.npy"), str(tmp_path / "outputs.npz")]
    subprocess.run([python_2022, "-c", RUN_ON_2022, *arguments], check=True)
    today, then = converted.infer(tensor), np.load(tmp_path / "outputs.npz")
    assert then.keys() == today.keys()
    for name, expected in today.items():
        pixels = name.startswith(("offset", "displacement"))  # up to 120; logits and probabilities are smaller
        np.testing.assert_allclose(then[name], expected, rtol=1e-5, atol=1e-3 if pixels else 1e-4)


def save(model: ov.Model, folder: Path) -> Path:
    ov.save_model(model, str(folder / XML_FILE))
    return folder / XML_FILE


def parameter(*shape: int) -> ov.Node:
    return ov.opset10.parameter(list(shape), np.float32, name="image")


def test_old_operations_are_fit(tmp_path: Path) -> None:
    image = parameter(1, 4)
    stick = check_stick(save(ov.Model([ov.opset10.softsign(image)], [image]), tmp_path), "FP16")
    assert (stick.fit, stick.reason, stick.newest_opset) == (
        True,
        "FP16, static shapes, no operation newer than opset9",
        9,
    )


def test_a_newer_operation_is_named(tmp_path: Path) -> None:
    image = parameter(1, 3, 8, 8)
    padded = ov.opset12.pad(image, [0, 0, -1, -1], [0, 0, 0, 0], "constant")
    stick = check_stick(save(ov.Model([padded], [image]), tmp_path), "FP16")
    assert not stick.fit
    assert stick.newest_opset == 12
    assert "operation Pad" in stick.reason
    assert "opset12, a stick supports opset1 to opset10" in stick.reason


def test_a_newer_operation_inside_a_branch_is_found(tmp_path: Path) -> None:
    inner = '<layers><layer id="0" name="deep" type="BitwiseNot" version="opset13" /></layers>'
    outer = f'<layer id="0" name="if" type="If" version="opset8"><then_net name="t">{inner}</then_net></layer>'
    (tmp_path / XML_FILE).write_text(f'<net name="n" version="11"><layers>{outer}</layers></net>')
    stick = check_stick(tmp_path / XML_FILE, "FP16")
    assert (stick.fit, stick.newest_opset) == (False, 13)
    assert "operation BitwiseNot (deep)" in stick.reason


def test_an_operation_without_an_opset_is_unfit(tmp_path: Path) -> None:
    layer = '<layer id="0" name="mine" type="Custom" version="extension" />'
    (tmp_path / XML_FILE).write_text(f'<net name="n" version="11"><layers>{layer}</layers></net>')
    stick = check_stick(tmp_path / XML_FILE, "FP16")
    assert not stick.fit
    assert "Custom (mine) is of extension" in stick.reason


def test_dynamic_shapes_and_fp32_are_unfit(tmp_path: Path) -> None:
    image = ov.opset10.parameter([1, -1], np.float32)
    assert "dynamic shape" in check_stick(save(ov.Model([ov.opset10.relu(image)], [image]), tmp_path), "FP16").reason
    image = parameter(1, 4)
    assert "FP32" in check_stick(save(ov.Model([ov.opset10.relu(image)], [image]), tmp_path), "FP32").reason


def test_the_lock_pins_the_last_openvino_with_stick_support() -> None:
    lock = LOCK.read_text()
    assert "openvino==2022.3.2" in lock
    assert "numpy==1.24.4" in lock
    assert "http" not in lock
    assert lock.count("--hash=sha256:") > 10
