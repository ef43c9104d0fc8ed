"""OpenVINO behind one small interface, for 2022.3 (a Neural Compute Stick) and today's. No frames, no decoding.

A `Runtime` has numbered slots, one inference request each: start one, do something else, wait for it. Who keeps the
slots busy in turn has the outputs in order, overlapped, without a callback or a lock.
"""

import platform
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.manifest import BIN_FILE, XML_FILE, Manifest
from models.types import NightjarError

# Requests beyond the device's own optimum, queued so that it has work while Python turns outputs into poses.
SPARE_SLOTS = 2


class RuntimeFault(NightjarError):
    """The device cannot be opened, or was lost."""


class Runtime(Protocol):
    """What the pipeline needs of a device; the tests have one without OpenVINO."""

    device: str
    precision: str
    slots: int

    def start(self, slot: int, tensor: NDArray[np.uint8]) -> None:
        """Begin inference on tensor (1, height, width, 3) uint8 RGB. It is read until `wait(slot)`."""

    def wait(self, slot: int) -> dict[str, NDArray[np.float32]]:
        """The outputs of what was started in the slot; valid until the slot's next `start`."""


def import_openvino() -> Any:
    """OpenVINO, imported when a device is opened. Raises RuntimeFault where there is none."""
    try:
        from models.quiet_openvino import ov

        return ov
    except ImportError as error:
        raise RuntimeFault(f"OpenVINO cannot be imported ({error}): install it, see the README") from error


def available_devices() -> dict[str, str]:
    """Device name, such as CPU, GPU or MYRIAD.1.1-ma2480 -> full name."""
    core = import_openvino().Core()
    return {name: core.get_property(name, "FULL_DEVICE_NAME") for name in core.available_devices}


class OpenVinoRuntime:
    """A compiled model on one device, with as many requests in flight as the device is best with.

    The IR's own input is float32 in [-1, 1]. Scaling is compiled into the model, so that what crosses from Python is
    the picture's bytes, a quarter of the memory.
    """

    def __init__(self, folder: Path, manifest: Manifest, device: str = "CPU", precision: str = "f32") -> None:
        """Raises RuntimeFault where the IR cannot be read or the device cannot be opened."""
        openvino = import_openvino()
        core = openvino.Core()
        try:
            model = core.read_model(str(folder / XML_FILE), str(folder / BIN_FILE))
            compiled = core.compile_model(
                _with_pixels_as_input(openvino, model, manifest), device, _hints(device, precision)
            )
        except RuntimeError as error:
            raise RuntimeFault(_explain(device, str(error), core.available_devices)) from error
        self.device = _describe(core, device)
        self.precision = precision if _is_cpu(device) else "f16"
        self.slots = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")) + SPARE_SLOTS
        self._tensor = openvino.Tensor
        self._inputs: list[Any] = [None] * self.slots
        self._requests = [compiled.create_infer_request() for _ in range(self.slots)]
        # 2022.3 has no result lookup by name: keep the order and the names side by side.
        self._outputs = [(port.get_any_name(), index) for index, port in enumerate(compiled.outputs)]

    def start(self, slot: int, tensor: NDArray[np.uint8]) -> None:
        request = self._requests[slot]
        try:
            self._inputs[slot] = self._tensor(tensor, True)  # shared, not copied: keep it alive
            request.set_input_tensor(self._inputs[slot])
            request.start_async()
        except RuntimeError as error:
            raise RuntimeFault(f"{self.device} was lost: {_first_line(str(error))}") from error

    def wait(self, slot: int) -> dict[str, NDArray[np.float32]]:
        request = self._requests[slot]
        try:
            request.wait()
            return {name: request.get_output_tensor(index).data for name, index in self._outputs}
        except RuntimeError as error:
            raise RuntimeFault(f"{self.device} was lost: {_first_line(str(error))}") from error


def _with_pixels_as_input(openvino: Any, model: Any, manifest: Manifest) -> Any:
    try:
        from openvino.preprocess import PrePostProcessor
    except ImportError as error:
        raise RuntimeFault(f"this OpenVINO has no preprocessing ({error}): 2022.3 or newer is needed") from error
    steps = PrePostProcessor(model)
    port = steps.input(manifest.input.name)
    port.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout(manifest.input.layout))
    port.preprocess().convert_element_type(openvino.Type.f32).mean(manifest.input.mean).scale(manifest.input.scale)
    for name in manifest.outputs:
        steps.output(name).tensor().set_element_type(openvino.Type.f32)
    return steps.build()


def _hints(device: str, precision: str) -> dict[str, str]:
    """f32 unless asked otherwise: on CPUs with AMX, OpenVINO's default of bf16 moves offsets by up to 26 pixels."""
    hints = {"PERFORMANCE_HINT": "THROUGHPUT"}
    if _is_cpu(device):  # MYRIAD knows FP16 only and rejects the hint
        hints["INFERENCE_PRECISION_HINT"] = precision
    return hints


def _is_cpu(device: str) -> bool:
    return device.split(".")[0] == "CPU"


def _describe(core: Any, device: str) -> str:
    name = device.removeprefix("MULTI:").split(",")[0]
    full = str(core.get_property(name, "FULL_DEVICE_NAME")).strip()
    return f"{device} ({full or platform.machine()})"


def _explain(device: str, error: str, available: list[str]) -> str:
    found = ", ".join(available) or "none"
    if "is not registered" in error or "NC_ERROR" in error or "Can not init" in error or "NO_DEVICE" in error:
        return f"no device {device} here, found {found}: plug it in, close who holds it, or choose another --device"
    return f"the model cannot run on {device} (devices here: {found}): {_first_line(error)}"


def _first_line(error: str) -> str:
    """OpenVINO's errors begin with source locations; the last line with letters says what was wrong."""
    lines = [line.strip() for line in error.splitlines() if line.strip() and not line.startswith("Exception from")]
    return lines[-1] if lines else error
