"""Films in an archive of the pages, and a real browser that looks at single moments of them."""

import base64
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from selenium import webdriver

from models.types import FrameIndex, Video
from storage.objects.archive import FolderArchive
from storage.sql.database import open_database
from storage.video.probe import probe_video
from tasks.site.settings import Settings
from tests.storage.samples import record_file, register_video

SIZE = 128, 96  # of the pictures that are read back

# Shows the film and, for each moment, what the browser shows: the time of the frame by its own account, and the pixels.
LOOK = """
const [url, moments, width, height, done] = arguments;
const video = document.createElement('video');
const canvas = new OffscreenCanvas(width, height).getContext('2d', {willReadFrequently: true});
video.muted = true; video.preload = 'auto'; video.style.width = '300px';
video.onerror = () => done({error: String(video.error && video.error.message || 'error')});
const base64 = bytes => btoa(String.fromCharCode(...bytes));
async function look(moment) {
  const shown = new Promise(resolve => video.requestVideoFrameCallback((_, about) => resolve(about.mediaTime)));
  const sought = new Promise(resolve => video.addEventListener('seeked', resolve, {once: true}));
  video.currentTime = moment;
  await sought;
  const mediaTime = await Promise.race([shown, new Promise(resolve => setTimeout(resolve, 400, null))]);
  canvas.drawImage(video, 0, 0, width, height);
  const pixels = canvas.getImageData(0, 0, width, height).data.filter((_, at) => at % 4 != 3);
  let text = '';
  for (let at = 0; at < pixels.length; at += 8192) text += String.fromCharCode(...pixels.slice(at, at + 8192));
  return {mediaTime, currentTime: video.currentTime, pixels: btoa(text)};
}
video.onloadeddata = async () => {
  const found = [];
  for (const moment of moments) found.push(await look(moment));
  const all = {width: video.videoWidth, height: video.videoHeight, duration: video.duration, found};
  video.onerror = null; video.removeAttribute('src'); video.load(); video.remove();
  done(all);
};
document.body.append(video);
video.src = url;
"""


class Film(NamedTuple):
    """A film of the archive."""

    video: Video
    frame_index: FrameIndex

    @property
    def sha256(self) -> str:
        return self.video.sha256

    @property
    def middles(self) -> list[float]:
        """A moment in the middle of each frame."""
        times = self.frame_index.timestamps_s
        ends = np.append(times[1:], times[0] + self.video.duration_s)
        return [float(moment) for moment in (times + ends) / 2]


class Look(NamedTuple):
    """One moment in the browser. media_s: the frame's time by the browser; None = the frame did not change"""

    media_s: float | None
    rgb: NDArray[np.uint8]


class Seen(NamedTuple):
    """A film in the browser. size: of the video element, pixels"""

    size: tuple[int, int]
    duration_s: float
    looks: list[Look]


def add_film(settings: Settings, path: Path) -> Film:
    """Add a file to the archive of its folder, as a batch would."""
    video, index = probe_video(path)
    archive = FolderArchive(path.parent)
    entry = next(each for each in (*archive.list(), *archive.unnamed) if each.key == path.name)
    engine = open_database(settings.database)
    video_id = register_video(engine, video)
    record_file(engine, str(path.parent), entry.key, entry.size_bytes, entry.etag, video_id=video_id)
    engine.dispose()
    return Film(video, index)


def look_at(browser: webdriver.Chrome, url: str, moments: list[float]) -> Seen:
    """Show these moments of a film. The browser must be at a page of the same server."""
    browser.set_script_timeout(120)
    found: dict[str, Any] = browser.execute_async_script(LOOK, url, moments, *SIZE)
    assert "error" not in found, found
    looks = [
        Look(each["mediaTime"], np.frombuffer(base64.b64decode(each["pixels"]), np.uint8).reshape(SIZE[1], SIZE[0], 3))
        for each in found["found"]
    ]
    return Seen((found["width"], found["height"]), found["duration"], looks)
