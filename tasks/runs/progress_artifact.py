"""Progress of a task as an artifact in the Prefect UI."""

import contextvars
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from tasks.text.markdown import cell
from tasks.text.progress import FrameProgress

ARTIFACT_EVERY_S = 1.0
CLOSE_S = 3.0


@contextmanager
def frames_in_prefect(total_frames: int) -> Iterator[FrameProgress]:
    """Yield the progress of a task over this many frames, shown on the terminal and in Prefect's UI."""
    progress = FrameProgress(total_frames)
    artifact = create_progress_artifact(0.0, key="frames", description=progress.text())
    assert isinstance(artifact, UUID)
    closed = threading.Event()
    # With this thread's context, which contains the server that Prefect uses.
    update = contextvars.copy_context().run
    thread = threading.Thread(target=update, args=(_update, artifact, progress, closed), daemon=True)
    thread.start()
    try:
        with progress:
            yield progress
    finally:
        closed.set()
        thread.join(CLOSE_S)


def _update(artifact: UUID, progress: FrameProgress, closed: threading.Event) -> None:
    """Update the artifact, in a thread, so that a slow Prefect server delays no frame."""
    over = False
    while not over:
        over = closed.wait(ARTIFACT_EVERY_S)
        share = 100.0 * progress.done / progress.total if progress.total else 100.0
        with suppress(Exception):  # a failed update must not harm the work
            update_progress_artifact(
                artifact, progress=min(share, 100.0), description=cell(progress.text(progress.what))
            )
