"""Draw the committed results into the frames of a video. No Prefect."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.types import FrameIndex, ModelVersion, NightjarError, Rows, Video
from storage.ledger import plan
from storage.objects.archive import Entry
from storage.objects.artifacts import Artifacts
from storage.objects.places import ChangedError
from storage.sandbox.parent import Sandbox
from storage.sql import catalogue
from storage.sql.catalogue import ArchivedVideo
from storage.sql.result_rows import read_labels, read_poses
from storage.video.encode import ENCODERS
from storage.video.geometry import geometry_of, moved
from tasks.model.names import require_model
from tasks.segment.open_video import probe
from tasks.segment.sandboxed import write_overlay, write_still
from tasks.site.scratch import scratch_folder
from tasks.site.site import Site
from tasks.text.wording import nearest


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
    """Draws one video. path: its local file; scratch: folder for files before they are stored"""

    site: Site
    sandbox: Sandbox
    model: DrawnModel
    path: Path
    video: Video
    index: FrameIndex
    video_id: int
    scratch: Path

    def rows(self, start: int, stop: int) -> Rows:
        """Return the rows of frames [start, stop), in pixels of the frames as they are read now."""
        engine = self.site.engine
        read = read_labels if self.model.task == "classification" else read_poses
        rows = read(engine, self.video_id, self.model.model_version_id, start, stop)
        return moved(rows, catalogue.read_geometry(engine, self.video_id), geometry_of(self.video))

    def still(self, number: int, rows: Rows) -> NDArray[np.uint8] | None:
        """Draw one frame: (height, width, 3) uint8 BGR; None if the drawn file cannot be read."""
        out = self.scratch / "still.png"
        self._call(write_still, number, rows, out)
        picture = cv2.imread(str(out))
        return None if picture is None else np.asarray(picture, np.uint8)

    def overlay(self, part: Part) -> str:
        """Draw a part as a video, and return its address in the artifact store."""
        rows = self.rows(part.start, part.stop)
        name = self._call(write_overlay, part.start, part.stop, rows, self.scratch / "overlay")
        key = f"{overlay_prefix(self.model, self.video.sha256, part)}{Path(name).suffix}"
        self.site.artifacts.put_file(key, self.scratch / name)
        return self.site.artifacts.url(key)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        cpu_s = self.site.settings.decoder_cpu_s
        return self.sandbox.call(function, self.path, self.video, self.index, *arguments, cpu_s=cpu_s)


def part_of(site: Site, model: DrawnModel, video_id: int, start: int, stop: int) -> Part:
    """Return frames [start, stop) of a video, with the number that this model has processed."""
    return Part(start, stop, plan.frames_done_in(site.engine, video_id, model.model_version_id, start, stop))


def overlay_prefix(model: DrawnModel, video_sha256: str, part: Part) -> str:
    """Return the overlay's key without its suffix, which depends on the encoder.

    An overlay of partly processed frames has another name than the complete one.
    """
    name = f"overlays/{model.version_sha256}/{video_sha256}-{part.start:08d}-{part.stop:08d}"
    return f"{name}-{part.done}-done" if part.missing else name


def find_overlay(artifacts: Artifacts, model: DrawnModel, video_sha256: str, part: Part) -> str | None:
    """Return the address of an existing overlay; None if there is none."""
    prefix = overlay_prefix(model, video_sha256, part)
    keys = (f"{prefix}{suffix}" for suffix in dict.fromkeys(encoder.suffix for encoder in ENCODERS))
    return next((artifacts.url(key) for key in keys if artifacts.exists(key)), None)


def draw_overlay(
    site: Site, name: str, model: str | None = None, from_s: float = 0.0, to_s: float | None = None
) -> tuple[str, str]:
    """Draw a processed video, or a part of it. Return the overlay's address and a remark, "" without one.

    name: the video's key in its archive, its path, or the start of its hash
    model: a model's name or hash; None = the one that the views show
    from_s, to_s: seconds on the video's clock; None = to its end
    """
    found = find_video(site, name)
    drawn = _model(site, found, model)
    with (
        Sandbox(site.settings.decoder_memory_bytes) as sandbox,
        scratch_folder("overlay") as scratch,
        _local(site, found) as path,
    ):
        video, index = probe(sandbox, path, site.settings.read_limits)
        if video.sha256 != found.sha256:
            raise _changed(found)
        start, stop = frames_between(index, from_s, to_s, name)
        part = part_of(site, drawn, found.video_id, start, stop)
        if not part.done:
            raise NightjarError(f"{name} has no rows in this interval. Run 'nightjar run {found.archive}' first.")
        renderer = VideoRenderer(site, sandbox, drawn, path, video, index, found.video_id, scratch)
        address = renderer.overlay(part)
    if not part.missing:
        return address, ""
    return address, f"Nothing is drawn on {part.missing} of {stop - start} frames, because they are not processed yet."


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
    """Find the requested video. Raises NightjarError if there is none, if there are several, or if it was removed."""
    found = catalogue.find_videos(site.engine, name)
    if not found and Path(name).exists():
        found = catalogue.find_videos(site.engine, str(Path(name).resolve()))
    if not found:
        meant = nearest(name, catalogue.video_keys(site.engine))
        hint = f"Did you mean {meant!r}?" if meant else "Run 'nightjar videos' for a list of names."
        raise NightjarError(f"No run has read a video {name!r}. {hint}")
    there = [each for each in found if each.gone_at is None]
    if not there:
        raise NightjarError(
            f"{name!r} is no longer in {found[0].archive}. Put it back, and run 'nightjar run {found[0].archive}'."
        )
    if len({each.video_id for each in there}) > 1:
        paths = ", ".join(f"{each.archive}/{each.key}" for each in there[:4])
        raise NightjarError(f"{name!r} matches {len(there)} files: {paths}. Give the whole path.")
    return there[0]


@contextmanager
def _local(site: Site, found: ArchivedVideo) -> Iterator[Path]:
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
