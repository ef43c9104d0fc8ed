"""Display of progress: a bar on a terminal, log lines otherwise."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from models.text import visible

log = logging.getLogger(__name__)

LOG_EVERY_S = 15.0
SHOW_EVERY_S = 0.1  # updating the bar costs as much as decoding a pose


@contextmanager
def byte_progress(label: str) -> Iterator[Callable[[int, int | None], None]]:
    """Create a download's progress bar; call it with (bytes done, total bytes or None)."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task_id = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task_id, completed=done, total=total)


class FrameProgress:
    """Progress in frames, with the speed and the time left.

    Use it as a context manager. `add` may be called for every frame.
    """

    def __init__(self, total_frames: int) -> None:
        self.total, self.done = total_frames, 0
        self._begun = self._log_at = self._show_at = time.monotonic()
        self.what = ""
        columns = (
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} frames"),
            BarColumn(),
            TextColumn("{task.fields[speed]:,.0f} frames/s"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[what]}", markup=False),
        )
        self._bar = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
        self._task = self._bar.add_task("frames", total=total_frames, speed=0.0, what="")

    def __enter__(self) -> "FrameProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    @property
    def frames_per_s(self) -> float:
        return self.done / max(time.monotonic() - self._begun, 1e-9)

    def text(self, what: str = "") -> str:
        """Format frames, speed, time left and the current video as one line."""
        if not self.done:
            return f"0 of {self.total:,} frames"
        left_s = (self.total - self.done) / self.frames_per_s
        line = f"{self.done:,} of {self.total:,} frames, {self.frames_per_s:,.0f} frames/s, {left_s:,.0f} s left"
        return f"{line}, {what}" if what else line

    def add(self, frames: int, what: str = "") -> None:
        """Add newly finished frames. what: name of the current video"""
        self.done += frames
        now = time.monotonic()
        if now < self._show_at and self.done < self.total:
            return
        self._show_at = now + SHOW_EVERY_S
        self.what = visible(what)
        self._bar.update(self._task, completed=self.done, speed=self.frames_per_s, what=self.what)
        if now - self._log_at >= LOG_EVERY_S and self._bar.disable:
            self._log_at = now
            log.info(self.text(what))
