"""Conversion in a child process that can write to one folder only and has no network.

TensorFlow runs parts of a SavedModel when it loads it, and the whole graph when the IR is compared with it. The list of
allowed operations (operations.py) is the first protection, this process is the second. It also keeps TensorFlow's
memory out of the flow's process.
"""

import logging
import tempfile
from pathlib import Path

from models.conversion.spec import ConvertSpec
from models.manifest import ConversionError, Manifest
from models.types import NightjarError
from storage.sandbox.confine import confine_writes
from storage.sandbox.parent import Sandbox, SandboxError, SandboxKilled

MEMORY_BYTES = 24 << 30  # of address space: TensorFlow's libraries alone reserve several gigabytes
CPU_S = 7200.0

log = logging.getLogger(__name__)


def convert_confined(path: Path, spec: ConvertSpec, out: Path, location: str) -> Manifest:
    """Convert like models.conversion.convert.convert, in a child that can write to the folder of `out` only.

    Raises ConversionError, also if the child dies or exceeds a limit.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with Sandbox(MEMORY_BYTES) as sandbox:
        try:
            answer = sandbox.call(convert_in_child, path, spec, out, location, cpu_s=CPU_S)
        except SandboxKilled as error:
            raise ConversionError(f"The conversion was interrupted. {error}") from error
        except SandboxError as error:
            raise ConversionError(f"The conversion failed. {error}") from error
    if "refused" in answer:
        raise ConversionError(str(answer["refused"]))
    if not answer["confined"]:
        log.warning("This kernel cannot confine a conversion to its folder. Convert on Linux 5.13 or newer.")
    return Manifest.from_json(str(answer["manifest"]))


def convert_in_child(path: Path, spec: ConvertSpec, out: Path, location: str) -> dict[str, str | bool]:
    """Confine this child process before TensorFlow starts a thread, then convert."""
    confined = confine_writes([out.parent])
    tempfile.tempdir = str(out.parent)
    from models.conversion.convert import convert

    try:
        manifest = convert(path, spec, out, location)
    except NightjarError as error:
        return {"refused": str(error)}
    return {"manifest": manifest.to_json(), "confined": confined}
