"""Estimate of a batch's duration: its properties, and the measurements it uses, on both databases."""

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from storage.ledger.batches import expect_segments, finish_batch, start_batch
from storage.ledger.speeds import Overhead, WorkerSpeed, measured_overhead, measured_speeds
from tasks.batch.estimate import Work, Worker, estimate, named_device
from tests.storage.samples import cut, make_video, plan_video, planned_batch
from tests.tasks.nights import CPU, STICK, do, set_times

NOW = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
NONE = Overhead()


def speed(worker: str, device: str, frames_per_s: float) -> WorkerSpeed:
    return WorkerSpeed(worker, device, round(frames_per_s * 1000), 1000.0, NOW)


def seconds(work: Work, workers: list[Worker], speeds: list[WorkerSpeed], overhead: Overhead = NONE) -> float | None:
    return estimate(work, workers, speeds, overhead, elapsed_s=0.0).total_s


names = st.sampled_from([f"pi-{number}" for number in range(6)])
devices = st.sampled_from([STICK, CPU, "GPU (some)"])
workers = st.builds(Worker, names, st.none() | devices)
speeds = st.builds(speed, names, devices, st.floats(0.1, 500))
works = st.builds(lambda segments, length: Work(segments * length, segments), st.integers(1, 900), st.integers(1, 3000))
overheads = st.builds(Overhead, *[st.floats(0, 100)] * 3)


@given(works, st.lists(workers, min_size=1, max_size=6), workers, st.lists(speeds, min_size=1, max_size=8), overheads)
def test_one_more_worker_never_makes_it_longer(
    work: Work, there: list[Worker], other: Worker, known: list[WorkerSpeed], overhead: Overhead
) -> None:
    alone, together = seconds(work, there, known, overhead), seconds(work, [*there, other], known, overhead)
    assert alone is not None
    assert together is not None
    assert together <= alone * (1 + 1e-9)


@given(works, st.lists(workers, min_size=1, max_size=6), st.lists(speeds, min_size=1, max_size=8), overheads)
def test_it_is_never_shorter_than_all_devices_at_full_speed(
    work: Work, there: list[Worker], known: list[WorkerSpeed], overhead: Overhead
) -> None:
    found = seconds(work, there, known, overhead)
    best = len(there) * max(each.frames_per_s for each in known)
    assert found is not None
    assert found >= work.frames / best * (1 - 1e-9) + overhead.start_s + overhead.end_s


@given(works, st.lists(workers, max_size=6), overheads)
def test_without_measurements_there_is_no_estimate(work: Work, there: list[Worker], overhead: Overhead) -> None:
    found = estimate(work, there, [], overhead, elapsed_s=3.0)
    assert found.total_s is None
    assert found.text().startswith(
        "unknown, as this model was never measured" if there else "unknown, as no worker is online"
    )


def test_the_estimate_is_the_overhead_plus_frames_by_the_sum_of_speeds() -> None:
    known = [speed("pi-1", STICK, 30), speed("pi-2", STICK, 20)]
    both = [Worker("pi-1", STICK), Worker("pi-2", STICK)]
    assert seconds(Work(50_000, 50), both, known) == pytest.approx(1000)
    assert seconds(Work(50_000, 50), both, known, Overhead(start_s=7, end_s=5)) == pytest.approx(1012)
    # 20 segments of 1000 frames, each with a pause of 10 s, by one worker.
    assert seconds(Work(20_000, 20), both[1:], known, Overhead(segment_s=10)) == pytest.approx(1200)
    assert estimate(Work(1000, 1), both[:1], known, Overhead(), 40.0).total_s == pytest.approx(40 + 1000 / 30)


def test_one_segment_is_processed_by_one_worker() -> None:
    known = [speed("pi-1", STICK, 30), speed("pi-2", STICK, 20)]
    assert seconds(Work(3000, 1), [Worker("pi-2", STICK), Worker("pi-1", STICK)], known) == pytest.approx(100)


@pytest.mark.parametrize(
    ("worker", "expected"),
    [
        (Worker("pi-9", STICK), 25.0),  # the mean of the sticks
        (Worker("pi-9", CPU), 8.0),
        (Worker("pi-9", "GPU (new)"), pytest.approx(58 / 3)),  # of no known kind: the mean of all
        (Worker("pi-9", None), pytest.approx(58 / 3)),
        (Worker("pi-1", STICK), 30.0),
        (Worker("pi-3", None), 8.0),  # its own speed, with any device
        (Worker("pi-1", CPU), 8.0),  # its stick was measured, its CPU gets the speed of another one
    ],
)
def test_an_unmeasured_worker_gets_the_mean_of_its_kind(worker: Worker, expected: float) -> None:
    known = [speed("pi-1", STICK, 30), speed("pi-2", STICK, 20), speed("pi-3", CPU, 8)]
    [pace] = estimate(Work(100, 1), [worker], known, Overhead(), 0.0).paces
    assert pace.frames_per_s == expected


