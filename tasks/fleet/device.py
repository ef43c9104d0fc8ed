"""Device of a worker, with an optional fallback to the CPU. No SQL.

A fallback is logged, and the results name the CPU: `runtime.device` is always the device that did the work.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Literal

from models.inference.devices import open_runtime
from models.inference.runtime import NICENESS, Runtime, RuntimeFault
from models.inference.spec import RuntimeSpec
from models.manifest import Manifest

log = logging.getLogger(__name__)


class WorkerDevice:
    """A model opened on a device, or on the CPU after the device was lost, if the policy allows it."""

    runtime: Runtime

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        spec: RuntimeSpec,
        fallback: Literal["cpu", "none"],
        niceness: int = NICENESS,
    ) -> None:
        """Open the device. niceness: of a CPU's inference threads

        Raises RuntimeFault if it cannot be opened and the fallback is missing or fails too.
        """
        self._folder, self._manifest, self._spec, self._fallback = folder, manifest, spec, fallback
        self._niceness = niceness
        try:
            self._open(spec)
        except RuntimeFault as fault:
            self.fall_back(fault)

    def fall_back(self, error: RuntimeFault) -> None:
        """Continue on the CPU if the policy allows it and the CPU itself did not fail; raise `error` otherwise."""
        if self._fallback != "cpu" or self._spec.device == "CPU":
            raise error
        log.warning("%s The work continues on the CPU, because of --fallback cpu.", error)
        self._open(replace(self._spec, device="CPU"))

    def _open(self, spec: RuntimeSpec) -> None:
        self._spec = spec
        self.runtime = open_runtime(self._folder, self._manifest, spec, self._niceness)
