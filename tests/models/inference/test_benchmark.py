"""The speed of a model alone: all requests are counted, and OpenVINO's own tool finds the same speed."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.heavy.openvino import ov
from models.inference.benchmark import latency_of, measure_model
from models.inference.devices import open_runtime
from models.inference.runtime import OpenVinoRuntime
from models.inference.spec import RuntimeSpec
from tasks.benchmark.machine import load_1m
from tests.benchmarks.openvino_app import compare_with_app
from tests.tiny_model import SIZE, write_tiny_model

ops = ov.opset8


class FakeRuntime:
    """A runtime that answers in a millisecond and checks that a slot is started once before each wait."""

    device, precision, slots, at_once = "fake", "f32", 3, 1

    def __init__(self) -> None:
        self.busy: set[int] = set()
        self.started, self.waited, self.most = 0, 0, 0

    def start(self, slot: int, tensor: np.ndarray) -> None:
        assert slot not in self.busy
        assert (tensor.shape, tensor.dtype) == ((1, 32, 48, 3), np.uint8)
        self.busy.add(slot)
        self.started += 1
        self.most = max(self.most, len(self.busy))

    def wait(self, slot: int) -> dict[str, np.ndarray]:
        time.sleep(0.001)
        self.busy.remove(slot)
        self.waited += 1
        return {}


def test_all_slots_are_kept_busy_and_then_drained() -> None:
    runtime = FakeRuntime()
    speed = measure_model(runtime, 32, 48, 0.2)
    assert not runtime.busy
    assert runtime.most == runtime.slots
    assert runtime.started == runtime.waited > speed.frames > runtime.slots, "the warm-up is not counted"
    assert speed.frames_per_s == speed.frames / speed.seconds
    assert speed.seconds >= 0.02


def test_at_least_one_round_is_measured() -> None:
    assert measure_model(FakeRuntime(), 32, 48, 1e-9).frames == FakeRuntime.slots


def test_percentiles() -> None:
    found = latency_of(np.arange(101) / 1000)
    assert (found.p50_ms, found.p90_ms, found.p99_ms) == pytest.approx((50, 90, 99))


def test_a_device_of_known_speed(tmp_path: Path) -> None:
    """A stick of 20 ms per frame with four requests: 50 per second, each 80 ms after its start, and hardly any CPU."""
    manifest = write_tiny_model(tmp_path / "ir")
    stick = open_runtime(tmp_path / "ir", manifest, RuntimeSpec("SIMULATED:ms=20"))
    speed = measure_model(stick, SIZE, SIZE, 1.5)
    assert 25 < speed.frames_per_s < 52, "at most its speed, and half of it on a busy machine"
    assert 75 < speed.latency.p50_ms < 240
    assert speed.latency.p50_ms <= speed.latency.p90_ms <= speed.latency.p99_ms
    assert speed.inference_cpu_ms < 15


def test_the_cpu_device_reports_no_temperature(tmp_path: Path) -> None:
    assert OpenVinoRuntime(tmp_path / "ir", write_tiny_model(tmp_path / "ir")).temperature_c() is None


def convolutions(folder: Path) -> None:
    """Replace the tiny model's network by one that takes some milliseconds per picture; its outputs have no meaning."""
    rng = np.random.default_rng(0)
    image = ops.parameter((1, SIZE, SIZE, 3), np.float32, name="image")
    image.output(0).set_names({"image"})
    node, channels = ops.transpose(image, np.array([0, 3, 1, 2])), 3
    for wide in (24, 48, 96, 96, 96):
        weights = (0.1 * rng.standard_normal((wide, channels, 3, 3))).astype(np.float32)
        node = ops.relu(ops.convolution(node, weights, (2, 2) if wide != channels else (1, 1), (1, 1), (1, 1), (1, 1)))
        channels = wide
    node.output(0).set_names({"heatmap"})
    ov.save_model(ov.Model([ops.result(node)], [image], "net"), str(folder / "model.xml"), compress_to_fp16=False)


@pytest.mark.slow
def test_within_five_percent_of_benchmark_app(tmp_path: Path) -> None:
    """Compare frames per second on an idle machine, and CPU time per frame on a busy one, whose scheduler is
    unpredictable."""
    folder = tmp_path / "ir"
    manifest = replace(write_tiny_model(folder), outputs={"heatmap": (1, 96, 28, 28)})
    convolutions(folder)
    ratio = compare_with_app(folder, manifest, least=4, most=30, within=0.05)
    assert ratio.cpu == pytest.approx(1, abs=0.1)
    if load_1m() < (os.cpu_count() or 1):
        assert ratio.frames_per_s == pytest.approx(1, abs=0.05)