def test_the_text_names_the_fastest_and_counts_the_others() -> None:
    known = [speed(f"pi-{number}", STICK, 30 - number) for number in range(7)]
    there = [Worker(f"pi-{number}", STICK) for number in range(7)] + [Worker("new", STICK)]
    found = estimate(Work(432_000, 240), there, known, Overhead(), 0.0)
    assert found.text() == (
        "about 33 min 20 s: 432,000 frames by pi-0/MYRIAD (30.0 frames/s), pi-1/MYRIAD (29.0 frames/s), "
        "pi-2/MYRIAD (28.0 frames/s), new/MYRIAD (27.0 frames/s, the mean of all MYRIAD devices) "
        "and 4 more (216 frames/s all together)"
    )


@pytest.mark.parametrize(
    ("name", "device"), [("pi-1-b827eb112233-MYRIAD", "MYRIAD"), ("host/CPU", "CPU"), ("pi-1", None), ("CPUs", None)]
)
def test_a_device_in_a_workers_own_name_is_recognised(name: str, device: str | None) -> None:
    assert named_device(name) == device


# Measurements


def test_old_segments_of_a_worker_are_ignored(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.ledger.speeds.SPEED_SEGMENTS", 2)
    video = make_video(frames=100)
    _, model_version_id, batch_id = planned_batch(engine, video, length=10)
    assert measured_speeds(engine, model_version_id) == []
    do(engine, batch_id, 3, "pi-1", wall_s=10.0)
    time.sleep(0.01)
    do(engine, batch_id, 2, "pi-1", wall_s=2.0)
    do(engine, batch_id, 1, "pi-2", wall_s=4.0)
    time.sleep(0.01)
    do(engine, batch_id, 1, "pi-1", wall_s=1.0, device=CPU)
    found = [each[:4] for each in measured_speeds(engine, model_version_id)]
    assert found == [("pi-1", STICK, 20, 4.0), ("pi-1", CPU, 10, 1.0), ("pi-2", STICK, 10, 4.0)]


def test_old_batches_are_not_read(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.ledger.speeds.SPEED_BATCHES", 1)
    video_id, model_version_id, batch_id = planned_batch(engine, make_video(frames=40), length=10)
    do(engine, batch_id, 2, "pi-1", wall_s=10.0)
    finish_batch(engine, batch_id)
    again = start_batch(engine, "archive/", model_version_id, "local", "owner")
    expect_segments(engine, again, [video_id], 1, 0)
    do(engine, again, 2, "pi-2", wall_s=5.0)
    finish_batch(engine, again)
    assert [each.worker for each in measured_speeds(engine, model_version_id)] == ["pi-2"]
    idle = start_batch(engine, "archive/", model_version_id, "local", "owner")
    finish_batch(engine, idle)
    assert [each.worker for each in measured_speeds(engine, model_version_id)] == ["pi-2"], (
        "an idle night is no measurement"
    )


def test_the_overhead_comes_from_the_ledger(engine: Engine) -> None:
    """Listing ends at 12 s, the first segment begins at 20 s; two workers with pauses of 1 and 3 s; 6 s of pictures."""
    _, model_version_id, batch_id = planned_batch(engine, make_video(frames=60), length=10)
    assert measured_overhead(engine, model_version_id, "local") == Overhead()
    do(engine, batch_id, 3, "pi-1", wall_s=10.0)
    do(engine, batch_id, 3, "pi-2", wall_s=20.0)
    finish_batch(engine, batch_id)
    set_times(engine, batch_id, 0, 12, [30, 41, 52, 40, 63, 86], 92)
    found = measured_overhead(engine, model_version_id, "local")
    assert found == pytest.approx(Overhead(start_s=8.0, segment_s=2.0, end_s=6.0), abs=0.002)
    assert measured_overhead(engine, model_version_id, "fleet") == Overhead()


def test_the_overhead_of_a_night_is_never_negative(engine: Engine) -> None:
    _, model_version_id, batch_id = planned_batch(engine, make_video(frames=60), length=10)
    do(engine, batch_id, 6, "pi-1", wall_s=500.0)
    finish_batch(engine, batch_id)
    assert all(part >= 0 for part in measured_overhead(engine, model_version_id, "local"))


def test_one_unusual_night_in_three_has_no_effect(engine: Engine) -> None:
    video = make_video(frames=60)
    video_id, model_version_id, batch_id = planned_batch(engine, video, length=20)
    for pause, number in ((4.0, batch_id), (400.0, None), (4.0, None)):
        batch_id = number or start_batch(engine, "archive/", model_version_id, "local", "owner")
        plan_video(engine, video_id, model_version_id, cut(video, 20))
        expect_segments(engine, batch_id, [video_id], 1, 0)
        do(engine, batch_id, 1, "pi-1", wall_s=10.0)
        finish_batch(engine, batch_id)
        set_times(engine, batch_id, 0, 0, [10 + pause], 10 + 2 * pause)
    assert measured_overhead(engine, model_version_id, "local") == pytest.approx(Overhead(4.0, 0.0, 4.0), abs=0.002)
