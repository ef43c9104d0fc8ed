"""A simulated stick keeps its pace, its faults and the CPU's numbers."""

import dataclasses
import itertools
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.inference import simulated_stick
from models.inference.devices import open_runtime
from models.inference.pipeline import FrameResult, FrameTensor, decoder_for, run_pipeline
from models.inference.preprocess import plan_resize
from models.inference.runtime import Runtime, RuntimeFault
from models.inference.simulated_stick import EXAMPLE, SLOTS, Schedule, SimulatedStick, parse
from models.inference.spec import RuntimeSpec
from models.manifest import Manifest, Stick
from tests.tiny_model import SIZE, write_tiny_model

Outputs = dict[str, NDArray[np.float32]]
numbers = itertools.count()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("simulated") / "ir"
    return folder, write_tiny_model(folder)


@pytest.fixture
def name() -> str:
    """A stick of this test's own, because the process remembers a stick's history."""
    return f"test-{next(numbers)}"


def pictures(count: int, seed: int = 1) -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, (1, SIZE, SIZE, 3), np.uint8) for _ in range(count)]


def run(runtime: Runtime, tensors: Iterable[NDArray[np.uint8]]) -> Iterator[Outputs]:
    """Run all slots in turn, like the pipeline. Outputs are copies."""
    started = 0
    for started, tensor in enumerate(tensors, 1):
        if started > runtime.slots:
            yield _copy(runtime.wait((started - 1) % runtime.slots))
        runtime.start((started - 1) % runtime.slots, tensor)
    for done in range(max(0, started - runtime.slots), started):
        yield _copy(runtime.wait(done % runtime.slots))


def _copy(outputs: Outputs) -> Outputs:
    return {name: output.copy() for name, output in outputs.items()}


def frames_before_the_fault(runtime: Runtime, count: int) -> int:
    done: list[Outputs] = []
    with pytest.raises(RuntimeFault, match="vanished"):
        done.extend(run(runtime, pictures(1) * count))
    return len(done)


class Clock:
    """The stick's clock, moved only by its own sleeping and a slow caller, so that results do not depend on load."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(simulated_stick, "time", clock)
    return clock


def seconds(runtime: Runtime, frames: int, clock: Clock) -> float:
    begun = clock.monotonic()
    assert len(list(run(runtime, pictures(1) * frames))) == frames
    return clock.monotonic() - begun


def test_it_sleeps_in_real_time(model: tuple[Path, Manifest], name: str) -> None:
    runtime = open_runtime(*model, RuntimeSpec(f"SIMULATED:ms=20,id={name}"))
    begun = time.monotonic()
    assert len(list(run(runtime, pictures(1) * 15))) == 15
    assert time.monotonic() - begun >= 15 * 0.02 * 0.999


def test_its_pace_is_as_configured(model: tuple[Path, Manifest], name: str, clock: Clock) -> None:
    runtime = open_runtime(*model, RuntimeSpec(f"SIMULATED:ms=20,id={name}"))
    assert seconds(runtime, 75, clock) == pytest.approx(75 * 0.02)


def test_a_late_caller_loses_no_time_while_the_queue_is_not_empty(
    model: tuple[Path, Manifest], name: str, clock: Clock
) -> None:
    """A fixed sleep after each frame would add the caller's own time; due times do not."""
    runtime = open_runtime(*model, RuntimeSpec(f"SIMULATED:ms=30,id={name}"))

    def slow_source() -> Iterator[NDArray[np.uint8]]:
        for tensor in pictures(1) * 40:
            clock.sleep(0.02)
            yield tensor

    begun = clock.monotonic()
    assert len(list(run(runtime, slow_source()))) == 40
    assert clock.monotonic() - begun == pytest.approx(0.02 + 40 * 0.03)  # the first tensor comes late


def test_an_idle_queue_restarts_the_schedule(model: tuple[Path, Manifest], name: str, clock: Clock) -> None:
    """A caller that needs longer than the device sets the pace."""
    runtime = open_runtime(*model, RuntimeSpec(f"SIMULATED:ms=10,id={name}"))
    begun = clock.monotonic()
    for tensor in pictures(5):
        clock.sleep(0.05)
        runtime.start(0, tensor)
        runtime.wait(0)
    assert clock.monotonic() - begun == pytest.approx(5 * (0.05 + 0.01))


def test_it_throttles_and_recovers(model: tuple[Path, Manifest], name: str, clock: Clock) -> None:
    runtime = open_runtime(*model, RuntimeSpec(f"SIMULATED:ms=10,throttle=3x@20,throttle=1x@40,id={name}"))
    paces = [seconds(runtime, 20, clock) for _ in range(3)]
    assert paces == pytest.approx([20 * 0.01, 20 * 0.03, 20 * 0.01])


def test_outputs_equal_the_cpus_bit_for_bit_in_order(model: tuple[Path, Manifest], name: str) -> None:
    tensors = pictures(30)
    expected = list(run(open_runtime(*model, RuntimeSpec("CPU")), tensors))
    runtime = open_runtime(*model, RuntimeSpec(f"SIMULATED:ms=0.1,id={name}", "bf16"))
    assert (runtime.slots, runtime.precision) == (SLOTS, "f32")
    found = list(run(runtime, tensors))
    assert len(found) == 30
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for output, values in theirs.items():
            np.testing.assert_array_equal(ours[output], values)


def test_its_name_says_that_it_is_simulated_and_by_which_device(model: tuple[Path, Manifest], name: str) -> None:
    device = f"SIMULATED:ms=1,id={name}"
    cpu = open_runtime(*model, RuntimeSpec("CPU")).device
    assert open_runtime(*model, RuntimeSpec(device)).device == f"{device} (simulated by {cpu})"


