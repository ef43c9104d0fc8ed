"""Pictures without a car from films without cars: the regions that a classifier will be asked about. No SQL."""

import dataclasses
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from prefect import task

from models.car_classifier.params import FinetuneSpec
from models.datasets.picture import SPLITS, Picture, PictureError, Split
from models.datasets.sources import PictureSet
from models.decoders.region_spec import RegionSpec
from models.inference.preprocess import plan_cuts
from models.types import AttemptError, Region, VideoError
from storage.objects.archive import Archive, Entry, canonical
from storage.objects.places import ObjectError
from storage.sandbox.parent import Sandbox, SandboxError, Stream
from tasks.runs.policy import TASK
from tasks.segment.open_video import probe
from tasks.segment.sandboxed import region_tensors
from tasks.site.settings import ReadLimits
from tasks.site.site import Site, reopen_site

log = logging.getLogger(__name__)

SIZE = 224  # of the pictures, as models.car_classifier.network has it
FRAMES_PER_FILM = 8
MOST_FILMS = 200
TILES = (0.5,)  # what does not move in a film is no car either
SLOTS = 4


@dataclass(frozen=True)
class BackgroundCut:
    """One region of one frame. tensor: (SIZE, SIZE, 3) uint8 RGB"""

    frame: int
    region: Region
    tensor: NDArray[np.uint8]


@task(name="cut backgrounds", **TASK)
def cut_backgrounds_task(spec: FinetuneSpec) -> PictureSet | None:
    """Cut the backgrounds of a training; None = it has none. Raises PictureError."""
    if spec.sources.backgrounds is None:
        return None
    with reopen_site() as site:
        return cut_backgrounds(site, spec)


def cut_backgrounds(site: Site, spec: FinetuneSpec) -> PictureSet:
    """Cut regions out of frames of films without cars and keep them as PNG, each film in one split.

    The same films and parameters give the same pictures. A film that cannot be read is left out, with a note.
    Raises PictureError where the folder has no film that can be read.
    """
    location, params = str(spec.sources.backgrounds), spec.params
    regions = dataclasses.replace(params.regions or RegionSpec(), levels=TILES, overlap=0.0)
    archive = site.archive(canonical(location))
    entries = archive.list()
    if len(entries) > MOST_FILMS:
        entries = [entries[number] for number in np.linspace(0, len(entries) - 1, MOST_FILMS).astype(int)]
    folder = site.settings.home.resolve() / "training" / "backgrounds"
    folder.mkdir(parents=True, exist_ok=True)
    films: dict[str, list[Path]] = {}
    notes = []
    with Sandbox(site.settings.decoder_memory_bytes) as sandbox:
        for entry in entries:
            try:
                sha256, cuts = _read(archive, sandbox, entry, regions, site.settings.read_limits)
            except (VideoError, SandboxError, AttemptError, ObjectError) as error:
                notes.append(f"left out the background {entry.key}: {error}")
                continue
            films[sha256] = [_keep(folder, sha256, cut) for cut in cuts]
    if not films:
        raise PictureError(f"{location} has no film that can be read. Name a folder of films without cars.")
    splits = _splits(sorted(films), params.shares, params.seed)
    pictures = [
        Picture(path, car=False, source="backgrounds", split=splits[sha256])
        for sha256, paths in sorted(films.items())
        for path in paths
    ]
    return PictureSet(pictures, tuple(notes))


def _read(
    archive: Archive, sandbox: Sandbox, entry: Entry, regions: RegionSpec, limits: ReadLimits
) -> tuple[str, list[BackgroundCut]]:
    with archive.local(entry) as path:
        video, index = probe(sandbox, path, limits)
        numbers = np.unique(((np.arange(FRAMES_PER_FILM) + 0.5) * video.frames / FRAMES_PER_FILM).astype(np.int64))
        cuts = plan_cuts((video.width, video.height), regions, (SIZE, SIZE))
        arguments = (path, video, index, 0, video.frames, cuts, numbers)
        shape = (SIZE, SIZE, 3)
        with sandbox.stream(region_tensors, *arguments, shape=shape, slots=SLOTS, cpu_s=limits.cpu_s) as stream:
            return video.sha256, list(_copies(stream))


def _copies(stream: Stream) -> Iterator[BackgroundCut]:
    for (number, _, *place), tensor in stream:
        yield BackgroundCut(int(number), Region(*map(int, place)), tensor.copy())
        stream.release()


def _keep(folder: Path, film_sha256: str, cut: BackgroundCut) -> Path:
    """Write a region under a name that says where it is from."""
    name = "-".join(map(str, (film_sha256[:32], cut.frame, *cut.region)))
    path = folder / f"{name}.png"
    path.write_bytes(cv2.imencode(".png", cut.tensor[..., ::-1])[1].tobytes())
    return path


def _splits(films: list[str], shares: tuple[float, float, float], seed: int) -> dict[str, Split]:
    """Give each film a split: frames of one film are too much alike to be on both sides."""
    order = np.random.default_rng(seed).permutation(len(films))
    ends = np.cumsum(shares) * len(films)
    return {films[film]: SPLITS[int(np.searchsorted(ends, place + 0.5))] for place, film in enumerate(order)}
