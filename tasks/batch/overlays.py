"""Draw the committed results into the frames of a video. No Prefect."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.types import Classifications, FrameIndex, ModelVersion, NightjarError, Rows, Video
from storage.ledger import plan
from storage.objects.archive import Entry
from storage.objects.artifacts import Artifacts
from storage.objects.places import ChangedError
from storage.private import make_file
from storage.sandbox.parent import Sandbox
from storage.sql import catalogue
from storage.sql.analyses.shown_tracks import analysis_identity, tracks_of
from storage.sql.catalogue import ArchivedVideo
from storage.sql.result_rows import read_labels, read_poses
from storage.video.encode import ENCODERS, find_encoder
from storage.video.geometry import geometry_of, moved
from tasks.batch.spec import OverlayRequest
from tasks.model.early_checks import check_writable
from tasks.model.names import require_model
from tasks.segment.open_video import probe
from tasks.segment.sandboxed import Drawn, frames_written, write_overlay, write_still
from tasks.site.scratch import scratch_folder
from tasks.site.site import Site
from tasks.site.stored_videos import find_stored_video
from tasks.text.progress import FrameProgress

LOOK_EVERY_S = 0.5


class Part(NamedTuple):
    """Frames [start, stop) of a video, of which `done` are processed."""

    start: int
    stop: int
    done: int

    @property
    def missing(self) -> int:
        """The frames that are not processed."""
        return self.stop - self.start - self.done


@dataclass(frozen=True)
class DrawnModel:
    """The model version whose rows are drawn."""

    model_version_id: int
    version_sha256: str
    task: str


@dataclass(frozen=True)
class VideoRenderer:
    """Draws one video. path: its local file; scratch: folder for files before they are stored

    blur_faces: blur the heads of the people
    """

    site: Site
    sandbox: Sandbox
    model: DrawnModel
    path: Path
    video: Video
    index: FrameIndex
    video_id: int
    scratch: Path
    blur_faces: bool = False

    def rows(self, start: int, stop: int) -> Rows:
        """Return the rows of frames [start, stop), in pixels of the frames as they are read now."""
        engine = self.site.engine
        read = read_labels if self.model.task == "classification" else read_poses
        rows = read(engine, self.video_id, self.model.model_version_id, start, stop)
        return moved(rows, catalogue.read_geometry(engine, self.video_id), geometry_of(self.video))

    def tracks(self, rows: Rows) -> NDArray[np.int32] | None:
        """Return the track of each row, (n,) int32; 0 = none. None for labels and before the first analysis."""
        if isinstance(rows, Classifications) or self.identity() is None:
            return None
        return tracks_of(self.site.engine, self.video_id, self.model.model_version_id, rows)

    def identity(self) -> str | None:
        """Return a name for the tracks of the video, None without any."""
        return analysis_identity(self.site.engine, self.video_id, self.model.model_version_id)

    def still(self, number: int, rows: Rows) -> NDArray[np.uint8] | None:
        """Draw one frame: (height, width, 3) uint8 BGR; None if the drawn file cannot be read."""
        out = self.scratch / "still.png"
        self._call(write_still, number, self._drawn(rows), out)
        picture = cv2.imread(str(out))
        return None if picture is None else np.asarray(picture, np.uint8)

    def overlay(self, part: Part) -> str:
        """Draw a part as a video, and return its address in the artifact store."""
        prefix = overlay_prefix(self.model, self.video.sha256, part, self.identity())
        path = self.overlay_file(part)
        key = f"{prefix}{'-blurred' if self.blur_faces else ''}{path.suffix}"
        self.site.artifacts.put_file(key, path)
        return self.site.artifacts.url(key)

    def overlay_file(self, part: Part) -> Path:
        """Draw a part as a video in the scratch folder, and show the progress."""
        drawn, out = self._drawn(self.rows(part.start, part.stop)), self.scratch / "overlay"
        with _shown_progress(out, part.stop - part.start):
            return self.scratch / str(self._call(write_overlay, (part.start, part.stop), drawn, out))

    def _drawn(self, rows: Rows) -> Drawn:
        return Drawn(rows, self.tracks(rows), self.blur_faces)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        cpu_s = self.site.settings.decoder_cpu_s
        return self.sandbox.call(function, self.path, self.video, self.index, *arguments, cpu_s=cpu_s)


def part_of(site: Site, model: DrawnModel, video_id: int, start: int, stop: int) -> Part:
    """Return frames [start, stop) of a video, with the number that this model has processed."""
    return Part(start, stop, plan.frames_done_in(site.engine, video_id, model.model_version_id, start, stop))


def overlay_prefix(model: DrawnModel, video_sha256: str, part: Part, tracks: str | None) -> str:
    """Return the overlay's key without its suffix, which depends on the encoder.

    An overlay of partly processed frames has another name than the complete one, and so has one of other tracks.
    tracks: their name, None = no person has a number
    """
    name = f"overlays/{model.version_sha256}/{video_sha256}-{part.start:08d}-{part.stop:08d}"
    name = f"{name}-tracks-{tracks}" if tracks else name
    return f"{name}-{part.done}-done" if part.missing else name


def find_overlay(
    artifacts: Artifacts, model: DrawnModel, video_sha256: str, part: Part, tracks: str | None
) -> str | None:
    """Return the address of an existing overlay; None if there is none."""
    prefix = overlay_prefix(model, video_sha256, part, tracks)
    keys = (f"{prefix}{suffix}" for suffix in dict.fromkeys(encoder.suffix for encoder in ENCODERS))
    return next((artifacts.url(key) for key in keys if artifacts.exists(key)), None)


@contextmanager
def _shown_progress(out: Path, frames: int) -> Iterator[None]:
    """Show how many frames write_overlay has written to `out`, while the body waits for it."""
    over = threading.Event()
    with FrameProgress(frames) as progress:

        def look() -> None:
            while not over.wait(LOOK_EVERY_S):
                progress.add(max(0, frames_written(out) - progress.done))

        watcher = threading.Thread(target=look, name="nightjar-overlay", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
        progress.add(frames - progress.done)


def draw_overlay(site: Site, request: OverlayRequest) -> tuple[str, str]:
    """Draw a processed video, or a part of it. Return the overlay's address and a remark, "" without one.

    Raises NightjarError, also if faces are to be blurred and some frames are not processed: theirs would be shown.
    """
    if request.output is not None:
        _check_output(request.output)
    found = find_video(site, request.video)
    drawn = _model(site, found, request.model)
    with (
        Sandbox(site.settings.decoder_memory_bytes) as sandbox,
        scratch_folder("overlay") as scratch,
        local_file(site, found) as path,
    ):
        video, index = probe(sandbox, path, site.settings.read_limits)
        if video.sha256 != found.sha256:
            raise _changed(found)
        span = frames_between(index, request.from_s, request.to_s, request.video)
        part = part_of(site, drawn, found.video_id, *span)
        _check_part(part, request, found)
        renderer = VideoRenderer(site, sandbox, drawn, path, video, index, found.video_id, scratch, request.blur_faces)
        address = renderer.overlay(part) if request.output is None else _export(renderer, part, request.output)
    return address, _remark(part)


def _check_output(output: Path) -> None:
    check_writable(output)
    suffix = find_encoder().suffix
    if output.suffix.lower() != suffix:
        raise NightjarError(f"Videos are written as {suffix} here. Give --output a name that ends in {suffix}.")


def _check_part(part: Part, request: OverlayRequest, found: ArchivedVideo) -> None:
    if not part.done:
        raise NightjarError(f"{request.video} has no rows in this interval. Run 'nightjar run {found.archive}' first.")
    if request.blur_faces and part.missing:
        raise NightjarError(
            f"{part.missing} of {part.stop - part.start} frames are not processed, so their faces cannot be blurred. "
            f"Choose processed ones by --from and --to, or run 'nightjar run {found.archive}' on every frame first."
        )


def _remark(part: Part) -> str:
    if not part.missing:
        return ""
    frames = part.stop - part.start
    return f"Nothing is drawn on {part.missing} of {frames} frames, because they are not processed yet."


def _export(renderer: VideoRenderer, part: Part, output: Path) -> str:
    """Write the overlay to a file, readable by its owner only, whole or not at all. Return its path."""
    drawn, partial = renderer.overlay_file(part), output.with_name(f".{output.name}.partial")
    try:
        make_file(partial)
        shutil.copyfile(drawn, partial)
        partial.replace(output)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
    return str(output)


def draw_frame(site: Site, sha256: str, number: int) -> NDArray[np.uint8]:
    """Draw one frame of a processed video with its people: (height, width, 3) BGR. Raises NightjarError.

    sha256: of the video; number: of the frame
    """
    found = find_video(site, sha256)
    drawn = _model(site, found, None)
    with (
        Sandbox(site.settings.decoder_memory_bytes) as sandbox,
        scratch_folder("still") as scratch,
        local_file(site, found) as path,
    ):
        video, index = probe(sandbox, path, site.settings.read_limits)
        if video.sha256 != found.sha256:
            raise _changed(found)
        renderer = VideoRenderer(site, sandbox, drawn, path, video, index, found.video_id, scratch)
        picture = renderer.still(number, renderer.rows(number, number + 1))
    if picture is None:
        raise NightjarError(f"Frame {number} of {found.key} could not be drawn. Check the free space of TMPDIR.")
    return picture


def frames_between(index: FrameIndex, from_s: float, to_s: float | None, name: str) -> tuple[int, int]:
    """Return the frames [start, stop) between two times. Raises NightjarError if there are none."""
    times = index.timestamps_s
    start = int(np.searchsorted(times, from_s))
    stop = len(times) if to_s is None else int(np.searchsorted(times, to_s))
    if start >= stop:
        raise NightjarError(
            f"{name} has no frame from {from_s:g} s to {'its end' if to_s is None else f'{to_s:g} s'}. Give --from and "
            f"--to between {times[0]:.2f} and {times[-1]:.2f} s."
        )
    return start, stop


def find_video(site: Site, name: str) -> ArchivedVideo:
    """Find a video whose file is in its archive. Raises NightjarError, also if several have the name."""
    found = find_stored_video(site, name)
    if found.gone_at is not None:
        raise NightjarError(
            f"{name!r} is no longer in {found.archive}. Put it back, and run 'nightjar run {found.archive}'."
        )
    return found


@contextmanager
def local_file(site: Site, found: ArchivedVideo) -> Iterator[Path]:
    """Open the file if it is still as listed. Raises NightjarError."""
    try:
        with site.archive(found.archive).local(Entry(found.key, found.size_bytes, found.etag)) as path:
            yield path
    except ChangedError as error:
        raise _changed(found) from error


def _changed(found: ArchivedVideo) -> NightjarError:
    return NightjarError(
        f"{found.key!r} was removed or changed since it was read. Run 'nightjar run {found.archive}' to read it again."
    )


def _model(site: Site, found: ArchivedVideo, name: str | None) -> DrawnModel:
    if name is not None:
        model_version_id, version = require_model(site, name)
        return _drawn(model_version_id, version)
    for model_version_id, version in catalogue.shown_versions(site.engine):  # poses before labels
        if found.video_id in plan.videos_done(site.engine, model_version_id):
            return _drawn(model_version_id, version)
    raise NightjarError(f"No shown model has rows of {found.key}. Give --model NAME, or run one over its archive.")


def _drawn(model_version_id: int, version: ModelVersion) -> DrawnModel:
    return DrawnModel(model_version_id, version.version_sha256, version.task)
