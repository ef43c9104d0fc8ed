"""Films in a real browser: at each frame's t_s it shows that frame, as it is or converted."""

import itertools
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium import webdriver

from storage.video.frames import read_frames
from tasks.site.settings import Settings
from tests.chromium import needs_chromium
from tests.deployments.browse.conftest import Serve, open_browse
from tests.deployments.browse.films import SIZE, Film, Seen, add_film, look_at
from tests.ffmpeg import ffmpeg
from tests.videos import make_video

pytestmark = needs_chromium
FRAMES = 16
VARIABLE_S = [0.0, *itertools.accumulate([0.04, 0.1, 0.033, 0.2, 0.04, 0.5] * 4)][:FRAMES]
VP9: dict[str, Any] = {"codec": "libvpx-vp9", "options": {}}
WAIT_S = 60.0
EXACT_S = 1e-3

AS_THEY_ARE: dict[str, dict[str, Any]] = {
    "reordered.mp4": {"b_frames": 3, "gop": 8},
    "variable.mp4": {"b_frames": 0, "times_s": VARIABLE_S},
    "turned.mp4": {"rotation": 90},
    "wide.mp4": {"pixel_aspect": Fraction(2)},
    "vp9.webm": VP9 | {"times_s": VARIABLE_S},
}
MORE_AS_THEY_ARE: dict[str, dict[str, Any]] = {
    "upside_down.mp4": {"rotation": 180},
    "turned_back.mov": {"rotation": 270},
    "high.mp4": {"pixel_aspect": Fraction(16, 11)},
    "sound.mp4": {"sound": True},
    "fragments.mp4": {"b_frames": 0, "movflags": "frag_keyframe+empty_moov"},
    "vp8.webm": {"codec": "libvpx", "options": {}},
    "late.webm": VP9 | {"times_s": [0.5 + t_s for t_s in VARIABLE_S]},
    "vp9.mp4": VP9,
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "10"}},
}
CONVERTED: dict[str, dict[str, Any]] = {
    "mpeg4.avi": {"codec": "mpeg4", "options": {}},
    "mirrored.mp4": {"mirrored": True, "rotation": 90},
    "reordered_variable.mp4": {"times_s": VARIABLE_S},
}
MORE_CONVERTED: dict[str, dict[str, Any]] = {
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=error"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {}},
    "broadcast.ts": {"b_frames": 2},
    "late.mkv": {"times_s": [0.5 + t_s for t_s in VARIABLE_S]},
}


@pytest.fixture
def show(
    settings: Settings, serve: Serve, browser: webdriver.Chrome, tmp_path: Path
) -> Callable[[Path], tuple[Film, dict[str, Any], Seen]]:
    """show(path): the film of a file, its state, and what the browser shows in the middle of each frame."""
    browse = open_browse(settings)
    base = serve(browse)
    browser.get(f"{base}/nothing")  # a page of this server, with little on it

    def shown(path: Path) -> tuple[Film, dict[str, Any], Seen]:
        film = add_film(settings, path)
        deadline, state = time.monotonic() + WAIT_S, {"state": "preparing"}
        while state["state"] == "preparing" and time.monotonic() < deadline:
            state = browser.execute_async_script(
                "fetch(arguments[0]).then(answer => answer.json()).then(arguments[1])",
                f"/media/{film.sha256[:16]}/state?start=1",
            )
        assert state["state"] == "ready", state
        return film, state, look_at(browser, state["url"], film.middles)

    return shown


def assert_exact(path: Path, film: Film, seen: Seen, slack: float = 0.0) -> None:
    """Compare what the browser showed with the frames that our own reader gives.

    slack: levels by which another frame may be nearer, for films that hardly move
    """
    video, index = film.video, film.frame_index
    frames = np.stack([frame.rgb for frame in read_frames(path, video, index, 0, video.frames, SIZE)]).astype(int)
    for number, look in enumerate(seen.looks):
        differences = np.abs(frames - look.rgb).mean(axis=(1, 2, 3))
        assert differences[number] <= differences.min() + slack, (path.name, number, differences.argmin())
        if look.media_s is not None and number:  # the first frame of a converted film is shown from 0 on
            assert look.media_s == pytest.approx(index.timestamps_s[number], abs=EXACT_S), (path.name, number)
    assert seen.size[0] / seen.size[1] == pytest.approx(video.width / video.height, rel=0.02)


def check_all(films: dict[str, dict[str, Any]], show: Any, folder: Path, *, transcoded: bool) -> None:
    for name, how in films.items():
        path = make_video(folder / name, FRAMES, **how)
        film, state, seen = show(path)
        assert state["transcoded"] is transcoded, (name, state)
        assert_exact(path, film, seen)


def test_films_sent_as_they_are_show_each_frame_at_its_time(show: Any, tmp_path: Path) -> None:
    check_all(AS_THEY_ARE, show, tmp_path, transcoded=False)
    source, late = tmp_path / "reordered.mp4", tmp_path / "delayed.mp4"
    ffmpeg("-itsoffset", "1.5", "-i", source, "-c", "copy", late)
    film, state, seen = show(late)
    assert state["transcoded"] is False
    assert film.frame_index.timestamps_s[0] == pytest.approx(1.5)
    assert_exact(late, film, seen)


def test_converted_films_show_each_frame_at_its_time(show: Any, tmp_path: Path) -> None:
    check_all(CONVERTED, show, tmp_path, transcoded=True)


@pytest.mark.slow
def test_more_films_show_each_frame_at_its_time(show: Any, tmp_path: Path) -> None:
    check_all(MORE_AS_THEY_ARE, show, tmp_path, transcoded=False)
    check_all(MORE_CONVERTED, show, tmp_path, transcoded=True)


@pytest.mark.cases
@pytest.mark.slow
def test_cases_show_each_frame_at_its_time(show: Any, tmp_path: Path, cases: Path) -> None:
    for name in ("plain.mp4", "sar_2_1.mp4", "mirror_hflip.mp4", "clap.mp4", "grow.webm", "thumb_first_unmarked.mkv"):
        path = tmp_path / name
        path.write_bytes((cases / "video" / name).read_bytes())
        film, _, seen = show(path)
        assert_exact(path, film, seen, slack=0.1)
