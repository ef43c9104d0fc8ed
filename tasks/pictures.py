"""Tasks that draw: overlay videos and the batch's picture, from the rows that were committed."""

import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from prefect import get_run_logger, task

from models.lasting import best_frame
from models.render import contact_sheet
from models.types import Classifications, FrameIndex, Rows, Video
from storage.archive import Entry
from storage.containers import AttemptError, VideoError
from storage.ledger import DoneSegment, done_segments
from storage.places import ObjectError
from storage.results import read_labels, read_poses
from storage.sandbox import SandboxError
from tasks.frames import write_overlay, write_still
from tasks.night import Night
from tasks.policy import TASK

Overlay = Literal["none", "sample", "all"]
SAMPLE_VIDEOS = 3
SHEET_VIDEOS = 9
SHEET_COLUMNS = 3
SHEET_WIDTH = 1200


@dataclass
class Pictures:
    """sheet: PNG bytes of the batch's picture, empty where nobody was found; overlays: key of the video -> address"""

    sheet: bytes = b""
    sheet_url: str = ""
    overlays: dict[str, str] = field(default_factory=dict)


@task(name="draw pictures", **TASK)
def draw_pictures(night: Night, entries: dict[int, Entry], overlay: Overlay) -> Pictures:
    """The batch's picture and its overlay videos, in the artifact store. A video that cannot be drawn is left out."""
    by_video: dict[int, list[DoneSegment]] = defaultdict(list)
    for segment in done_segments(night.site.engine, night.batch_id):
        by_video[segment.video_id].append(segment)
    order = sorted(by_video, key=lambda video_id: -sum(segment.people for segment in by_video[video_id]))
    wanted = {"none": 0, "sample": SAMPLE_VIDEOS, "all": len(order)}[overlay]
    pictures, stills = Pictures(), []
    with tempfile.TemporaryDirectory(prefix="nightjar-pictures-") as scratch:
        for rank, video_id in enumerate(order[: max(wanted, SHEET_VIDEOS)]):
            entry, done = entries[video_id], by_video[video_id]
            try:
                with night.archive.local(entry) as path:
                    easel = _Easel(night, path, *night.probe(path), video_id, Path(scratch))
                    if rank < SHEET_VIDEOS:
                        stills += [(entry.key, still) for still in easel.still(*_busiest(done))]
                    if rank < wanted:
                        get_run_logger().info("drawing the overlay of %s", entry.key)
                        frames = (0, easel.video.frames) if overlay == "all" else _busiest(done)
                        pictures.overlays[entry.key] = easel.overlay(*frames)
            except (VideoError, SandboxError, AttemptError, ObjectError) as error:
                get_run_logger().warning("no picture of %s: %s", entry.key, error)
    if stills:
        names, images = zip(*stills, strict=True)
        sheet = contact_sheet(images, SHEET_COLUMNS, SHEET_WIDTH, names)
        pictures.sheet = cv2.imencode(".png", sheet)[1].tobytes()
        key = f"batches/{night.batch_id:06d}/picture.png"
        night.site.artifacts.put_bytes(key, pictures.sheet)
        pictures.sheet_url = night.site.artifacts.url(key)
    return pictures


def _telling(rows: Rows) -> int:
    """The frame with the most people who last, or the surest one of the rarest label."""
    if not isinstance(rows, Classifications):
        return best_frame(rows)
    _, which, counts = np.unique(rows.label, return_inverse=True, return_counts=True)
    return int(rows.frame[np.lexsort((rows.scores, -counts[which]))[-1]])


def _busiest(done: list[DoneSegment]) -> tuple[int, int]:
    """Frames [start, stop) of the segment with the most people."""
    best = max(done, key=lambda segment: segment.people)
    return best.start_frame, best.stop_frame


@dataclass(frozen=True)
class _Easel:
    """One video, ready to be drawn on."""

    night: Night
    path: Path
    video: Video
    index: FrameIndex
    video_id: int
    scratch: Path

    def still(self, start: int, stop: int) -> list[NDArray[np.uint8]]:
        """[(height, width, 3) uint8 BGR] of the frame that shows most of what was found; [] where nothing was."""
        rows = self._rows(start, stop)
        if not len(rows):
            return []
        out = self.scratch / "still.png"
        self._call(write_still, _telling(rows), rows, out)
        picture = cv2.imread(str(out))
        return [] if picture is None else [np.asarray(picture, np.uint8)]

    def overlay(self, start: int, stop: int) -> str:
        """The address of the overlay video of these frames in the artifact store."""
        name = self._call(write_overlay, start, stop, self._rows(start, stop), self.scratch / "overlay")
        version_id, artifacts = self.night.manifest.version_id, self.night.site.artifacts
        key = f"overlays/{version_id}/{self.video.sha256}-{start:08d}-{stop:08d}{Path(name).suffix}"
        artifacts.put_file(key, self.scratch / name)
        return artifacts.url(key)

    def _rows(self, start: int, stop: int) -> Rows:
        mine = (self.night.site.engine, self.video_id, self.night.model_version_id, start, stop)
        return read_labels(*mine) if self.night.manifest.task == "classification" else read_poses(*mine)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        cpu_s = self.night.site.settings.decoder_cpu_s
        return self.night.sandbox.call(function, self.path, self.video, self.index, *arguments, cpu_s=cpu_s)
