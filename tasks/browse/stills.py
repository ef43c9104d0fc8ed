"""Single frames of videos as JPEG, read exactly and kept in a cache."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path
from typing import NamedTuple

import numpy as np

from models.types import NightjarError
from storage.sandbox.parent import Sandbox
from storage.sql.browse.videos import StoredVideo
from tasks.browse.frame_times import probed_video
from tasks.browse.media import open_file, still_cache
from tasks.browse.turns import Turns
from tasks.segment.sandboxed import jpeg_of_frame
from tasks.site.site import Site

STILL_VERSION = 1  # raise it when the pictures change
WIDTHS = (160, 320, 480, 640, 960, 1280, 1920)  # few, so that the cache is not filled with nearly the same pictures
USUAL_WIDTH = 960
MOST_BYTES = 1 << 23
JPEG = b"\xff\xd8\xff"
_turns = Turns(most=2, waiting=24)


class StillName(NamedTuple):
    """A frame of a video."""

    video: StoredVideo
    frame: int


@contextmanager
def open_still(site: Site, named: StillName, width: int | None) -> Iterator[Path]:
    """Provide a frame as a JPEG file, as shown, at least as wide as asked if the video is. Raises NightjarError.

    width: in pixels; None = USUAL_WIDTH. BusyError is raised if too many stills are being read.
    """
    wanted = next((each for each in WIDTHS if each >= (width or USUAL_WIDTH)), WIDTHS[-1])
    name, cache = f"still {STILL_VERSION} {named.video.sha256} {named.frame} {wanted}", still_cache(site.settings)
    with cache.kept(name, ".jpg") as path:
        if path is not None:
            yield path
            return

    def read(out: BufferedRandom) -> None:
        with _turns.turn():
            out.write(_read(site, named, wanted))

    with cache.file(name, ".jpg", MOST_BYTES, read) as path:
        yield path


def _read(site: Site, named: StillName, width: int) -> bytes:
    settings = site.settings
    with open_file(site, named.video) as file, Sandbox(settings.decoder_memory_bytes) as sandbox:
        video, index = probed_video(site, named.video)
        arguments = file.path, video, index, named.frame, width
        found = sandbox.call(jpeg_of_frame, *arguments, cpu_s=settings.decoder_cpu_s)
    picture = np.asarray(found, np.uint8).tobytes()
    if not picture.startswith(JPEG) or len(picture) > MOST_BYTES:
        raise NightjarError(f"Frame {named.frame} cannot be shown as a picture. Replace the file: it is damaged.")
    return picture
