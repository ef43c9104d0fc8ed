"""Batches of rendered frames from processes of their own, through shared memory. No TensorFlow, no learning.

Batch n has the frames from n * batch_size on, each rendered from its own seed, so that its content depends neither on
the number of processes nor on interruptions of the training.
"""

import multiprocessing
from multiprocessing.shared_memory import SharedMemory
from types import TracebackType
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.synthetic.frame import SceneParams, render_frame
from models.types import KEYPOINTS

_SLOTS = 2  # batches that a process may be ahead
_PATIENCE_S = 120.0


class FrameBatch(NamedTuple):
    """Frames and their people.

    images: (n, size, size, 3) uint8 RGB
    people: (n, most people, 17, 3) float32: x, y in pixels, visibility; all 0 = no person
    """

    images: NDArray[np.uint8]
    people: NDArray[np.float32]


class FeedPlan(NamedTuple):
    """Frames to render. seed: of the training; batch_size frames of size x size pixels each."""

    seed: int
    batch_size: int
    size: int
    scene: SceneParams

    @property
    def image_shape(self) -> tuple[int, int, int, int]:
        return (self.batch_size, self.size, self.size, 3)

    @property
    def people_shape(self) -> tuple[int, int, int, int]:
        return (self.batch_size, self.scene.people[1], KEYPOINTS, 3)

    @property
    def image_bytes(self) -> int:
        return int(np.prod(self.image_shape))

    @property
    def slot_bytes(self) -> int:
        return self.image_bytes + 4 * int(np.prod(self.people_shape))


def render_batch(plan: FeedPlan, number: int, into: FrameBatch) -> None:
    """Render batch `number` in place."""
    into.people[:] = 0
    for row in range(plan.batch_size):
        image, people = render_frame([plan.seed, number * plan.batch_size + row], plan.size, plan.scene)
        into.images[row] = image
        into.people[row, : len(people.keypoints), :, :2] = people.keypoints
        into.people[row, : len(people.keypoints), :, 2] = people.visibility


def _view(memory: SharedMemory, plan: FeedPlan, slot: int) -> FrameBatch:
    start = slot * plan.slot_bytes
    images: NDArray[np.uint8] = np.ndarray(plan.image_shape, np.uint8, memory.buf, start)
    return FrameBatch(images, np.ndarray(plan.people_shape, np.float32, memory.buf, start + plan.image_bytes))


def _render_for_ever(name: str, plan: FeedPlan, first: int, step: int, free: Any, filled: Any) -> None:
    cv2.setNumThreads(1)
    memory = SharedMemory(name)
    parent = multiprocessing.parent_process()
    number = first
    while parent is not None and parent.is_alive():
        if not free.acquire(timeout=5):
            continue  # no batch was taken; check whether the parent still runs
        render_batch(plan, number, _view(memory, plan, (number - first) // step % _SLOTS))
        filled.release()
        number += step


class FrameFeed:
    """A context manager that renders ahead in `processes` processes; `take` returns the batches in order."""

    def __init__(self, plan: FeedPlan, first_batch: int, processes: int) -> None:
        self.plan, self.next, self.first = plan, first_batch, first_batch
        self.processes = processes

    def __enter__(self) -> "FrameFeed":
        context = multiprocessing.get_context("spawn")  # a fork of a process with TensorFlow's threads may hang
        self.lanes = []
        for lane in range(self.processes):
            memory = SharedMemory(create=True, size=_SLOTS * self.plan.slot_bytes)
            free, filled = context.Semaphore(_SLOTS), context.Semaphore(0)
            arguments = (memory.name, self.plan, self.first + lane, self.processes, free, filled)
            process = context.Process(target=_render_for_ever, args=arguments, daemon=True)
            process.start()
            self.lanes.append((memory, free, filled, process))
        return self

    def take(self) -> FrameBatch:
        """Return the next batch, copied. Raises RuntimeError where its process died."""
        turn, lane = divmod(self.next - self.first, self.processes)
        memory, free, filled, process = self.lanes[lane]
        waited = 0.0
        while not filled.acquire(timeout=1):
            waited += 1
            if not process.is_alive() or waited > _PATIENCE_S:
                raise RuntimeError(
                    f"The process that renders batch {self.next} ended or stalled (exit code {process.exitcode}). See "
                    "its error above and start the training again, which resumes."
                )
        shared = _view(memory, self.plan, turn % _SLOTS)
        batch = FrameBatch(shared.images.copy(), shared.people.copy())
        del shared
        free.release()
        self.next += 1
        return batch

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for memory, _, _, process in self.lanes:
            process.terminate()
            process.join()
            memory.close()
            memory.unlink()
