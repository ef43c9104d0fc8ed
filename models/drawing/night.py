"""Draws a night with OpenCV: frames a second of the whole fleet over time, and below a lane for each device.

No files, no SQL. In a lane each segment is a bar, coloured by its speed as a share of the device's best with comparable
films: a device that gets hot turns orange. A triangle marks a segment that took more than one attempt, a cross an
assignment that was lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from models.drawing.text import GRID, INK, PALE, PAPER, Color, Image, fitting, put_right, put_text, round_up, text_width

WIDTH = 1600  # twice what a browser shows of it
MOST_LANES = 24
_LEFT, _RIGHT, _TOP, _PLOT, _GAP, _LANE, _BOTTOM = 300, 50, 130, 300, 80, 56, 190
_BAR = 32
_AREA, _LINE, _LOST = (235, 206, 170), (180, 105, 30), (40, 40, 200)
# By share of the best: red, orange, yellow, teal; BGR.
_SHARES, _TONES = (0.3, 0.6, 0.8, 1.0), ((50, 60, 205), (50, 140, 240), (120, 205, 235), (150, 165, 50))
_TICKS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
_COLUMNS = 320  # of the curve


@dataclass(frozen=True, eq=False)
class Lane:
    """One device's night.

    begun_s, ended_s: (n,) one value per segment, seconds since the start
    frames_per_s, attempt: (n,); share: (n,) of the device's best with comparable films
    label, note: ASCII is drawn as it is, all else as `?`
    lost_s: seconds since the start at which assignments were lost
    """

    label: str
    note: str
    begun_s: NDArray[np.float64]
    ended_s: NDArray[np.float64]
    frames_per_s: NDArray[np.float64]
    share: NDArray[np.float64]
    attempt: NDArray[np.int32]
    lost_s: Sequence[float] = ()


def draw_night(title: str, started_at: datetime, took_s: float, lanes: Sequence[Lane]) -> Image:
    """(height, 1600, 3) uint8 BGR. started_at: in the zone of the time axis

    Of more than MOST_LANES lanes the rest is only in the curve.
    """
    shown = lanes[:MOST_LANES]
    picture = np.full((_TOP + _PLOT + _GAP + _LANE * len(shown) + _BOTTOM, WIDTH, 3), 255, np.uint8)
    scale = _Scale(max(took_s, 0.1))
    _left(picture, title, (40, 62), 1.15)
    _time_grid(picture, scale, started_at, _TOP + _PLOT + _GAP + _LANE * len(shown))
    _curve(picture, scale, lanes)
    for number, lane in enumerate(shown):
        _lane(picture, scale, lane, _TOP + _PLOT + _GAP + _LANE * number)
    _legend(picture, len(lanes) - len(shown))
    return picture


@dataclass(frozen=True)
class _Scale:
    """Seconds since the start to pixels."""

    took_s: float

    def x(self, at_s: float) -> int:
        share = min(max(at_s / self.took_s, 0.0), 1.0)
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT))


def _left(picture: Image, text: str, at: tuple[int, int], size: float) -> None:
    """Begins at `at`; smaller, and at last shorter, where it would leave the picture."""
    text, size = fitting(text, WIDTH - 2 * at[0], size, 2, 0.6)
    put_text(picture, text, at, size, INK, 2)


def _time_grid(picture: Image, scale: _Scale, started_at: datetime, bottom: int) -> None:
    """Lines at round times of the clock, through the curve and the lanes."""
    step_s = next((step for step in _TICKS_S if scale.took_s / step <= 8), _TICKS_S[-1])
    form = "%H:%M:%S" if step_s < 60 else "%H:%M"
    midnight = started_at.replace(hour=0, minute=0, second=0, microsecond=0)
    first = -(-(started_at - midnight.astimezone(UTC)).total_seconds() // step_s)
    at = midnight.astimezone(UTC) + timedelta(seconds=first * step_s)  # UTC: in a zone, clocks may change in the night
    while (at_s := (at - started_at).total_seconds()) <= scale.took_s:
        x, label = scale.x(at_s), at.astimezone(started_at.tzinfo).strftime(form)
        cv2.line(picture, (x, _TOP), (x, bottom), GRID, 2)
        put_text(picture, label, (x - text_width(label, 0.8, 2) // 2, bottom + 40), 0.8, INK, 2)
        at += timedelta(seconds=step_s)
    put_text(picture, started_at.strftime("%Z"), (40, bottom + 40), 0.8, PALE, 2)


def _curve(picture: Image, scale: _Scale, lanes: Sequence[Lane]) -> None:
    """Frames of all devices in each column of time, as an area."""
    rates = _rates(scale, lanes)
    top = round_up(float(rates.max(initial=0.0)))
    bottom = _TOP + _PLOT
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = round(bottom - share * _PLOT)
        cv2.line(picture, (_LEFT, y), (WIDTH - _RIGHT, y), GRID, 2)
        put_right(picture, f"{share * top:g}", (_LEFT - 16, y + 9), 0.8, INK)
    put_text(picture, "frames/s,", (40, _TOP + 30), 0.8, PALE, 2)
    put_text(picture, "all devices", (40, _TOP + 64), 0.8, PALE, 2)
    edges = np.linspace(0.0, scale.took_s, _COLUMNS + 1)
    xs = np.repeat([scale.x(float(edge)) for edge in edges], 2)[1:-1]
    ys = np.rint(bottom - np.repeat(rates, 2) / top * _PLOT)
    outline = np.stack([xs, ys], axis=1).astype(np.int32)
    area = np.concatenate([[[xs[0], bottom]], outline, [[xs[-1], bottom]]]).astype(np.int32)
    cv2.fillPoly(picture, [area], _AREA, cv2.LINE_AA)
    cv2.polylines(picture, [outline], False, _LINE, 3, cv2.LINE_AA)


def _rates(scale: _Scale, lanes: Sequence[Lane]) -> NDArray[np.float64]:
    """(columns,) frames a second, each segment's frames spread evenly over its time."""
    edges = np.linspace(0.0, scale.took_s, _COLUMNS + 1)
    done = np.zeros(_COLUMNS + 1)
    for lane in lanes:
        done += _ramps(edges, lane.begun_s, lane.frames_per_s) - _ramps(edges, lane.ended_s, lane.frames_per_s)
    return np.maximum(np.diff(done), 0.0) / (scale.took_s / _COLUMNS)


