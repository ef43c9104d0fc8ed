"""The sandbox: its child cannot harm the parent, and how it ends."""

import itertools
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.types import AttemptError, TooSlowError
from storage.sandbox.child import CPU_SIGNAL
from storage.sandbox.parent import Sandbox, SandboxError, SandboxKilled, Stream
from storage.sandbox.wire import HEADER
from storage.video.probe import VideoError, from_record, probe_record, probe_video
from tests.storage import sandboxed, slow_import
from tests.videos import make_video

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One sandbox for many tests, as in a batch: it works for each, regardless of the previous one."""
    with Sandbox(1 << 29, sandboxed.ENTRY_POINTS) as one:
        yield one


def gone(pid: int, within_s: float = 5.0) -> bool:
    """Return whether a process that is not our child ends, or is a zombie, in time."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


def test_values_are_passed_unchanged(sandbox):
    values = {"a": [1, 2.5, None, True, "ü\n"], "inf": float("inf"), "empty": []}
    assert sandbox.call(sandboxed.echo, values, cpu_s=5) == values
    for array in (np.arange(12).reshape(3, 4)[:, ::2], np.empty((0, 3), np.float32), np.array(7), np.ones(3, bool)):
        back = sandbox.call(sandboxed.echo, {"it": array}, cpu_s=5)["it"]
        assert back.dtype == array.dtype
        assert np.array_equal(back, array)
        assert back.shape == array.shape


def test_one_child_serves_many_calls(sandbox):
    first = sandbox.call(sandboxed.own_pid, cpu_s=5)
    assert first != os.getpid()
    assert {sandbox.call(sandboxed.own_pid, cpu_s=5) for _ in range(20)} == {first}


def test_nothing_of_a_call_stays_in_the_child(sandbox):
    """Decoders are parts of cycles: 4 GB of them were left by the segments of one large film."""
    used_bytes = [sandbox.call(sandboxed.tie_knot, cpu_s=5) for _ in range(6)]
    assert max(used_bytes[1:]) - used_bytes[0] < 100e6


def test_probing_in_the_child_gives_the_same_result(sandbox, tmp_path):
    path = make_video(tmp_path / "a.mp4", 20)
    video, index = from_record(sandbox.call(probe_record, path, cpu_s=20))
    expected, expected_index = probe_video(path)
    assert video == expected
    assert np.array_equal(index.timestamps_s, expected_index.timestamps_s)
    with pytest.raises(AttemptError, match="cannot be opened"):
        sandbox.call(probe_record, tmp_path / "absent", cpu_s=20)


@pytest.mark.parametrize(
    ("function", "cpu_s", "reason"),
    [
        (sandboxed.eat_memory, 60, r"^The process that read this file took more than 0\.5 GB of memory\. Replace"),
        (sandboxed.spin, 0.1, r"^The process that read this file took more than 0\.1 s of CPU\. Replace"),
        (sandboxed.crash, 5, r"^The process that read this file crashed \(signal 11\)\. Replace"),
        (sandboxed.leave, 5, r"ended by itself \(exit code 3\)"),
        (sandboxed.fail, 5, r"^The process that read this file failed: KeyError: 'the key'"),
        (sandboxed.give_object, 5, r"cannot leave the sandbox"),
    ],
)
def test_a_child_that_exceeds_its_limits_is_an_error_and_the_next_call_works(sandbox, function, cpu_s, reason):
    with pytest.raises(SandboxError, match=reason):
        sandbox.call(function, cpu_s=cpu_s)
    assert sandbox.call(sandboxed.echo, "well", cpu_s=5) == "well"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGXCPU])
def test_a_child_killed_from_outside_is_not_the_inputs_fault(sandbox, number):
    """SIGXCPU, too: a service manager may limit the CPU of a whole process, which no file is to blame for."""
    with pytest.raises(SandboxKilled, match=rf"was killed \(signal {number:d}\)"):
        sandbox.call(sandboxed.raise_signal, number, cpu_s=5)
    assert sandbox.call(sandboxed.echo, "well", cpu_s=5) == "well"


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGTRAP])
def test_a_crash_of_the_child_is_the_inputs_fault(sandbox, number):
    with pytest.raises(SandboxError, match=rf"crashed \(signal {number:d}\)"):
        sandbox.call(sandboxed.raise_signal, number, cpu_s=5)


def test_a_child_waiting_for_a_dead_disk_is_not_the_inputs_fault(sandbox, monkeypatch):
    monkeypatch.setattr("storage.sandbox.parent.IDLE_S", 1.0)
    with pytest.raises(SandboxKilled, match="did nothing for 1 s"):
        sandbox.call(sandboxed.sleep, cpu_s=5)


