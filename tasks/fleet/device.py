"""The device that a worker works with, and what happens when it is lost. No SQL.

Who falls back to the CPU says so in the log, and the results name the CPU: `runtime.device` is always who did the work.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Literal

from models.inference.devices import open_runtime
from models.inference.runtime import Runtime, RuntimeFault
from models.inference.spec import RuntimeSpec
from models.manifest import Manifest

log = logging.getLogger(__name__)


class WorkerDevice:
    """The model, open on a device, or by policy on the CPU where that one is lost."""

    runtime: Runtime

    def __init__(self, folder: Path, manifest: Manifest, spec: RuntimeSpec, fallback: Literal["cpu", "none"]) -> None:
        """Open the device. Raises RuntimeFault if it cannot be opened and the fallback is missing or fails too."""
        self._folder, self._manifest, self._spec, self._fallback = folder, manifest, spec, fallback
        try:
            self._open(spec)
        except RuntimeFault as fault:
            self.fall_back(fault)

    def fall_back(self, error: RuntimeFault) -> None:
        """Go on with the CPU, where the policy says so and it is not the CPU that failed; raises `error` otherwise."""
        if self._fallback != "cpu" or self._spec.device == "CPU":
            raise error
        log.warning("%s. The CPU goes on with the work, as --fallback cpu says", error)
        self._open(replace(self._spec, device="CPU"))

    def _open(self, spec: RuntimeSpec) -> None:
        self._spec = spec
        self.runtime = open_runtime(self._folder, self._manifest, spec)
