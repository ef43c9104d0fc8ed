"""OpenVINO behind one small interface, for 2022.3 (a Neural Compute Stick) and today's. No frames, no decoding.

A `Runtime` has numbered slots with one inference request each: start one, do other work, wait for it. A caller that
uses the slots in turn receives the outputs in order, overlapped, without a callback or a lock.
"""

import math
import os
import platform
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.inference.spec import RuntimeSpec
from models.manifest import BIN_FILE, XML_FILE, ChannelValues, Manifest
from models.types import NightjarError

# Requests beyond the device's own optimum, queued so that it has work while Python turns outputs into poses.
SPARE_SLOTS = 2
# Frames of a CPU that are read together, which halves what Python and numpy cost per frame.
AT_ONCE = 8
# Niceness of the inference threads relative to the threads that feed them. Above 0, they lose to other programs.
NICENESS = 0
CPU_SPEC = RuntimeSpec()


class RuntimeFault(NightjarError):
    """The device cannot be opened, was lost, or returns values that no model computes."""


class Runtime(Protocol):
    """Interface of a device for the pipeline; the tests have one without OpenVINO."""

    device: str  # the hardware that does the work, as named in results
    precision: str
    slots: int
    at_once: int  # frames whose outputs are best read together

    def start(self, slot: int, tensor: NDArray[np.uint8]) -> None:
        """Begin inference on tensor (1, height, width, 3) uint8 RGB. It is read until `wait(slot)`."""

    def wait(self, slot: int) -> dict[str, NDArray[np.float32]]:
        """Wait for the slot's outputs, which are valid until its next `start`."""


def import_openvino() -> Any:
    """Import OpenVINO when a device is opened. Raises RuntimeFault where it is missing."""
    try:
        from models.heavy.openvino import ov

        return ov
    except ImportError as error:
        raise RuntimeFault(f"OpenVINO cannot be imported ({error}). Install it as in the README.") from error


def openvino_version() -> str:
    """Return OpenVINO's own version: a stick's comes from an archive that no package manager knows."""
    return str(import_openvino().get_version())


def available_devices() -> dict[str, str]:
    """Device name, such as CPU, GPU or MYRIAD.1.1-ma2480 -> full name."""
    core = import_openvino().Core()
    return {name: core.get_property(name, "FULL_DEVICE_NAME") for name in core.available_devices}


def check_outputs(device: str, outputs: Mapping[str, NDArray[np.float32]]) -> None:
    """Raise RuntimeFault where an output has NaN or infinities, as from a stick with faulty memory or a faulty link.

    One pass without a copy, 7 µs for PoseNet's outputs: a sum of squares reveals both. Absurd but finite numbers pass,
    as an unusual picture may cause them too.
    """
    for name, output in outputs.items():
        if not math.isfinite(np.vdot(output, output)):
            raise RuntimeFault(
                f"{device} returned {name} with NaN or infinities, so its results are not reliable. Unplug it and plug "
                "it in again, or replace it. If it is a CPU, convert the model again."
            )


