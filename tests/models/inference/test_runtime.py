"""The real runtime on the real CPU, with a small model of the tests."""

import dataclasses
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

from models.decoders.posenet import DecodeParams, decode_poses
from models.inference.runtime import (
    NICENESS,
    OpenVinoRuntime,
    RuntimeFault,
    available_devices,
    check_outputs,
    why_no_stick,
)
from models.inference.spec import RuntimeSpec
from models.manifest import Manifest, Stick
from tests.conftest import ROOT
from tests.tiny_model import CELL, OUTPUTS, SIZE, write_tiny_model

Model: TypeAlias = tuple[Path, Manifest]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("runtime") / "ir"
    return folder, write_tiny_model(folder)


def picture(column: int, row: int) -> np.ndarray:
    tensor = np.full((1, SIZE, SIZE, 3), 30, np.uint8)
    tensor[0, row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = 250
    return tensor


def test_pixels_go_in_as_bytes_and_scaled_outputs_come_out(model: Model) -> None:
    folder, manifest = model
    runtime = OpenVinoRuntime(folder, manifest)
    assert runtime.device.startswith("CPU (")
    assert runtime.precision == "f32"
    runtime.start(0, picture(3, 5))
    outputs = runtime.wait(0)
    assert {name: output.shape for name, output in outputs.items()} == OUTPUTS
    assert outputs["heatmap"][0, 5, 3, 0] == pytest.approx(((250 - 127.5) / 127.5 - 0.5) * 20, abs=1e-4)
    assert outputs["heatmap"][0, 0, 0, 0] == pytest.approx(((30 - 127.5) / 127.5 - 0.5) * 20, abs=1e-4)


def test_slots_run_in_parallel_and_keep_their_results(model: Model) -> None:
    folder, manifest = model
    runtime = OpenVinoRuntime(folder, manifest)
    tensors = [picture(slot % 14, slot // 14 + 2) for slot in range(runtime.slots)]
    for _ in range(20):
        for slot, tensor in enumerate(tensors):
            runtime.start(slot, tensor)
        for slot in range(runtime.slots):
            people = decode_poses(runtime.wait(slot), DecodeParams(**manifest.decode_params))
            expected = [(slot % 14 + 0.5) * CELL, (slot // 14 + 2.5) * CELL]
            np.testing.assert_allclose(people.keypoints[0], [expected] * 17, atol=1e-3)


@pytest.mark.parametrize("added", [NICENESS, 5])
def test_inference_threads_have_a_lower_priority_than_the_feeding_thread(model: Model, added: int) -> None:
    def niceness() -> dict[int, tuple[int, int]]:
        """Policy and niceness of each thread."""
        threads = [int(task.name) for task in Path("/proc/self/task").iterdir()]
        return {each: (os.sched_getscheduler(each), os.getpriority(os.PRIO_PROCESS, each)) for each in threads}

    before = niceness()
    runtime = OpenVinoRuntime(*model, niceness=added)
    runtime.start(0, picture(3, 5))
    runtime.wait(0)
    after = niceness()
    _, mine = after[os.getpid()]
    assert (os.SCHED_OTHER, mine) == before[os.getpid()]
    found = {policy for thread, policy in after.items() if thread not in before}
    assert found == {(os.SCHED_BATCH, min(mine + added, 19))}


def test_a_missing_device_is_one_clear_error(model: Model) -> None:
    folder, manifest = model
    for device in ("MYRIAD", "MULTI:MYRIAD.1.1-ma2480,MYRIAD.1.2-ma2480", "TOASTER"):
        with pytest.raises(RuntimeFault, match=rf"no device {device} here, only CPU\. ") as caught:
            OpenVinoRuntime(folder, manifest, RuntimeSpec(device))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", ["MYRIAD", "MULTI:MYRIAD.1.1-ma2480,MYRIAD.1.2-ma2480"])
def test_a_missing_plugin_for_the_stick_is_explained(model: Model, device: str) -> None:
    with pytest.raises(RuntimeFault, match=r"2022.3 LTS from Intel's archive, see docs/edge.md"):
        OpenVinoRuntime(*model, RuntimeSpec(device))
    assert (ROOT / "docs/edge.md").is_file()


@pytest.mark.parametrize(
    ("products", "words"),
    [
        ([], "Plug in a Neural Compute Stick"),
        (["1d6b:0002"], "Plug in a Neural Compute Stick"),
        (["03e7:f63b"], "Another process uses the stick"),
        (["03e7:f63b", "03e7:2485"], "udev rules"),
        (["03e7:2485"], "udev rules"),
        (["03e7:2150"], "first generation"),
    ],
)
def test_a_stick_that_does_not_start_is_diagnosed_by_its_usb_ids(
    tmp_path: Path, products: list[str], words: str
) -> None:
    for number, product in enumerate(products):
        device = tmp_path / f"1-{number}"
        device.mkdir()
        for file, text in zip(("idVendor", "idProduct"), product.split(":"), strict=True):
            (device / file).write_text(f"{text}\n")
    (tmp_path / "usb1").mkdir()
    assert words in why_no_stick(True, tmp_path)


@pytest.mark.parametrize("device", ["MYRIAD", "MYRIAD.1.1-ma2480", "MULTI:MYRIAD.1.1-ma2480,MYRIAD.1.2-ma2480"])
def test_a_model_unfit_for_a_stick_is_refused_before_anything_is_opened(
    model: Model, tmp_path: Path, device: str
) -> None:
    _, manifest = model
    unfit = dataclasses.replace(manifest, stick=Stick(False, "operation Pad is of opset12", 12))
    with pytest.raises(RuntimeFault, match=r"operation Pad is of opset12.* --device CPU"):
        OpenVinoRuntime(tmp_path / "no-such-ir", unfit, RuntimeSpec(device))


def test_sticks_and_others_are_not_mixed(model: Model) -> None:
    with pytest.raises(RuntimeFault, match="mixes sticks"):
        OpenVinoRuntime(*model, RuntimeSpec("MULTI:MYRIAD,CPU"))


@pytest.mark.parametrize("device", ["AUTO", "MULTI:CPU"])
def test_the_device_that_auto_chooses_is_reported(model: Model, device: str) -> None:
    """It also computes in the requested precision: by default, a CPU with AMX uses bf16."""
    chosen, cpu = OpenVinoRuntime(*model, RuntimeSpec(device)), OpenVinoRuntime(*model)
    assert chosen.device == f"{device} {cpu.device.removeprefix('CPU ')}"
    random = np.random.default_rng(1).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)
    for runtime in (chosen, cpu):
        runtime.start(0, random)
    np.testing.assert_allclose(chosen.wait(0)["heatmap"], cpu.wait(0)["heatmap"], atol=1e-5)


@pytest.mark.parametrize(
    ("value", "sound"), [(0.0, True), (-1e9, True), (np.nan, False), (np.inf, False), (-np.inf, False)]
)
def test_outputs_with_nan_or_infinities_are_refused(value: float, sound: bool) -> None:
    """At any position of any output; finite values pass, however absurd."""
    for name in OUTPUTS:
        outputs = {output: np.ones(shape, np.float32) for output, shape in OUTPUTS.items()}
        outputs[name][0, 13, 7, -1] = value
        with nullcontext() if sound else pytest.raises(RuntimeFault, match=rf"MYRIAD returned {name} with NaN"):
            check_outputs("MYRIAD", outputs)


def test_a_broken_ir_is_one_clear_error(model: Model, tmp_path: Path) -> None:
    _, manifest = model
    (tmp_path / "model.xml").write_text("<net>")
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(RuntimeFault, match="The model cannot run on CPU"):
        OpenVinoRuntime(tmp_path, manifest)


def test_there_is_a_cpu() -> None:
    assert "CPU" in available_devices()


def test_opening_a_device_uses_no_network() -> None:
    """OpenVINO sends an event when it is imported; any lookup of another machine's name fails here."""
    code = """
import socket
def refuse(host, *rest, **options):
    raise AssertionError(f"asked for {host}")
socket.getaddrinfo = refuse
import threading
threading.excepthook = lambda args: print("called home:", args.exc_value)
from models.inference.runtime import available_devices
print(available_devices())
import time; time.sleep(0.5)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert "CPU" in done.stdout
    assert "called home" not in done.stdout + done.stderr
    assert "asked for" not in done.stdout + done.stderr