def _ramps(
    at_s: NDArray[np.float64], from_s: NDArray[np.float64], frames_per_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Frames at each time, had every segment gone on from its `from_s` for ever: sums, not a loop over segments."""
    order = np.argsort(from_s)
    begun = np.searchsorted(from_s[order], at_s)
    speeds = np.concatenate([[0.0], np.cumsum(frames_per_s[order])])[begun]
    offsets = np.concatenate([[0.0], np.cumsum((frames_per_s * from_s)[order])])[begun]
    frames: NDArray[np.float64] = speeds * at_s - offsets
    return frames


def _lane(picture: Image, scale: _Scale, lane: Lane, top: int) -> None:
    """Bars between `top` and the next lane; thin ones still a pixel wide."""
    middle = top + _LANE // 2
    put_right(picture, lane.label, (_LEFT - 16, middle - 1), 0.8, INK)
    put_right(picture, lane.note, (_LEFT - 16, middle + 24), 0.66, INK, 1)
    cv2.line(picture, (_LEFT, middle), (WIDTH - _RIGHT, middle), GRID, 2)
    upper, lower = middle - _BAR // 2, middle + _BAR // 2
    for begun, ended, share in zip(lane.begun_s, lane.ended_s, lane.share, strict=True):
        left, right = scale.x(float(begun)), scale.x(float(ended))
        cv2.rectangle(picture, (left, upper), (max(left, right - 2), lower), _tone(round(100 * share)), cv2.FILLED)
    for begun in lane.begun_s[lane.attempt > 1]:
        _triangle(picture, (scale.x(float(begun)), upper - 1))
    for at_s in lane.lost_s:
        _cross(picture, (scale.x(at_s), middle))


@cache
def _tone(percent: int) -> Color:
    blue, green, red = (
        round(float(np.interp(percent / 100, _SHARES, [tone[index] for tone in _TONES]))) for index in range(3)
    )
    return blue, green, red


def _triangle(picture: Image, tip: tuple[int, int]) -> None:
    corners = np.array([tip, (tip[0] - 8, tip[1] - 12), (tip[0] + 8, tip[1] - 12)], np.int32)
    cv2.fillPoly(picture, [corners], INK, cv2.LINE_AA)


def _cross(picture: Image, at: tuple[int, int]) -> None:
    for color, thickness in ((PAPER, 9), (_LOST, 4)):
        for slope in (-1, 1):
            cv2.line(picture, (at[0] - 10, at[1] - 10 * slope), (at[0] + 10, at[1] + 10 * slope), color, thickness)


def _legend(picture: Image, hidden: int) -> None:
    y, x = picture.shape[0] - 60, _LEFT
    put_text(picture, "speed, of its best with such films:", (x, y - 28), 0.7, INK, 1)
    for column in range(280):
        share = _SHARES[0] + (_SHARES[-1] - _SHARES[0]) * column / 279
        cv2.line(picture, (x + column, y - 12), (x + column, y + 8), _tone(round(100 * share)), 1)
    for share, at in ((0.3, 0), (0.6, 120), (1.0, 280)):
        label = f"{share:.0%}"
        put_text(picture, label, (x + at - text_width(label, 0.6, 1) // 2, y + 34), 0.6, INK, 1)
    _triangle(picture, (x + 430, y + 4))
    put_text(picture, "took more than one attempt", (x + 454, y + 6), 0.7, INK, 1)
    _cross(picture, (x + 830, y - 2))
    put_text(picture, "assignment lost", (x + 854, y + 6), 0.7, INK, 1)
    if hidden:
        put_text(picture, f"and {hidden} more devices", (40, y + 6), 0.7, PALE, 1)