@pytest.mark.parametrize("function", [sandboxed.sleep, sandboxed.spin])
def test_exceeding_wall_clock_time_is_not_the_inputs_fault(sandbox, function):
    begun = time.monotonic()
    with pytest.raises(TooSlowError, match=r"^Reading this file took more than 1 s\. Check"):
        sandbox.call(function, cpu_s=60, wall_s=1.0)
    assert 1.0 <= time.monotonic() - begun < 10.0
    assert sandbox.call(sandboxed.echo, "well", cpu_s=5, wall_s=60.0) == "well"


def test_a_video_error_is_passed_on(sandbox):
    pid = sandbox.call(sandboxed.own_pid, cpu_s=5)
    with pytest.raises(VideoError, match=r"no good: 'quoted'\\nand more"):
        sandbox.call(sandboxed.refuse, cpu_s=5)
    assert sandbox.call(sandboxed.own_pid, cpu_s=5) == pid
    with pytest.raises(AttemptError, match="not now"):
        sandbox.call(sandboxed.postpone, cpu_s=5)
    assert sandbox.call(sandboxed.own_pid, cpu_s=5) == pid


def test_the_cpu_limit_applies_to_each_call(sandbox):
    for _ in range(25):  # together more than the limit; one is far below it, as a busy machine counts CPU coarsely
        sandbox.call(sandboxed.burn, 0.05, cpu_s=1.0)
    with pytest.raises(SandboxError, match="took more than 1 s of CPU"):
        sandbox.call(sandboxed.burn, 20.0, cpu_s=1.0)


def test_the_cpu_limit_holds_in_the_child_of_a_process_that_ignores_its_signal(sandbox):
    sandbox.close()
    before = signal.signal(CPU_SIGNAL, signal.SIG_IGN)
    try:
        with pytest.raises(SandboxError, match=r"took more than 0\.1 s of CPU"):
            sandbox.call(sandboxed.burn, 20.0, cpu_s=0.1)
    finally:
        signal.signal(CPU_SIGNAL, before)


def test_the_import_of_a_calls_module_is_not_part_of_the_limit_of_the_call_before():
    with Sandbox(entry_points=[("tests.storage.sandboxed", "echo"), ("tests.storage.slow_import", "echo")]) as sandbox:
        sandbox.call(sandboxed.echo, 1, cpu_s=0.1)
        assert sandbox.call(slow_import.echo, 2, cpu_s=0.1) == 2


class Planted:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_malicious_child_cannot_execute_code_in_its_parent(sandbox, tmp_path):
    planted = pickle.dumps(Planted(tmp_path / "executed"))
    objects = b'{"result": {"array": "|O", "shape": [1]}}'
    for lie in (
        planted,
        HEADER.pack(len(planted), 0) + planted,
        HEADER.pack(len(objects), 8) + objects + bytes(8),
        HEADER.pack(2**31, 2**31),
        HEADER.pack(2, 0) + b"[]",
        HEADER.pack(40, 0) + b'{"result": {"array": "<f8", "shape": [9]}',
    ):
        with pytest.raises(SandboxError, match="nonsense"):
            sandbox.call(sandboxed.lie, lie, cpu_s=5)
    assert not (tmp_path / "executed").exists()


def test_a_function_that_a_child_cannot_find_is_refused(sandbox):
    with pytest.raises(ValueError, match="not an entry point"):
        sandbox.call(lambda: 1, cpu_s=1)


def test_a_stream_yields_items_in_order_and_waits_for_free_slots(sandbox, tmp_path):
    progress = tmp_path / "progress"
    with sandbox.stream(sandboxed.tell_progress, progress, shape=(2, 3), slots=3, cpu_s=10) as stream:
        held = [next(stream) for _ in range(3)]
        time.sleep(0.2)
        assert progress.read_text() == "2"
        assert [meta for meta, _ in held] == [(0,), (1,), (2,)]
        assert [int(view[1, 2]) for _, view in held] == [0, 1, 2]
        with pytest.raises(RuntimeError, match=r"All 3 slots are held\. Call release\(\)"):
            next(stream)
        stream.release()
        meta, view = next(stream)
        assert (meta, int(view[0, 0])) == ((3,), 3)
        assert np.shares_memory(view, held[0][1])
        assert [int(view[1, 2]) for _, view in held[1:]] == [1, 2]  # held slots stay
        for _ in range(3):
            stream.release()
        with pytest.raises(RuntimeError, match="No slot is held"):
            stream.release()
    assert sandbox.call(sandboxed.echo, 1, cpu_s=5) == 1


@pytest.mark.parametrize("slots", [1, 2, 7, 24])
def test_a_stream_yields_the_same_as_the_generator(sandbox, slots):
    shape = (5, 4, 3)
    buffer = np.empty(shape, np.uint8)
    expected = [(meta, buffer.copy()) for meta in sandboxed.count(itertools.repeat(buffer), 600)]
    found = []
    with sandbox.stream(sandboxed.count, 600, shape=shape, slots=slots, cpu_s=10) as stream:
        for meta, view in stream:
            found.append((meta, view.copy()))
            stream.release()
    assert [meta for meta, _ in found] == [meta for meta, _ in expected]
    assert all(np.array_equal(one, two) for (_, one), (_, two) in zip(found, expected, strict=True))


