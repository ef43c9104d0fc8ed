"""A picture of a camera, from its newest video."""

from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import cv2
import numpy as np
from numpy.typing import NDArray

from models.types import FrameIndex, NightjarError
from storage.sandbox.parent import Sandbox
from storage.sql.catalogue import find_videos
from storage.sql.events.camera_videos import PlacedVideo, camera_names, newest_video, placed_video
from tasks.batch.overlays import find_video, local_file
from tasks.segment.open_video import probe
from tasks.segment.sandboxed import write_picture
from tasks.site.scratch import scratch_folder
from tasks.site.site import Site
from tasks.text.wording import nearest


class Still(NamedTuple):
    """One frame of a camera.

    camera: its name; None = the video has none
    picture: (height, width, 3) uint8 BGR; frame, t_s: its number and second in the video
    start_at: time of the video's first frame, None = not known; time_zone: of the camera
    """

    camera: str | None
    video: str
    video_sha256: str
    picture: NDArray[np.uint8]
    frame: int
    t_s: float
    start_at: datetime | None
    time_zone: ZoneInfo

    @property
    def at(self) -> datetime | None:
        """Time of the frame, in UTC."""
        return None if self.start_at is None else self.start_at + timedelta(seconds=self.t_s)


def read_still(site: Site, name: str, at_s: float | None = None) -> Still:
    """Read a frame of a camera's newest video, or of a video. Raises NightjarError.

    name: a camera, or a video's name as in `nightjar videos`; at_s: second of the video, None = its middle
    """
    placed = _find(site, name)
    with (
        Sandbox(site.settings.decoder_memory_bytes) as sandbox,
        scratch_folder("still") as scratch,
        local_file(site, placed.file) as path,
    ):
        video, index = probe(sandbox, path, site.settings.read_limits)
        number = _number(index, at_s, placed.file.key)
        out = scratch / "still.png"
        sandbox.call(write_picture, path, video, index, number, out, cpu_s=site.settings.decoder_cpu_s)
        picture = cv2.imread(str(out))
    if picture is None:
        raise NightjarError(f"Frame {number} of {placed.file.key} cannot be read. Give another time with --at.")
    zone = ZoneInfo(placed.time_zone) if placed.time_zone else site.settings.zone
    times = number, float(index.timestamps_s[number]), placed.start_at, zone
    return Still(placed.camera, placed.file.key, placed.file.sha256, np.asarray(picture, np.uint8), *times)


def _find(site: Site, name: str) -> PlacedVideo:
    """Find the newest video of a camera, or a video of this name."""
    if placed := newest_video(site.engine, name):
        return placed
    names = camera_names(site.engine)
    meant = nearest(name, names)
    if meant and not find_videos(site.engine, name):
        raise NightjarError(f"No camera and no video is called {name!r}. Give another name, such as {meant!r}.")
    return placed_video(site.engine, find_video(site, name))


def _number(index: FrameIndex, at_s: float | None, name: str) -> int:
    times = index.timestamps_s
    if at_s is None:
        return len(times) // 2
    if not times[0] <= at_s <= times[-1] + 1:
        raise NightjarError(f"{name} has no frame at {at_s:g} s. Give --at between {times[0]:.2f} and {times[-1]:.2f}.")
    return max(0, int(np.searchsorted(times, at_s, "right")) - 1)
