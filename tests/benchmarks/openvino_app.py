"""OpenVINO's own benchmark_app, on the model that a batch compiles, with pixels as its input.

Run as a separate program, and as its inner loop in turns with ours: in turns of a fraction of a second, other work of
the machine slows both alike.
"""

import re
import subprocess
import sys
from itertools import count
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple

from models.inference.benchmark import measure_model
from models.inference.runtime import OpenVinoRuntime, _with_pixels_as_input, import_openvino
from models.manifest import BIN_FILE, XML_FILE, Manifest

# Without telemetry: a machine without internet would wait for DNS.
APP = "import sys; sys.modules['openvino_telemetry'] = None; from openvino.tools.benchmark.main import main; main()"
TURN_S = 0.3


class Ratio(NamedTuple):
    """Ours divided by benchmark_app's: frames per second, and CPU seconds per frame."""

    frames_per_s: float
    cpu: float


def with_preprocessing(folder: Path, manifest: Manifest) -> Any:
    openvino = import_openvino()
    model = openvino.Core().read_model(str(folder / XML_FILE), str(folder / BIN_FILE))
    return _with_pixels_as_input(openvino, model, manifest)


def app_frames_per_s(folder: Path, manifest: Manifest, seconds: int, scratch: Path) -> float:
    """Return the speed that the program prints, on the CPU, with a batch's hints."""
    xml = scratch / "app.xml"
    import_openvino().save_model(with_preprocessing(folder, manifest), str(xml), compress_to_fp16=False)
    options = ["-d", "CPU", "-hint", "throughput", "-infer_precision", "f32", "-t", str(seconds)]
    command = [sys.executable, "-c", APP, "-m", str(xml), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120 + 10 * seconds, check=False)
    found = re.search(r"Throughput:\s+([\d.]+)", done.stdout)
    if done.returncode or found is None:
        raise RuntimeError(f"benchmark_app failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return float(found[1])


class _AppLoop:
    """benchmark_app's loop for models of static shapes, with its number of requests."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        model = with_preprocessing(folder, manifest)
        from openvino.tools.benchmark.benchmark import Benchmark

        self._app = Benchmark("CPU", 0, None, TURN_S, "async", True)
        self._app.duration_seconds = TURN_S
        hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
        self._requests = self._app.create_infer_requests(self._app.core.compile_model(model, "CPU", hints))
        self._app.first_infer(self._requests)

    def turn(self) -> int:
        """Run one turn. Returns its number of frames."""
        return int(self._app.async_inference_only(self._requests, self)[2])

    def get_next_batch_size(self) -> int:
        return 1


def compare_with_app(folder: Path, manifest: Manifest, least: int, most: int, within: float) -> Ratio:
    """Measure both in turns, `least` to `most`, until their frames per second are within `within` of each other."""
    app, runtime = _AppLoop(folder, manifest), OpenVinoRuntime(folder, manifest)
    frames, clock, cpu = [0, 0], [0.0, 0.0], [0.0, 0.0]
    size = manifest.input.height, manifest.input.width
    for turn in count(1):
        for who in (0, 1) if turn % 2 else (1, 0):
            if who == 0:
                speed = measure_model(runtime, *size, TURN_S, warm_up_s=0.0)
                frames[0] += speed.frames
                clock[0] += speed.seconds
                cpu[0] += speed.frames * speed.inference_cpu_ms / 1000
            else:
                begun, used = perf_counter(), process_time()
                frames[1] += app.turn()
                clock[1] += perf_counter() - begun
                cpu[1] += process_time() - used
        ratio = Ratio(frames[0] / clock[0] / (frames[1] / clock[1]), cpu[0] / frames[0] / (cpu[1] / frames[1]))
        if turn >= most or (turn >= least and abs(ratio.frames_per_s - 1) <= within):
            return ratio
    raise AssertionError("The last turn returns")
