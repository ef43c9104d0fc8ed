"""Draws speeds as bars with OpenCV: measured ones, and below, on a scale of their own, the seed article's. No files."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from models.drawing.text import GRID, INK, PALE, PAPER, Color, Image, fitting, put_right, put_text, round_up, text_width

WIDTH = 1600  # twice what a browser shows of it
# Frames a second that the article reports, of its own Neural Compute Stick: never measured here.
ARTICLE = {"posenet-050": 42, "posenet-075": 30, "posenet-100": 12, "openpose": 2}
_LEFT, _RIGHT, _TOP = 330, 160, 190
_BAR, _PAD, _AXIS, _HEAD = 36, 26, 60, 96
_ALONE, _WHOLE, _THEIRS = (225, 186, 140), (160, 92, 26), (196, 196, 196)  # BGR


@dataclass(frozen=True)
class Bar:
    """One model. label, note: ASCII is drawn as it is, all else as `?`; frames a second; None: not measured"""

    label: str
    note: str
    model_frames_per_s: float | None
    pipeline_frames_per_s: float | None


def draw_speeds(title: str, subtitle: str, bars: Sequence[Bar]) -> Image:
    """(height, 1600, 3) uint8 BGR. Raises ValueError without a bar."""
    if not bars:
        raise ValueError("no speed was given, expected at least one model's")
    group = 2 * _BAR + _PAD
    measured, theirs = group * len(bars), (_BAR + _PAD) * len(ARTICLE)
    floor = _TOP + measured
    picture = np.full((floor + _AXIS + _HEAD + theirs + _AXIS + 40, WIDTH, 3), 255, np.uint8)
    _fitting(picture, title, 62, 1.15, INK)
    _fitting(picture, subtitle, 104, 0.8, PALE)
    _legend(picture, 156)
    speeds = [speed for bar in bars for speed in (bar.model_frames_per_s, bar.pipeline_frames_per_s) if speed]
    scale = _Scale(round_up(max(speeds)))
    scale.grid(picture, _TOP, floor)
    for number, bar in enumerate(bars):
        top = _TOP + number * group + _PAD // 2
        _name(picture, bar.label, bar.note, top + _BAR)
        scale.bar(picture, top, bar.model_frames_per_s, _ALONE)
        scale.bar(picture, top + _BAR, bar.pipeline_frames_per_s, _WHOLE)
    _article(picture, floor + _AXIS)
    return picture


@dataclass(frozen=True)
class _Scale:
    """Frames a second to pixels; `most` is at the right."""

    most: float

    def x(self, speed: float) -> int:
        return round(_LEFT + speed / self.most * (WIDTH - _LEFT - _RIGHT))

    def grid(self, picture: Image, top: int, floor: int) -> None:
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            x, label = self.x(share * self.most), f"{share * self.most:g}"
            cv2.line(picture, (x, top), (x, floor), GRID, 2)
            put_text(picture, label, (x - text_width(label, 0.7, 2) // 2, floor + 34), 0.7, PALE, 2)
        put_right(picture, "frames/s", (_LEFT - 30, floor + 34), 0.7, PALE)

    def bar(self, picture: Image, top: int, speed: float | None, color: Color) -> None:
        if speed is None:
            put_text(picture, "not measured", (_LEFT + 12, top + _BAR - 10), 0.7, PALE, 2)
            return
        right = max(_LEFT + 2, self.x(speed))
        cv2.rectangle(picture, (_LEFT, top + 1), (right, top + _BAR - 2), color, cv2.FILLED)
        number = f"{speed:,.0f}" if speed >= 99.95 else f"{round(speed, 1):g}"
        end = right + 24 + text_width(number, 0.8, 2)
        cv2.rectangle(picture, (right + 4, top + 2), (end, top + _BAR - 2), PAPER, cv2.FILLED)
        put_text(picture, number, (right + 12, top + _BAR - 9), 0.8, INK, 2)


def _article(picture: Image, top: int) -> None:
    cv2.line(picture, (40, top + 12), (WIDTH - 40, top + 12), GRID, 2)
    put_text(picture, "The seed article's figures, on its Neural Compute Stick", (40, top + 58), 0.8, INK, 2)
    place = 40 + text_width("The seed article's figures, on its Neural Compute Stick", 0.8, 2)
    put_text(picture, "not measured here; another scale", (place + 24, top + 58), 0.8, PALE, 2)
    begin, scale = top + _HEAD - 10, _Scale(round_up(max(ARTICLE.values())))
    scale.grid(picture, begin, begin + (_BAR + _PAD) * len(ARTICLE))
    for number, (model, speed) in enumerate(ARTICLE.items()):
        bar = begin + number * (_BAR + _PAD) + _PAD // 2
        put_right(picture, model, (_LEFT - 20, bar + _BAR - 9), 0.8, INK)
        scale.bar(picture, bar, speed, _THEIRS)


def _name(picture: Image, label: str, note: str, middle: int) -> None:
    put_right(picture, label, (_LEFT - 20, middle - 6), 0.8, INK)
    put_right(picture, note, (_LEFT - 20, middle + 24), 0.64, PALE, 1)


def _legend(picture: Image, y: int) -> None:
    x = _LEFT
    for label, color in (("the model alone", _ALONE), ("from the video to its rows", _WHOLE)):
        cv2.rectangle(picture, (x, y - 22), (x + 44, y + 4), color, cv2.FILLED)
        put_text(picture, label, (x + 60, y), 0.8, INK, 2)
        x += 60 + text_width(label, 0.8, 2) + 56


def _fitting(picture: Image, text: str, y: int, size: float, color: Color) -> None:
    text, size = fitting(text, WIDTH - 80, size, 2, 0.5)
    put_text(picture, text, (40, y), size, color, 2)
