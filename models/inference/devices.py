"""Open the device of a name, or report at once that there is none. No frames, no model files."""

from pathlib import Path

from models.inference.runtime import NICENESS, OpenVinoRuntime, Runtime, refuse_absent
from models.inference.simulated_stick import PREFIX, SimulatedStick, parse
from models.inference.spec import RuntimeSpec
from models.manifest import Manifest


def open_runtime(folder: Path, manifest: Manifest, spec: RuntimeSpec, niceness: int = NICENESS) -> Runtime:
    """Compile the IR in `folder` for a device.

    spec.device: OpenVINO's name, such as CPU or MULTI:MYRIAD.1.1-ma2480,MYRIAD.1.2-ma2480, or SIMULATED:…
    niceness: of a CPU's inference threads, added to the caller's

    Raises RuntimeFault where the device cannot be opened, or the model does not fit it.
    """
    if spec.device.startswith(PREFIX):
        return SimulatedStick(folder, manifest, spec.device)
    return OpenVinoRuntime(folder, manifest, spec, niceness=niceness)


def check_device(device: str) -> None:
    """Raise RuntimeFault where this machine has no such device. Opens no model."""
    if device.startswith(PREFIX):
        parse(device)
    else:
        refuse_absent(device)
