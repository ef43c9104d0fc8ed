"""Sample frames of an archive as a model's input tensors, decoded in the sandbox. No SQL."""

import hashlib
import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from prefect import task

from models.inference.preprocess import plan_resize
from models.manifest import Manifest
from models.types import AttemptError, NightjarError, VideoError
from storage.objects.archive import Archive, Entry, canonical
from storage.objects.places import ObjectError
from storage.sandbox.parent import Sandbox, SandboxError
from tasks.runs.policy import TASK
from tasks.segment.open_video import probe
from tasks.segment.sandboxed import picked_tensors
from tasks.site.settings import ReadLimits
from tasks.site.site import Site, reopen_site

log = logging.getLogger(__name__)

HELD_OUT_EVERY = 4
SLOTS = 4

Tensor = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ArchiveFrames:
    """Sampled frames, each (height, width, 3) uint8 RGB.

    chosen: at most as many as requested
    held_out: other frames, every fourth of all that were read
    described: their origin, for people
    """

    chosen: list[Tensor]
    held_out: list[Tensor]
    described: str

    def held_out_sha256(self) -> str:
        return hashlib.sha256(b"".join(frame.tobytes() for frame in self.held_out)).hexdigest()


@task(name="sample frames", **TASK)
def sample_frames_task(location: str, manifest: Manifest, frames: int) -> ArchiveFrames:
    """Sample frames of an archive. Raises as sample_frames does."""
    with reopen_site() as site:
        return sample_frames(site, location, manifest, frames)


def sample_frames(site: Site, location: str, manifest: Manifest, frames: int) -> ArchiveFrames:
    """Sample about the same number of frames from each video, evenly spaced. Large archives are sampled by name.

    The same archive gives the same frames. Unreadable videos are skipped. Raises NightjarError if none can be read.
    """
    archive, wanted = site.archive(canonical(location)), frames + frames // (HELD_OUT_EVERY - 1) + 1
    entries = archive.list()
    if len(entries) > wanted:
        entries = [entries[number] for number in np.linspace(0, len(entries) - 1, wanted).astype(int)]
    found: list[Tensor] = []
    videos = 0
    with Sandbox(site.settings.decoder_memory_bytes) as sandbox:
        for number, entry in enumerate(entries):
            share = -(-(wanted - len(found)) // (len(entries) - number))  # larger if earlier videos gave fewer frames
            try:
                read = _read(archive, sandbox, entry, manifest, share, site.settings.read_limits)
            except (VideoError, SandboxError, AttemptError, ObjectError) as error:
                log.warning("%s is not sampled: %s", entry.key, error)
                continue
            found += read
            videos += 1
    if not found:
        raise NightjarError(f"{location} has no readable video. Give an archive of videos.")
    chosen = [frame for number, frame in enumerate(found) if number % HELD_OUT_EVERY][:frames]
    described = f"{len(chosen)} frames of {videos} videos of {canonical(location)}"
    return ArchiveFrames(chosen, found[::HELD_OUT_EVERY], described)


def _read(
    archive: Archive, sandbox: Sandbox, entry: Entry, manifest: Manifest, count: int, limits: ReadLimits
) -> list[Tensor]:
    spec = manifest.input
    with archive.local(entry) as path:
        video, index = probe(sandbox, path, limits)
        numbers = np.unique(((np.arange(count) + 0.5) * video.frames / count).astype(np.int64))
        resize = plan_resize((video.width, video.height), (spec.width, spec.height), spec.resize)
        shape = (spec.height, spec.width, 3)
        arguments = (path, video, index, numbers, resize)
        with sandbox.stream(picked_tensors, *arguments, shape=shape, slots=SLOTS, cpu_s=limits.cpu_s) as stream:
            frames = []
            for _, tensor in stream:
                frames.append(tensor.copy())
                stream.release()
    return frames