def test_it_disappears_at_its_frame_permanently(model: tuple[Path, Manifest], name: str) -> None:
    device = f"SIMULATED:ms=0.1,vanish@25,id={name}"
    runtime = open_runtime(*model, RuntimeSpec(device))
    assert len(list(run(runtime, pictures(1) * 20))) == 20
    assert frames_before_the_fault(open_runtime(*model, RuntimeSpec(device)), 20) == 5
    assert frames_before_the_fault(runtime, 20) == 0
    with pytest.raises(RuntimeFault, match=r"The device SIMULATED.* choose another --device"):
        open_runtime(*model, RuntimeSpec(device))
    open_runtime(*model, RuntimeSpec(f"SIMULATED:ms=0.1,vanish@25,id={name}-other"))


def test_it_can_be_unplugged_and_plugged_in(model: tuple[Path, Manifest], name: str, tmp_path: Path) -> None:
    pulled = tmp_path / "pulled"
    device = f"SIMULATED:ms=0.1,gone={pulled},id={name}"
    runtime = open_runtime(*model, RuntimeSpec(device))

    def until_pulled() -> Iterator[NDArray[np.uint8]]:
        yield from pictures(10)
        pulled.touch()
        yield from pictures(10)

    with pytest.raises(RuntimeFault, match="vanished"):
        list(run(runtime, until_pulled()))
    with pytest.raises(RuntimeFault, match="vanished"):
        open_runtime(*model, RuntimeSpec(device))
    pulled.unlink()
    assert len(list(run(open_runtime(*model, RuntimeSpec(device)), pictures(10)))) == 10


def test_it_hangs_and_blocks_only_its_caller(model: tuple[Path, Manifest], name: str) -> None:
    runtime = open_runtime(*model, RuntimeSpec(f"SIMULATED:ms=0.1,hang@6,id={name}"))
    answered: list[Outputs] = []
    done = threading.Event()

    def answer() -> None:
        answered.extend(run(runtime, pictures(1) * 20))
        done.set()

    caller = threading.Thread(target=answer, daemon=True)
    caller.start()
    assert not done.wait(1.0)
    assert caller.is_alive()
    assert len(answered) == 6


def test_garbage_ends_the_pipeline_after_complete_frames(model: tuple[Path, Manifest], name: str) -> None:
    folder, manifest = model
    runtime = open_runtime(folder, manifest, RuntimeSpec(f"SIMULATED:ms=0.1,garbage@8,id={name}"))
    resize = plan_resize((SIZE, SIZE), (SIZE, SIZE), manifest.input.resize)
    decode = decoder_for(manifest, resize)
    frames = (FrameTensor(number, number / 30, tensor) for number, tensor in enumerate(pictures(20)))
    results: list[FrameResult] = []
    with pytest.raises(RuntimeFault, match=r"SIMULATED.* returned \w+ with NaN"):
        results.extend(run_pipeline(frames, runtime, decode))
    assert len(list(run(runtime, pictures(5)))) == 5  # no request was left in its slots


def test_only_the_configured_frames_are_garbage(model: tuple[Path, Manifest], name: str) -> None:
    runtime = open_runtime(*model, RuntimeSpec(f"SIMULATED:ms=0.1,garbage@2,garbage@4,id={name}"))
    bad = [n for n, outputs in enumerate(run(runtime, pictures(8))) if np.isnan(outputs["heatmap"]).all()]
    assert bad == [2, 4]


def test_it_refuses_a_model_unfit_for_a_stick(model: tuple[Path, Manifest], name: str) -> None:
    folder, manifest = model
    unfit = dataclasses.replace(manifest, stick=Stick(False, "operation Pad is of opset12", 12))
    with pytest.raises(RuntimeFault, match="operation Pad is of opset12"):
        SimulatedStick(folder, unfit, f"SIMULATED:ms=1,id={name}")


def test_the_device_name_is_parsed_completely() -> None:
    assert parse(EXAMPLE) == Schedule(33.3, ((500, 2.0),), frozenset({50}), hang=100, vanish=900, gone=Path("/path"))
    assert parse("SIMULATED:ms=5") == Schedule(5.0)
    assert parse("SIMULATED:throttle=1x@90,ms=5,throttle=1.5x@3").throttle == ((3, 1.5), (90, 1.0))


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("SIMULATED", "no milliseconds"),
        ("SIMULATED:", "it has ''"),
        ("SIMULATED:id=3", "no milliseconds"),
        ("SIMULATED:ms=0", "no milliseconds"),
        ("SIMULATED:ms=5,throttle=0x@3", "no milliseconds"),
        ("SIMULATED:ms=-5", "'ms=-5'"),
        ("SIMULATED:ms=nan", "'ms=nan'"),
        ("SIMULATED:ms=5,ms=6", "ms twice"),
        ("SIMULATED:ms=5,vanish@1,vanish@2", "vanish twice"),
        ("SIMULATED:ms=5,", "it has ''"),
        ("SIMULATED:ms=5, id=3", "' id=3'"),
        ("SIMULATED:ms=5,explode@3", "'explode@3'"),
        ("SIMULATED:ms=5,throttle=2@500", "'throttle=2@500'"),
        ("SIMULATED:ms=5,gone=relative", "'gone=relative'"),
        ("SIMULATED:ms=5,hang@1.5", "'hang@1.5'"),
        ("SIMULATED_TOO:ms=5", "no milliseconds"),
    ],
)
def test_an_invalid_device_name_is_refused_with_an_example(
    model: tuple[Path, Manifest], device: str, words: str
) -> None:
    with pytest.raises(RuntimeFault, match=words) as caught:
        open_runtime(*model, RuntimeSpec(device))
    assert EXAMPLE in str(caught.value)
