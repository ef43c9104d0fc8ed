"""Progress that a person can watch: a bar in a terminal, lines in a log, an artifact in the Prefect UI."""

import contextvars
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from models.text import visible
from tasks.text.markdown import cell

log = logging.getLogger(__name__)

ARTIFACT_EVERY_S = 1.0
CLOSE_S = 3.0
LOG_EVERY_S = 15.0


@contextmanager
def byte_progress(label: str) -> Iterator[Callable[[int, int | None], None]]:
    """A download's bar; call it with (bytes done, bytes in all or None)."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task_id = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task_id, completed=done, total=total)


class FrameProgress:
    """Frames done of frames to do, with the speed and the time left.

    Use as a context manager inside a Prefect task; `add` may be called for every frame.
    """

    def __init__(self, total_frames: int) -> None:
        self.total, self.done = total_frames, 0
        self._begun = self._log_at = time.monotonic()
        self._what = ""
        columns = (
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} frames"),
            BarColumn(),
            TextColumn("{task.fields[speed]:,.0f} frames/s"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[what]}", markup=False),
        )
        self._closed = threading.Event()
        self._bar = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
        self._task = self._bar.add_task("frames", total=total_frames, speed=0.0, what="")

    def __enter__(self) -> "FrameProgress":
        artifact = create_progress_artifact(0.0, key="frames", description=self.text())
        assert isinstance(artifact, UUID)
        # With this thread's context: Prefect keeps there which server it talks to.
        tell = contextvars.copy_context().run
        self._teller = threading.Thread(target=tell, args=(self._tell, artifact), daemon=True)
        self._teller.start()
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        self._closed.set()
        self._teller.join(CLOSE_S)

    @property
    def frames_per_s(self) -> float:
        return self.done / max(time.monotonic() - self._begun, 1e-9)

    def text(self, what: str = "") -> str:
        """One line: frames, speed, time left, what is being done."""
        if not self.done:
            return f"0 of {self.total:,} frames"
        left_s = (self.total - self.done) / self.frames_per_s
        line = f"{self.done:,} of {self.total:,} frames, {self.frames_per_s:,.0f} frames/s, {left_s:,.0f} s left"
        return f"{line}, {what}" if what else line

    def add(self, frames: int, what: str = "") -> None:
        """So many more frames are done; `what` names the video."""
        self.done += frames
        now = time.monotonic()
        self._bar.update(self._task, completed=self.done, speed=self.frames_per_s, what=visible(what))
        self._what = visible(what)
        if now - self._log_at >= LOG_EVERY_S and self._bar.disable:
            self._log_at = now
            log.info(self.text(what))

    def _tell(self, artifact: UUID) -> None:
        """In a thread of its own: a Prefect server that does not answer must not keep a frame waiting."""
        closed = False
        while not closed:
            closed = self._closed.wait(ARTIFACT_EVERY_S)
            share = 100.0 * self.done / self.total if self.total else 100.0
            with suppress(Exception):  # what happens to a picture of the work must not happen to the work
                update_progress_artifact(artifact, progress=min(share, 100.0), description=cell(self.text(self._what)))