def test_slots_can_be_released_by_another_thread(sandbox):
    numbers = []
    with sandbox.stream(sandboxed.count, 300, shape=(8,), slots=4, cpu_s=10) as stream:
        waiting = threading.Semaphore(0)
        thread = threading.Thread(target=lambda: [(waiting.acquire(), stream.release()) for _ in range(300)])
        thread.start()
        for (number, _), _view in stream:
            numbers.append(number)
            waiting.release()
            while stream.held == 4:
                time.sleep(0.0005)
        thread.join()
    assert numbers == list(range(300))


def test_the_ends_of_a_stream(sandbox):
    pid = sandbox.call(sandboxed.own_pid, cpu_s=5)
    with sandbox.stream(sandboxed.count, 0, shape=(1,), slots=2, cpu_s=5) as stream:
        assert list(stream) == []
    with sandbox.stream(sandboxed.count, 100, shape=(1,), slots=2, cpu_s=5) as stream:  # closed early
        view = next(stream)[1]
        with pytest.raises(RuntimeError, match="Close it first"):
            sandbox.call(sandboxed.echo, 1, cpu_s=5)
    assert view[0] == 0
    assert next(stream, None) is None
    stream = sandbox.stream(sandboxed.count, 100, 1, shape=(1,), slots=2, cpu_s=5)
    next(stream)
    with pytest.raises(VideoError, match="bad frame 1"):
        next(stream)
    assert sandbox.call(sandboxed.own_pid, cpu_s=5) == pid  # the same child throughout


def test_a_stream_with_a_dead_or_hanging_child_is_an_error(sandbox):
    stream = sandbox.stream(sandboxed.crash_at, 1, shape=(1,), slots=2, cpu_s=5)
    _, view = next(stream)
    with pytest.raises(SandboxError, match="signal 11"):
        next(stream)
    assert view[0] == 0  # still readable
    with sandbox.stream(sandboxed.spin_after_one, shape=(1,), slots=2, cpu_s=60) as stream:
        next(stream)  # closed while the child does not respond: it is ended
    assert sandbox.call(sandboxed.echo, 1, cpu_s=5) == 1
    stream = sandbox.stream(sandboxed.count, 10, shape=(1,), slots=1, cpu_s=5)
    sandbox.close()
    with pytest.raises(SandboxError, match="closed"):
        next(stream)


def test_a_video_is_streamed_as_tensors(sandbox, tmp_path):
    path = make_video(tmp_path / "a.mp4", 30)
    with sandbox.stream(sandboxed.video_frames, path, (64, 48), shape=(48, 64, 3), slots=4, cpu_s=20) as stream:
        seen = []
        for (number, t_s), view in stream:
            assert view.std() > 1
            seen.append((number, t_s))
            stream.release()
    assert seen == [(n, pytest.approx(n / 25)) for n in range(30)]


@pytest.mark.parametrize("thread_ends", [False, True])
def test_the_child_ends_with_its_parent_process_only(thread_ends):
    script = (
        "import sys, threading, time\n"
        "from storage.sandbox.parent import Sandbox\n"
        "from tests.storage import sandboxed\n"
        "one = Sandbox(entry_points=sandboxed.ENTRY_POINTS)\n"
        "start = lambda: print(one.call(sandboxed.own_pid, cpu_s=5), flush=True)\n"
        "thread = threading.Thread(target=start); thread.start(); thread.join()\n"
        f"{'start()' if thread_ends else 'one.call(sandboxed.spin, cpu_s=60)'}\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    if thread_ends:
        assert int(parent.stdout.readline()) == pid
    assert not gone(pid, 0.1)
    parent.kill()
    parent.wait()
    assert gone(pid)


def test_a_small_file_that_needs_much_memory_is_stopped(tmp_path):
    path = make_video(tmp_path / "a.mp4", pictures=[np.zeros((2160, 3840, 3), np.uint8)] * 12, options={"refs": "16"})
    assert path.stat().st_size < 100_000
    size = (48, 32)
    with Sandbox(64 << 20, sandboxed.ENTRY_POINTS) as small:
        with pytest.raises(SandboxError, match=r"^The process that read this file took more than 0\.0625 GB"):
            list(released(small.stream(sandboxed.video_frames, path, size, shape=(32, 48, 3), slots=2, cpu_s=60)))
        assert small.call(sandboxed.echo, 1, cpu_s=5) == 1


def released(stream: Stream) -> Iterator[tuple[float, ...]]:
    for meta, _ in stream:
        stream.release()
        yield meta


def test_no_descriptor_stays_open(sandbox):
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    sandbox.call(sandboxed.own_pid, cpu_s=5)
    before = descriptors()
    for _ in range(5):
        with sandbox.stream(sandboxed.count, 3, shape=(1000,), slots=2, cpu_s=5) as stream:
            next(stream)
    del stream  # the memory exists as long as it may be read
    assert descriptors() == before
