"""Functions that the sandbox's tests run in it: correct, greedy, endless, crashing and malicious ones."""

import ctypes
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.types import AttemptError
from storage.sandbox.entry_points import ENTRY_POINTS as PRODUCT
from storage.video.frames import read_frames
from storage.video.probe import VideoError, probe_video


def echo(value: object) -> object:
    return value


def own_pid() -> int:
    return os.getpid()


def surroundings() -> dict[str, object]:
    """Folder, umask and some of the environment of this process. Also prints a line."""
    print("said by the child", flush=True)
    umask = os.umask(0)
    os.umask(umask)
    return {
        "folder": str(Path.cwd()),
        "umask": umask,
        "home": os.environ.get("NIGHTJAR_HOME"),
        "path": os.environ["PATH"],
    }


def eat_memory() -> None:
    eaten = []
    while True:
        eaten.append(np.ones(1 << 22))


class Knot:
    """An object in a cycle with itself, which holds 64 MB of memory."""

    def __init__(self) -> None:
        self.itself, self.held = self, np.ones(1 << 23)


def tie_knot() -> int:
    """Leave a cycle behind. Returns the memory in use before, in bytes."""
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    Knot()
    return resident


def spin() -> None:
    while True:
        pass


def burn(cpu_s: float) -> None:
    until = time.process_time() + cpu_s
    while time.process_time() < until:
        pass


def crash() -> None:
    ctypes.string_at(0)


def raise_signal(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(5)


def sleep() -> None:
    time.sleep(60)


def leave() -> None:
    os._exit(3)


def refuse() -> None:
    raise VideoError("no good: 'quoted'\nand more")


def postpone() -> None:
    raise AttemptError("not now")


def fail() -> None:
    raise KeyError("the key")


def give_object() -> object:
    return threading.current_thread()


def lie(message: bytes) -> None:
    """Send the parent messages that no correct child sends."""
    for descriptor in range(3, 4096):  # a descriptor of the parent, which may have many open
        try:
            socket.socket(fileno=os.dup(descriptor)).sendall(message)
        except OSError:
            continue
    time.sleep(10)


def count(slots: Iterator[NDArray[np.uint8]], stop: int, fail_at: int = -1) -> Iterator[tuple[int, float]]:
    for number in range(stop):
        if number == fail_at:
            raise VideoError(f"bad frame {number}")
        next(slots)[...] = number % 256
        yield number, number / 7


def tell_progress(slots: Iterator[NDArray[np.uint8]], path: Path) -> Iterator[tuple[int]]:
    """Write the progress to a file, so that a test can observe the waiting."""
    for number in range(100):
        next(slots)[...] = number
        path.write_text(str(number))
        yield (number,)


def crash_at(slots: Iterator[NDArray[np.uint8]], number: int) -> Iterator[tuple[int]]:
    for current in range(number):
        next(slots)[...] = current
        yield (current,)
    crash()


def spin_after_one(slots: Iterator[NDArray[np.uint8]]) -> Iterator[tuple[int]]:
    next(slots)[...] = 1
    yield (1,)
    spin()


def video_frames(slots: Iterator[NDArray[np.uint8]], path: Path, size: tuple[int, int]) -> Iterator[tuple[int, float]]:
    video, index = probe_video(path)
    for frame in read_frames(path, video, index, 0, video.frames, size):
        next(slots)[...] = frame.rgb
        yield frame.number, frame.t_s


ENTRY_POINTS = PRODUCT | {(__name__, name) for name, value in list(vars().items()) if callable(value)}
