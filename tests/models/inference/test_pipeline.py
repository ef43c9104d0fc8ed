"""The pipeline with a fake device and real mathematics."""

from collections.abc import Generator, Iterator, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.decoders.classifier import ClassifyParams
from models.decoders.region_spec import RegionSpec
from models.inference.pipeline import FrameResult, FrameTensor, Seen, inside_frame, label_regions, run_pipeline
from models.inference.preprocess import Mode, plan_resize
from models.inference.runtime import RuntimeFault
from models.types import FramePoses, Region


class FakeRuntime:
    """A device that returns the first pixel of its input, read only when it is waited for.

    Real devices read late, too: a tensor that is overwritten too early gives a wrong answer.
    """

    device, precision = "FAKE", "f32"

    def __init__(self, slots: int, lost_at: int | None = None, at_once: int = 1) -> None:
        self.slots, self.lost_at, self.at_once = slots, lost_at, at_once
        self.busy: dict[int, np.ndarray] = {}
        self.started, self.most_in_flight = 0, 0

    def start(self, slot: int, tensor: np.ndarray) -> None:
        assert slot not in self.busy, "started twice without a wait"
        if self.started == self.lost_at:
            raise RuntimeFault("FAKE was lost")
        self.busy[slot] = tensor
        self.started += 1
        self.most_in_flight = max(self.most_in_flight, len(self.busy))

    def wait(self, slot: int) -> dict[str, np.ndarray]:
        return {"value": self.busy.pop(slot)[0, 0, 0, :1].astype(np.float32)}


def one_person(outputs: Sequence[Mapping[str, np.ndarray]]) -> list[Seen]:
    nowhere = np.zeros((1, 17, 2), np.float32)
    return [FramePoses(frame["value"], nowhere, np.ones((1, 17), np.float32)) for frame in outputs]


def ring_of_frames(count: int, slots: int, asked: list[int]) -> Iterator[FrameTensor]:
    """Frames whose tensors share `slots + 1` buffers, as the real source's shared memory does."""
    buffers = np.zeros((slots + 1, 1, 2, 2, 3), np.uint8)
    for number in range(count):
        asked.append(number)
        tensor = buffers[number % (slots + 1)]
        tensor[:] = number % 251
        yield FrameTensor(number, number / 25, tensor)


@pytest.mark.parametrize("at_once", [1, 3, 8])
@pytest.mark.parametrize("slots", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 4, 300])
def test_every_frame_is_returned_once_in_order_with_its_result(slots: int, count: int, at_once: int) -> None:
    runtime = FakeRuntime(slots, at_once=at_once)
    results = list(run_pipeline(ring_of_frames(count, slots, []), runtime, one_person))
    assert [result.number for result in results] == list(range(count))
    assert [result.seen.scores[0] for result in results] == [number % 251 for number in range(count)]
    assert runtime.most_in_flight == min(slots, count)
    assert not runtime.busy


def test_the_source_is_read_ahead_by_at_most_the_devices_slots() -> None:
    asked: list[int] = []
    for done, _ in enumerate(run_pipeline(ring_of_frames(100, 3, asked), FakeRuntime(3), one_person)):
        assert len(asked) <= done + 4


def test_a_lost_device_ends_the_pipeline_and_leaves_no_request_running() -> None:
    runtime = FakeRuntime(3, lost_at=10)
    results: list[FrameResult] = []
    with pytest.raises(RuntimeFault):
        results.extend(run_pipeline(ring_of_frames(100, 3, []), runtime, one_person))
    assert not runtime.busy


def test_the_first_error_of_a_device_is_raised() -> None:
    """An unplugged stick answers every request in flight with an error, and all of them are waited for."""

    class PulledOut(FakeRuntime):
        def wait(self, slot: int) -> dict[str, np.ndarray]:
            value = super().wait(slot)["value"][0]
            raise RuntimeFault(f"frame {value:.0f} was lost")

    runtime = PulledOut(3)
    with pytest.raises(RuntimeFault, match="frame 0 was lost"):
        list(run_pipeline(ring_of_frames(100, 3, []), runtime, one_person))
    assert not runtime.busy


def test_an_abandoned_pipeline_waits_for_its_requests() -> None:
    runtime = FakeRuntime(4)
    results = run_pipeline(ring_of_frames(100, 4, []), runtime, one_person)
    next(results)
    assert isinstance(results, Generator)
    results.close()
    assert not runtime.busy


@given(
    keypoints=arrays(np.float32, (3, 17, 2), elements=st.floats(-500, 500, width=32)),
    truth=st.tuples(st.floats(0, 639), st.floats(0, 359)),
    mode=st.sampled_from(["letterbox", "corner", "stretch"]),
)
def test_keypoints_are_clamped_to_the_frame_without_a_larger_error(
    keypoints: np.ndarray, truth: tuple[float, float], mode: Mode
) -> None:
    keypoints[0, 0] = np.nan
    resize = plan_resize((640, 360), (224, 224), mode)
    inside, before = inside_frame(keypoints, resize), resize.to_original(keypoints)
    assert inside.dtype == np.float32
    assert np.array_equal(np.isnan(inside), np.isnan(keypoints))
    there = ~np.isnan(inside).any(axis=2)
    assert np.all((inside[there] >= 0) & (inside[there] <= (639, 359)))
    was, now = (np.linalg.norm(places[there] - truth, axis=1) for places in (before, inside))
    assert np.all(now <= was + 1e-3)


@pytest.mark.parametrize("slots", [1, 2, 5])
@pytest.mark.parametrize("regions", [1, 3])
def test_a_frame_has_one_label_from_the_best_of_its_regions(slots: int, regions: int) -> None:
    params = ClassifyParams(("dark", "bright"), threshold=0.5, regions=RegionSpec())
    places = [Region(place, 0, 4, 4) for place in range(regions)]
    random = np.random.default_rng(1)
    values = random.integers(0, 2, (40, regions)) * random.integers(0, 2, (40, 1))  # some frames are dark
    tensors = [
        (FrameTensor(number * 2, number / 10, np.full((1, 2, 2, 3), value, np.uint8)), place)
        for number, row in enumerate(values)
        for place, value in zip(places, row, strict=True)
    ]
    results = list(label_regions(iter(tensors), FakeRuntime(slots), params))
    assert [(result.number, result.t_s) for result in results] == [(number * 2, number / 10) for number in range(40)]
    expected = [("bright" if row.any() else "dark", 1.0, places[row.argmax()]) for row in values]
    assert [result.seen for result in results] == expected


def test_abandoned_regions_leave_nothing_in_flight() -> None:
    params = ClassifyParams(("dark", "bright"), regions=RegionSpec())
    runtime = FakeRuntime(4)
    tensors = ((tensor, Region(0, 0, 2, 2)) for tensor in ring_of_frames(100, 4, []))
    results = label_regions(tensors, runtime, params)
    next(results)
    results.close()
    assert not runtime.busy
