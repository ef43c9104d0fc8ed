"""Conversion in a child process that can write to one folder only and has no network.

TensorFlow runs parts of a SavedModel when it loads it, and the whole graph when the IR is compared with it. The list of
allowed operations (operations.py) is the first protection, this process is the second. It also keeps TensorFlow's
memory out of the flow's process. Imports little, so that a command can start the child before its own imports.
"""

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from models.conversion.spec import ConvertSpec
from models.errors import ConversionError
from models.manifest import Manifest
from models.types import NightjarError
from storage.sandbox.confine import confine_writes
from storage.sandbox.parent import Sandbox, SandboxError, SandboxKilled

MEMORY_BYTES = 24 << 30  # of address space: TensorFlow's libraries alone reserve several gigabytes
CPU_S = 7200.0

log = logging.getLogger(__name__)


class ConfinedConverter:
    """A context manager for one conversion in a child that can write to one folder only.

    The child loads TensorFlow from the beginning, which takes seconds, while this process checks and fetches.
    """

    def __init__(self, folder: Path) -> None:
        """Set the folder that the child may write. It exists when the context is entered."""
        self._folder = folder
        self._sandbox = Sandbox(MEMORY_BYTES)

    def __enter__(self) -> "ConfinedConverter":
        self._loaded = self._sandbox.begin(load_in_child, self._folder, cpu_s=CPU_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sandbox.close()

    def convert(self, path: Path, spec: ConvertSpec, out: Path, location: str) -> Manifest:
        """Convert like models.conversion.convert.convert.

        Raises ConversionError, also if the child dies or exceeds a limit.
        """
        confined = _answer(self._loaded)["confined"]
        ask = self._sandbox.begin(convert_in_child, path, spec, out, location, cpu_s=CPU_S)
        answer = _answer(ask)
        if "refused" in answer:
            raise ConversionError(str(answer["refused"]))
        if not confined:
            log.warning("This kernel cannot confine a conversion to its folder. Convert on Linux 5.13 or newer.")
        return Manifest.from_json(str(answer["manifest"]))


def _answer(wait: Callable[[], Any]) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = wait()
    except SandboxKilled as error:
        raise ConversionError(f"The conversion was interrupted. {error}") from error
    except SandboxError as error:
        raise ConversionError(f"The conversion failed. {error}") from error
    return answer


def convert_confined(path: Path, spec: ConvertSpec, out: Path, location: str) -> Manifest:
    """Convert like models.conversion.convert.convert, in a child that can write to the folder of `out` only.

    Raises ConversionError, also if the child dies or exceeds a limit.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with ConfinedConverter(out.parent) as converter:
        return converter.convert(path, spec, out, location)


def load_in_child(folder: Path) -> dict[str, bool]:
    """Confine this child process before TensorFlow starts a thread, then load the converter."""
    confined = confine_writes([folder])
    tempfile.tempdir = str(folder)
    import models.conversion.convert  # noqa: F401 - loaded for convert_in_child

    return {"confined": confined}


def convert_in_child(path: Path, spec: ConvertSpec, out: Path, location: str) -> dict[str, str]:
    """Convert in the child, after load_in_child."""
    from models.conversion.convert import convert

    try:
        return {"manifest": convert(path, spec, out, location).to_json()}
    except NightjarError as error:
        return {"refused": str(error)}
