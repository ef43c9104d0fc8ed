"""Description of the measuring machine: model, temperature, load and memory. Measures no speed."""

import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

PROC, SYS = Path("/proc"), Path("/sys")


def describe_machine(proc: Path = PROC) -> str:
    """Describe this machine, such as `Raspberry Pi 4 Model B Rev 1.4, 4 cores, 3.7 GB, Debian GNU/Linux 12`."""
    cores, memory = os.cpu_count() or 1, psutil.virtual_memory().total / 2**30
    return f"{_board_or_cpu(proc)}, {cores} core{'s' if cores > 1 else ''}, {memory:.1f} GB, {_system()}"


def _board_or_cpu(proc: Path) -> str:
    """Return the name of a single-board computer, otherwise that of the processor."""
    with suppress(OSError):
        return (proc / "device-tree/model").read_text().strip("\0 \n")
    with suppress(OSError):
        for line in (proc / "cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _system() -> str:
    with suppress(OSError):
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    return f"{platform.system()} {platform.release()}"


def temperature_c(sys: Path = SYS) -> float | None:
    """Return the temperature of the hottest sensor; None = no sensor can be read, as in most virtual machines."""
    sensors: dict[str, list[Any]] = getattr(psutil, "sensors_temperatures", dict)()
    found = [sensor.current for group in sensors.values() for sensor in group]
    for zone in (sys / "class/thermal").glob("thermal_zone*/temp"):
        with suppress(OSError, ValueError):
            found.append(int(zone.read_text()) / 1000)
    return max((float(value) for value in found if value > 0), default=None)


def load_1m() -> float:
    """Return the load average of the last minute."""
    return os.getloadavg()[0]


def reset_peak_memory(proc: Path = PROC) -> None:
    """Reset this process's peak memory; if the kernel does not allow it, the peak counts from the process's start."""
    with suppress(OSError):
        (proc / "self/clear_refs").write_text("5")


def peak_memory_bytes(pid: int | None = None, proc: Path = PROC) -> int:
    """Return a process's peak resident memory; this process's if no pid is given."""
    status = (proc / str(pid or "self") / "status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of another process, user and system."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
