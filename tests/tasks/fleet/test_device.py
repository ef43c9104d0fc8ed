"""Lock of a device, and the fallback of a worker without it. The model is small, the CPU real."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prefect.logging import disable_run_logger

from models.inference.runtime import RuntimeFault
from models.inference.spec import RuntimeSpec
from models.manifest import Manifest
from tasks.fleet.device import WorkerDevice
from tasks.fleet.device_lock import DeviceLock, is_held
from tests.conftest import ROOT
from tests.tiny_model import SIZE, write_tiny_model

HOLD = """
import sys, time
from pathlib import Path
from tasks.fleet.device_lock import DeviceLock
with DeviceLock(Path(sys.argv[1]), sys.argv[2]) as lock:
    print(lock.acquire(lambda: False), flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("devices") / "ir"
    return folder, write_tiny_model(folder)


@pytest.fixture(autouse=True)
def _no_run() -> Iterator[None]:
    with disable_run_logger():
        yield


def never() -> bool:
    return False


def test_each_device_has_one_holder_at_a_time(tmp_path: Path) -> None:
    with DeviceLock(tmp_path, "MYRIAD") as first, DeviceLock(tmp_path, "MYRIAD") as second:
        assert first.acquire(never)
        assert not second.acquire(never)
        assert (is_held(tmp_path, "MYRIAD"), is_held(tmp_path, "MYRIAD.1.2-ma2480")) == (True, False)
        with DeviceLock(tmp_path, "MYRIAD.1.2-ma2480") as other:
            assert other.acquire(never)
    with DeviceLock(tmp_path, "MYRIAD") as third:
        assert third.acquire(never)


def test_a_name_with_slashes_is_a_file_under_home(tmp_path: Path) -> None:
    with DeviceLock(tmp_path / "home", "SIMULATED:ms=5,gone=/tmp/../gone") as lock:
        assert lock.acquire(never)
    assert [path.parent for path in tmp_path.rglob("*.lock")] == [tmp_path / "home/locks"]


def test_a_waiting_process_gets_the_device_when_it_is_released(tmp_path: Path) -> None:
    asked = threading.Event()

    def keep_waiting() -> bool:
        asked.set()
        return True

    with DeviceLock(tmp_path, "MYRIAD") as second:
        with DeviceLock(tmp_path, "MYRIAD") as first:
            assert first.acquire(never)
            waiter = threading.Thread(target=second.acquire, args=(keep_waiting,))
            waiter.start()
            assert asked.wait(10)
            assert waiter.is_alive()
        waiter.join(10)
        assert not waiter.is_alive()
        with DeviceLock(tmp_path, "MYRIAD") as third:
            assert not third.acquire(never)


def test_a_killed_holder_releases_the_device(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, tmp_path, "MYRIAD"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        with DeviceLock(tmp_path, "MYRIAD") as lock:
            assert not lock.acquire(never)
            holder.send_signal(signal.SIGKILL)
            deadline = time.monotonic() + 10
            assert lock.acquire(lambda: time.monotonic() < deadline)


def test_without_a_fallback_a_lost_device_is_an_error(model: tuple[Path, Manifest]) -> None:
    with pytest.raises(RuntimeFault, match="TOASTER"):
        WorkerDevice(*model, RuntimeSpec("TOASTER"), "none")


def test_a_missing_device_is_replaced_by_the_cpu(model: tuple[Path, Manifest]) -> None:
    device = WorkerDevice(*model, RuntimeSpec("TOASTER"), "cpu")
    assert device.runtime.device.startswith("CPU (")
    device.runtime.start(0, np.full((1, SIZE, SIZE, 3), 250, np.uint8))
    assert device.runtime.wait(0)["heatmap"].max() > 0


def test_a_failing_cpu_has_no_fallback(model: tuple[Path, Manifest]) -> None:
    """Neither as the first choice nor as a replacement: that would be an endless loop."""
    for name in ("CPU", "TOASTER"):
        device = WorkerDevice(*model, RuntimeSpec(name), "cpu")
        lost = RuntimeFault("lost")
        with pytest.raises(RuntimeFault) as caught:
            device.fall_back(lost)
        assert caught.value is lost


def test_a_device_lost_midway_is_replaced_by_the_cpu_and_logged(
    model: tuple[Path, Manifest], caplog: pytest.LogCaptureFixture
) -> None:
    device = WorkerDevice(*model, RuntimeSpec("MULTI:CPU"), "cpu")
    assert device.runtime.device.startswith("MULTI:CPU")
    device.fall_back(RuntimeFault("The stick was pulled out."))
    assert device.runtime.device.startswith("CPU (")
    assert caplog.messages == ["The stick was pulled out. The work continues on the CPU, because of --fallback cpu."]
