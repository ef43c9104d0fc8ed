"""Description of a machine: this one, and invented ones."""

from pathlib import Path

import numpy as np
import psutil
import pytest

from tasks.benchmark import machine


def test_the_boards_or_the_processors_name_is_reported(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: A Processor @ 3 GHz\n")
    assert machine.describe_machine(tmp_path).startswith("A Processor @ 3 GHz, ")
    (tmp_path / "device-tree").mkdir()
    (tmp_path / "device-tree/model").write_bytes(b"Raspberry Pi 4 Model B Rev 1.4\0")
    assert machine.describe_machine(tmp_path).startswith("Raspberry Pi 4 Model B Rev 1.4, ")
    assert " GB, " in machine.describe_machine(tmp_path)
    assert machine.describe_machine(tmp_path / "nothing")


def test_the_hottest_sensor_is_reported_if_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "sensors_temperatures", dict, raising=False)
    assert machine.temperature_c(tmp_path) is None
    for number, text in enumerate(("48500\n", "61250\n", "broken", "0")):
        zone = tmp_path / f"class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "temp").write_text(text)
    assert machine.temperature_c(tmp_path) == 61.25


def test_the_peak_counts_from_its_reset() -> None:
    block = np.ones(200 << 20, np.uint8)
    peak = machine.peak_memory_bytes()
    assert peak > block.nbytes
    del block
    machine.reset_peak_memory()
    assert machine.peak_memory_bytes() < peak - (100 << 20)
    assert machine.peak_memory_bytes(psutil.Process().pid) > 1 << 20


def test_cpu_of_a_process_grows() -> None:
    mine = psutil.Process().pid
    before = machine.cpu_s(mine)
    while machine.cpu_s(mine) < before + 0.05:
        pass
    assert machine.cpu_s(mine) > before