class OpenVinoRuntime:
    """A compiled model on one device, with the device's optimal number of requests in flight.

    The IR's own input is float32, in its own layout, colour order and range. The conversion is compiled into the model,
    so that Python passes only the picture's bytes, a quarter of the memory.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        spec: RuntimeSpec = CPU_SPEC,
        slots: int | None = None,
        niceness: int = NICENESS,
    ) -> None:
        """Compile the model. slots: None = the device's optimum and some more; else the CPU computes in `start`

        niceness: of the inference threads, added to the caller's

        Raises RuntimeFault where the IR cannot be read or the device cannot be opened.
        """
        device = spec.device
        refuse_unfit(manifest, device)
        openvino = import_openvino()
        core = openvino.Core()
        try:
            model = core.read_model(str(folder / XML_FILE), str(folder / BIN_FILE))
            compile_it = partial(core.compile_model, _with_pixels_as_input(openvino, model, manifest), device)
            # A thread's policy and niceness are its own on Linux, and those of the threads it starts.
            with ThreadPoolExecutor(1, initializer=partial(_give_way, niceness)) as nicer:
                compiled = nicer.submit(compile_it, _hints(spec, slots)).result()
        except RuntimeError as error:
            raise RuntimeFault(_explain(core, device, str(error))) from error
        self.device = _describe(core, device, compiled)
        self.precision: str = "f16" if is_stick(device) else spec.precision
        self.at_once = AT_ONCE if device == "CPU" and not slots else 1
        optimum = 0 if slots else int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self.slots = slots or optimum + SPARE_SLOTS + self.at_once - 1
        self._compiled, self._tensor = compiled, openvino.Tensor
        self._inputs: list[Any] = [None] * self.slots
        self._requests = [compiled.create_infer_request() for _ in range(self.slots)]
        # 2022.3 has no result lookup by name: keep the order and the names side by side.
        self._outputs = [(port.get_any_name(), index) for index, port in enumerate(compiled.outputs)]
        # Asking OpenVINO for the outputs of each frame takes longer than checking their values.
        static = all(port.get_partial_shape().is_static for port in compiled.outputs)
        self._own = [self._own_outputs(request) for request in self._requests] if device == "CPU" and static else None

    def start(self, slot: int, tensor: NDArray[np.uint8]) -> None:
        request = self._requests[slot]
        tensor = tensor.reshape(-1).reshape(tensor.shape)  # 2022.3 refuses the stride of 0 that numpy gives a new axis
        try:
            self._inputs[slot] = self._tensor(tensor, True)  # shared, not copied: keep it alive
            request.set_input_tensor(self._inputs[slot])
            request.start_async()
        except RuntimeError as error:
            raise lost(self.device, _first_line(str(error))) from error

    def wait(self, slot: int) -> dict[str, NDArray[np.float32]]:
        request = self._requests[slot]
        try:
            request.wait()
            if self._own:
                return self._own[slot]
            return {name: request.get_output_tensor(index).data for name, index in self._outputs}
        except RuntimeError as error:
            raise lost(self.device, _first_line(str(error))) from error

    def _own_outputs(self, request: Any) -> dict[str, NDArray[np.float32]]:
        """Let a request write its outputs into arrays of our own."""
        arrays = {}
        for name, index in self._outputs:
            arrays[name] = np.empty(tuple(self._compiled.outputs[index].shape), np.float32)
            request.set_output_tensor(index, self._tensor(arrays[name], True))
        return arrays

    def temperature_c(self) -> float | None:
        """Return the temperature that a stick reports; None for other devices."""
        try:
            return float(self._compiled.get_property("DEVICE_THERMAL"))
        except (RuntimeError, TypeError, ValueError):
            return None


def _give_way(niceness: int) -> None:
    """Let this thread, and those it starts, never interrupt the threads that feed them.

    Otherwise they take the decoder's time on two cores, the frames after a slow one are late, and then no thread has
    work. A batch thread gets its fair share of the cores, but waits for the end of a running thread's turn.
    """
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    os.nice(niceness)


def lost(device: str, why: str) -> RuntimeFault:
    return RuntimeFault(
        f"{device} was lost during the work ({why}). Check its power, temperature and USB cable, and plug it in again."
    )


def devices_of(device: str) -> list[str]:
    """List the devices that OpenVINO's MULTI or AUTO chooses from, or the single one."""
    return device.partition(":")[2].split(",") if device.startswith(("MULTI:", "AUTO:")) else [device]


def is_stick(device: str) -> bool:
    """Return whether the device consists of Neural Compute Sticks only."""
    return all(name.startswith("MYRIAD") for name in devices_of(device))


def refuse_unfit(manifest: Manifest, device: str) -> None:
    """Raise RuntimeFault for an unfit model before the stick is opened, which takes seconds and explains little."""
    kinds = {name.split(":")[0].split(".")[0] for name in devices_of(device)}
    if kinds > {"MYRIAD"}:
        raise RuntimeFault(
            f"{device} mixes sticks, which compute in FP16, with other devices, so that the precision of its rows "
            "would be unknown. Start one worker per device."
        )
    if kinds & {"MYRIAD", "SIMULATED"} and not manifest.stick.fit:
        raise RuntimeFault(
            f"{manifest.name} does not run on the stick {device} ({manifest.stick.reason}). Run 'nightjar convert "
            f"{manifest.name} --device-target MYRIAD' for the reason, or choose --device CPU."
        )


def refuse_absent(device: str) -> None:
    """Raise RuntimeFault where OpenVINO has no such device here. Compiles nothing."""
    names = [name.partition("(")[0] for name in devices_of(device) if name.partition(":")[0] not in CHOOSERS]
    if names == ["CPU"]:  # always present, and importing OpenVINO takes half a second
        return
    core = import_openvino().Core()
    there = set(core.available_devices)
    there |= {name.split(".")[0] for name in there}  # GPU stands for GPU.0
    if not there.issuperset(names):
        raise RuntimeFault(_no_device(core, device))


def _with_pixels_as_input(openvino: Any, model: Any, manifest: Manifest) -> Any:
    try:
        from openvino.preprocess import PrePostProcessor
    except ImportError as error:
        raise RuntimeFault(f"This OpenVINO has no preprocessing ({error}). Install 2022.3 or newer.") from error
    steps = PrePostProcessor(model)
    port = steps.input(manifest.input.name)
    port.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    port.model().set_layout(openvino.Layout(manifest.input.layout))
    if model.input().get_element_type() != openvino.Type.u8:  # else the IR takes the pixels as they are
        scaled = port.preprocess().convert_element_type(openvino.Type.f32)
        if manifest.input.color == "BGR":
            scaled.reverse_channels()
        scaled.mean(_per_channel(manifest.input.mean)).scale(_per_channel(manifest.input.scale))
    for name in manifest.outputs:
        steps.output(name).tensor().set_element_type(openvino.Type.f32)
    return steps.build()


