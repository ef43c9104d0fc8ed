"""A film of synthetic people on which models and devices are timed."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.synthetic.video import Actor, Scene
from storage.video.encode import find_encoder, reproducible, write_video

FILM_FPS = 25
FILM_FRAMES, FILM_ROUNDS = 150, 5  # forwards and backwards: half a minute
FILM = Scene(
    11,
    (
        Actor("walk", x_m=-1.5, z_m=4.2, heading_deg=85, speed_m_s=0.5),
        Actor("wave", x_m=0.2, z_m=3.6),
        Actor("stand", x_m=1.3, z_m=4.4, heading_deg=-20),
    ),
    (640, 480),
)


def render(path: Path, frames: int = FILM_FRAMES) -> Path:
    """Write the film, frames forwards and backwards in turn, and return its path."""
    shown = [cv2.cvtColor(FILM.frame(number / FILM_FPS)[0], cv2.COLOR_RGB2BGR) for number in range(frames)]
    there_and_back = [shown if turn % 2 == 0 else shown[::-1] for turn in range(FILM_ROUNDS)]

    def pictures() -> Iterator[tuple[float, NDArray[np.uint8]]]:
        for number, picture in enumerate(itertools.chain(*there_and_back)):
            yield number / FILM_FPS, np.asarray(picture, np.uint8)

    return write_video(path, pictures(), *FILM.size, FILM_FPS, reproducible(find_encoder()))
