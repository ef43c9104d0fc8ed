"""Tasks that draw overlay videos and the batch's picture from the committed rows."""

import dataclasses
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.drawing.lasting import best_frame
from models.drawing.people import contact_sheet
from models.types import AttemptError, Classifications, Rows, VideoError
from storage.ledger.batches import DoneSegment, done_segments
from storage.ledger.plan import videos_done
from storage.objects.archive import Entry
from storage.objects.places import ObjectError
from storage.sandbox.parent import SandboxError
from storage.sql.analyses.shown_tracks import analysis_identity
from storage.sql.catalogue import identity_of
from tasks.batch.night import Night
from tasks.batch.overlays import DrawnModel, VideoRenderer, find_overlay, part_of
from tasks.batch.spec import Overlay
from tasks.site.scratch import ScratchError, lacked_room, scratch_folder

log = logging.getLogger(__name__)

SAMPLE_VIDEOS = 3
SHEET_VIDEOS = 9
SHEET_COLUMNS = 3
SHEET_WIDTH = 1200
Image = NDArray[np.uint8]  # (height, width, 3) BGR


class PicturedFrame(NamedTuple):
    """A frame of a video. key: of its file in the archive"""

    key: str
    sha256: str
    frame: int


@dataclass
class Pictures:
    """Pictures of a batch.

    sheet: PNG bytes, empty if nobody was found; frames: those on the sheet, in its order
    overlays: key of the video -> address
    """

    sheet: bytes = b""
    sheet_url: str = ""
    frames: list[PicturedFrame] = field(default_factory=list)
    overlays: dict[str, str] = field(default_factory=dict)


def draw_pictures(night: Night, entries: Mapping[int, Entry], overlay: Overlay) -> Pictures:
    """Draw the batch's picture and overlay videos into the artifact store. A video that cannot be drawn is skipped.

    On the picture, which is made unasked, faces are blurred.
    overlay: "sample" draws the busiest segments of this batch, "all" every video of the archive that has rows
    """
    by_video: dict[int, list[DoneSegment]] = defaultdict(list)
    for segment in done_segments(night.site.engine, night.batch_id):
        by_video[segment.video_id].append(segment)
    order = sorted(by_video, key=lambda video_id: -sum(segment.people for segment in by_video[video_id]))
    wanted = {"none": 0, "sample": SAMPLE_VIDEOS, "all": len(order)}[overlay]
    pictures = Pictures()
    stills: list[Image] = []
    model = DrawnModel(night.model_version_id, night.manifest.version_id, night.manifest.task)
    with _skip_if_disk_full(), scratch_folder("pictures") as scratch:
        for rank, video_id in enumerate(order[: max(wanted, SHEET_VIDEOS)]):
            entry, done = entries[video_id], by_video[video_id]
            with _skip_undrawable(entry, scratch), night.archive.local(entry) as path:
                probed = night.probe(path)
                renderer = VideoRenderer(night.site, night.sandbox, model, path, *probed, video_id, scratch)
                blurring = dataclasses.replace(renderer, blur_faces=True)  # nobody has asked for faces
                if rank < SHEET_VIDEOS and (found := _still(blurring, *_busiest(done))):
                    frame, still = found
                    stills.append(still)
                    pictures.frames.append(PicturedFrame(entry.key, probed[0].sha256, frame))
                if rank < wanted:
                    log.info("Drawing the overlay of %s", entry.key)
                    frames = (0, renderer.video.frames) if overlay == "all" else _busiest(done)
                    pictures.overlays[entry.key] = renderer.overlay(part_of(night.site, model, video_id, *frames))
        if overlay == "all":
            _draw_earlier(night, model, entries, pictures, scratch)
    if stills:
        _store_sheet(night, stills, pictures)
    return pictures


def _store_sheet(night: Night, stills: list[Image], pictures: Pictures) -> None:
    """Store the stills as one contact sheet in the artifact store."""
    names = [frame.key for frame in pictures.frames]
    sheet = contact_sheet(stills, SHEET_COLUMNS, SHEET_WIDTH, names)
    pictures.sheet = cv2.imencode(".png", sheet)[1].tobytes()
    key = f"batches/{night.batch_id:06d}/picture.png"
    night.site.artifacts.put_bytes(key, pictures.sheet)
    pictures.sheet_url = night.site.artifacts.url(key)


@contextmanager
def _skip_if_disk_full() -> Iterator[None]:
    """Skip all pictures if the disk is full. The rows are in the database already."""
    try:
        yield
    except ScratchError as error:
        log.warning("The pictures of this batch are not drawn: %s", error)


def _best_frame_number(rows: Rows) -> int:
    """Return the frame with the most lasting people, or the most confident frame of the rarest label."""
    if not isinstance(rows, Classifications):
        return best_frame(rows)
    _, which, counts = np.unique(rows.label, return_inverse=True, return_counts=True)
    return int(rows.frame[np.lexsort((rows.scores, -counts[which]))[-1]])


def _busiest(done: list[DoneSegment]) -> tuple[int, int]:
    """Return frames [start, stop) of the segment with the most people."""
    best = max(done, key=lambda segment: segment.people)
    return best.start_frame, best.stop_frame


def _still(renderer: VideoRenderer, start: int, stop: int) -> tuple[int, Image] | None:
    """Draw the frame that shows the most results, and return it with its number; None without results."""
    rows = renderer.rows(start, stop)
    if not len(rows):
        return None
    frame = _best_frame_number(rows)
    picture = renderer.still(frame, rows)
    return None if picture is None else (frame, picture)


def _draw_earlier(
    night: Night, model: DrawnModel, entries: Mapping[int, Entry], pictures: Pictures, scratch: Path
) -> None:
    """Draw the missing overlays of videos from earlier batches."""
    for video_id in sorted(videos_done(night.site.engine, model.model_version_id) & set(entries)):
        entry = entries[video_id]
        if entry.key in pictures.overlays:
            continue
        sha256, frames = identity_of(night.site.engine, video_id)
        whole = part_of(night.site, model, video_id, 0, frames)
        tracks = analysis_identity(night.site.engine, video_id, model.model_version_id)
        found = find_overlay(night.site.artifacts, model, sha256, whole, tracks)
        if found:
            pictures.overlays[entry.key] = found
            continue
        with _skip_undrawable(entry, scratch), night.archive.local(entry) as path:
            log.info("Drawing the overlay of %s", entry.key)
            renderer = VideoRenderer(night.site, night.sandbox, model, path, *night.probe(path), video_id, scratch)
            pictures.overlays[entry.key] = renderer.overlay(whole)


@contextmanager
def _skip_undrawable(entry: Entry, scratch: Path) -> Iterator[None]:
    """Skip a video that cannot be drawn, with a warning. Raises if the disk of `scratch` is full."""
    try:
        yield
    except (VideoError, SandboxError, AttemptError, ObjectError) as error:
        if lacked_room(error, scratch):
            raise
        log.warning("%s cannot be drawn: %s", entry.key, error)