def _per_channel(values: ChannelValues) -> float | list[float]:
    """Return the values in the form of OpenVINO's preprocessing: one number, or a list."""
    return list(values) if isinstance(values, tuple) else values


def _hints(spec: RuntimeSpec, slots: int | None) -> dict[str, str]:
    """Return the hints, f32 by default: on CPUs with AMX, OpenVINO's bf16 moves offsets by up to 26 pixels."""
    # No streams: only the caller's thread computes.
    own_thread = {"NUM_STREAMS": "0", "INFERENCE_NUM_THREADS": "1"}
    hints = own_thread if slots else {"PERFORMANCE_HINT": "THROUGHPUT"}
    if not is_stick(spec.device):  # MYRIAD supports FP16 only and rejects the hint
        hints["INFERENCE_PRECISION_HINT"] = spec.precision
    return hints


def _describe(core: Any, device: str, compiled: Any) -> str:
    """Describe the device by name and by its actual hardware, as MULTI and AUTO choose among present devices."""
    try:
        names = [str(name) for name in compiled.get_property("EXECUTION_DEVICES")]
    except RuntimeError:  # a plugin of 2022.3 that does not know the property
        names = devices_of(device)
    full = [str(core.get_property(name, "FULL_DEVICE_NAME")).strip() or platform.machine() for name in names]
    return f"{device} ({', '.join(full)})"


# OpenVINO's own, which choose among real devices.
CHOOSERS = ("AUTO", "MULTI", "HETERO", "BATCH")
# OpenVINO's messages for a missing plugin, and for a plugin that cannot start a stick.
NO_DEVICE = ("is not registered", "No available device", "NC_ERROR", "Can not init", "NO_DEVICE")


def _explain(core: Any, device: str, error: str) -> str:
    if any(words in error for words in NO_DEVICE):
        return _no_device(core, device)
    found = ", ".join(core.available_devices) or "none"
    return f"The model cannot run on {device} (devices here: {found}): {_first_line(error)}"


def _no_device(core: Any, device: str) -> str:
    found = ", ".join(core.available_devices) or "none"
    remedy = "Choose another --device."
    if device.upper() in core.available_devices:
        remedy = f"Use --device {device.upper()}."
    elif "MYRIAD" in device.upper():
        remedy = why_no_stick(_has_plugin(core, "MYRIAD"))
    return f"There is no device {device} here, only {found}. {remedy}"


def _has_plugin(core: Any, name: str) -> bool:
    try:
        core.get_property(name, "FULL_DEVICE_NAME")
    except RuntimeError as error:
        return "is not registered" not in str(error)
    return True


def _first_line(error: str) -> str:
    """Return the last line with letters, which explains the fault: OpenVINO's errors begin with source locations."""
    lines = [line.strip() for line in error.splitlines() if line.strip() and not line.startswith("Exception from")]
    return lines[-1] if lines else error


FIRST_GENERATION, WAITING, RUNNING = "2150", "2485", "f63b"
USB = Path("/sys/bus/usb/devices")
# As in Intel's 97-myriad-usbboot.rules.
MOVIDIUS = "03e7"


def why_no_stick(plugin: bool, usb: Path = USB) -> str:
    """Explain why no stick can be opened, with the remedy. plugin: True if OpenVINO has it"""
    if not plugin:
        return "This OpenVINO has no plugin for a stick. Install 2022.3 LTS from Intel's archive, see docs/edge.md."
    found = movidius_products(usb)
    if RUNNING in found and WAITING not in found:
        return "Another process uses the stick on the USB. End that process."
    if WAITING in found:
        return (
            "The stick on the USB cannot be started. Install the udev rules (docs/edge.md), add yourself to the group "
            "users, and use a powered USB port."
        )
    if FIRST_GENERATION in found:
        return "The stick is of the first generation, which OpenVINO supported up to 2020.3. Use an NCS2."
    return "There is no stick on the USB. Plug in a Neural Compute Stick 2."


# OpenVINO reports NC_ERROR for a missing stick, for missing permissions and for a stick in use. The USB distinguishes
# them, because a running stick appears as another product.
def movidius_products(usb: Path = USB) -> set[str]:
    """List the product numbers of Movidius devices on this machine's USB."""
    products = set()
    for vendor in usb.glob("*/idVendor"):
        with suppress(OSError):  # pulled out meanwhile
            if vendor.read_text().strip() == MOVIDIUS:
                products.add(vendor.with_name("idProduct").read_text().strip())
    return products
