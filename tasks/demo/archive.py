"""A small archive of synthetic people, with a ground truth file next to each video. No database, no Prefect."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.synthetic.frame import People
from models.synthetic.truth import coco_truth
from models.synthetic.video import Actor, Camera, Scene
from storage.video.encode import ENCODERS, Encoder, reproducible, write_video

FPS = 12.5
MP4 = reproducible(ENCODERS[0])
MATROSKA = MP4._replace(container="matroska", suffix=".mkv")
BROKEN = "broken.mp4"
TRUTH_SUFFIX = ".truth.json"


@dataclass(frozen=True)
class Clip:
    """A video of the archive. times_s: times of its frames; rotation: degrees clockwise for the player"""

    scene: Scene
    times_s: tuple[float, ...]
    rotation: int = 0
    encoder: Encoder = MP4


def _steady(duration_s: float) -> tuple[float, ...]:
    return tuple(number / FPS for number in range(round(duration_s * FPS)))


def _uneven(duration_s: float) -> tuple[float, ...]:
    """Vary the frame rate as telephones do: every third frame is late."""
    return tuple((number + (0.5 if number % 3 == 2 else 0.0)) / FPS for number in range(round(duration_s * FPS)))


SIZE, UPRIGHT = (320, 240), (240, 320)
CLIPS = {
    "entrance.mp4": Clip(
        Scene(
            101,
            (
                Actor("wave", x_m=-0.7, z_m=3.4, acts_from_s=1.5, acts_until_s=3.5),
                Actor("stand", x_m=0.9, z_m=4.0, heading_deg=-15),
            ),
            SIZE,
        ),
        _steady(5),
    ),
    "yard.mkv": Clip(
        Scene(
            102,
            (
                Actor("walk", x_m=-2.6, z_m=4.6, heading_deg=85, speed_m_s=1.0),
                Actor("walk", x_m=2.4, z_m=5.6, heading_deg=-85, speed_m_s=0.9),
            ),
            SIZE,
            Camera(pan_deg_s=2.0, sway_deg=1.0),
        ),
        _steady(5),
        encoder=MATROSKA,
    ),
    "corridor.mp4": Clip(
        Scene(
            103, (Actor("walk", enters_s=1.6, leaves_s=4.0, x_m=-1.2, z_m=4.2, heading_deg=70, speed_m_s=0.8),), SIZE
        ),
        _steady(6),
    ),
    "stairs.mp4": Clip(
        Scene(104, (Actor("fall", x_m=-0.9, z_m=4.2, heading_deg=75, speed_m_s=0.7, acts_from_s=2.0),), SIZE),
        _uneven(5),
    ),
    "telephone.mp4": Clip(
        Scene(105, (Actor("raise", x_m=0.0, z_m=3.4, acts_from_s=1.0, acts_until_s=3.0, side=1),), UPRIGHT),
        _steady(4),
        rotation=90,
    ),
    "waiting.mkv": Clip(
        Scene(
            106,
            (
                Actor("sit", x_m=-1.1, z_m=4.0, heading_deg=25),
                Actor("stand", x_m=0.2, z_m=4.6),
                Actor("sit", x_m=1.4, z_m=4.2, heading_deg=-30),
            ),
            SIZE,
        ),
        _steady(4),
        encoder=MATROSKA,
    ),
}


def render_archive(folder: Path, on_clip: Callable[[str], None] = lambda _: None) -> list[str]:
    """Render the missing clips, their truth files and one broken video. Returns what was rendered.

    One installation always renders the same bytes, so the same rows and figures follow.

    The truth file is written after its video. A video without one is incomplete and rendered again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rendered = []
    for name, clip in CLIPS.items():
        truth = folder / f"{name}{TRUTH_SUFFIX}"
        if truth.exists() and (folder / name).exists():
            if not _has_numbers(truth):  # of an earlier version; the video itself stays
                truth.write_text(json.dumps(_truth(name, clip, [clip.scene.frame(t_s)[1] for t_s in clip.times_s])))
            continue
        on_clip(name)
        truth.write_text(json.dumps(_render(folder / name, clip)))
        rendered.append(name)
    if not (folder / BROKEN).exists():  # truncated, like an interrupted copy
        whole = (folder / next(iter(CLIPS))).read_bytes()
        (folder / BROKEN).write_bytes(whole[: len(whole) * 2 // 3])
        rendered.append(BROKEN)
    return rendered


def _render(path: Path, clip: Clip) -> dict[str, Any]:
    """Write the video and return its truth: image n of the data set is frame n, as a player shows it."""
    people: list[People] = []

    def pictures() -> Iterator[tuple[float, NDArray[np.uint8]]]:
        for t_s in clip.times_s:
            image, present = clip.scene.frame(t_s)
            people.append(present)
            yield t_s, _stored(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), clip.rotation)

    width, height = clip.scene.size if clip.rotation in (0, 180) else clip.scene.size[::-1]
    write_video(path, pictures(), width, height, FPS, clip.encoder, clip.rotation)
    return _truth(path.name, clip, people)


def _truth(name: str, clip: Clip, people: list[People]) -> dict[str, Any]:
    about = [{"frame": number, "t_s": round(t_s, 6)} for number, t_s in enumerate(clip.times_s)]
    return coco_truth(people, clip.scene.size[::-1], [name] * len(people), about)


def _has_numbers(truth: Path) -> bool:
    """Return whether a truth file says who is who."""
    return all("track_id" in annotation for annotation in json.loads(truth.read_text())["annotations"])


def _stored(shown: Any, rotation: int) -> NDArray[np.uint8]:
    """Return the picture as the file holds it: rotated back from the displayed orientation."""
    turns = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}
    return np.ascontiguousarray(cv2.rotate(shown, turns[rotation]) if rotation else shown)
