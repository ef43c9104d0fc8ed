"""Chart of speeds as bars: measured ones, and below, on a separate scale, the seed article's. No files."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from numpy.typing import NDArray

from models.drawing.figures import (
    BLUE,
    GREY,
    INK,
    PALE,
    PALE_BLUE,
    SMALL_PX,
    TEXT_PX,
    TITLE_PX,
    Chart,
    Image,
    fonts,
    points,
)

WIDTH = 1600  # twice what a browser shows of it
# Frames per second that the article reports for its own Neural Compute Stick: never measured here.
ARTICLE = {"posenet-050": 42, "posenet-075": 30, "posenet-100": 12, "openpose": 2}
ALONE, WHOLE, THEIRS = PALE_BLUE, BLUE, GREY
_LEFT, _RIGHT, _TOP = 330, 60, 190
_BAR, _PAD, _AXIS, _HEAD = 36, 26, 60, 96


@dataclass(frozen=True)
class Bar:
    """One model. Speeds are frames per second; None: not measured"""

    label: str
    note: str
    model_frames_per_s: float | None
    pipeline_frames_per_s: float | None


def draw_speeds(title: str, subtitle: str, bars: Sequence[Bar]) -> Image:
    """(height, 1600, 3) uint8 BGR. Raises ValueError without a bar."""
    if not bars:
        raise ValueError("There is no speed to draw. Give at least one model's.")
    group = 2 * _BAR + _PAD
    measured, theirs = group * len(bars), (_BAR + _PAD) * len(ARTICLE)
    floor = _TOP + measured
    chart = Chart(WIDTH, floor + _AXIS + _HEAD + theirs + _AXIS + 40)
    chart.text(title, (40, 62), TITLE_PX)
    chart.text(subtitle, (40, 104), color=PALE)
    _legend(chart)
    axes = _panel(chart, _TOP, measured)
    _bars(axes, [bar.model_frames_per_s for bar in bars], _PAD / 2 + group * np.arange(len(bars)), ALONE)
    _bars(axes, [bar.pipeline_frames_per_s for bar in bars], _PAD / 2 + _BAR + group * np.arange(len(bars)), WHOLE)
    for number, bar in enumerate(bars):
        middle = _TOP + number * group + _PAD // 2 + _BAR
        chart.text(bar.label, (_LEFT - 20, middle - 4), align="right")
        chart.text(bar.note, (_LEFT - 20, middle + 22), SMALL_PX, PALE, "right")
    _article(chart, floor + _AXIS, theirs)
    return chart.image()


def _panel(chart: Chart, top: int, height: int) -> Axes:
    """Add axes with y in pixels from the top."""
    axes = chart.panel(_LEFT, top, WIDTH - _LEFT - _RIGHT, height)
    axes.set(ylim=(height, 0), yticks=[])
    axes.tick_params(axis="x", labelcolor=PALE)
    chart.text("frames/s", (_LEFT - 30, top + height + 31), color=PALE, align="right")
    return axes


def _bars(axes: Axes, speeds: Sequence[float | None], tops: NDArray[np.float64], color: str) -> None:
    """Draw bars with their numbers. The scale ends a seventh beyond the longest bar."""
    drawn = axes.barh(tops, [speed or 0.0 for speed in speeds], _BAR - 2, align="edge", color=color, linewidth=0)
    labels = axes.bar_label(drawn, [_written(speed) for speed in speeds], padding=8, fontsize=points(TEXT_PX))
    for label, speed in zip(labels, speeds, strict=True):
        label.set(color=PALE if speed is None else INK, fontfamily=fonts())
    axes.set_xlim(0, max(axes.get_xlim()[1], 1.15 * max((speed or 0.0 for speed in speeds), default=0.0)))


def _written(speed: float | None) -> str:
    if speed is None:
        return "not measured"
    return f"{speed:,.0f}" if speed >= 99.95 else f"{round(speed, 1):g}"


def _article(chart: Chart, top: int, height: int) -> None:
    head = "The seed article's figures, on its Neural Compute Stick: not measured here, and on another scale"
    chart.text(head, (40, top + 58), color=PALE)
    begin = top + _HEAD - 10
    axes = _panel(chart, begin, height)
    tops = _PAD / 2 + (_BAR + _PAD) * np.arange(len(ARTICLE))
    _bars(axes, list(ARTICLE.values()), tops, THEIRS)
    for bar, model in zip(tops, ARTICLE, strict=True):
        chart.text(model, (_LEFT - 20, begin + round(bar) + _BAR - 9), align="right")


def _legend(chart: Chart) -> None:
    handles = [Patch(color=ALONE, label="the model alone"), Patch(color=WHOLE, label="from the video to its rows")]
    chart.figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(_LEFT / chart.width, 1 - 134 / chart.height),
        borderaxespad=0,
        borderpad=0,
        ncols=2,
        frameon=False,
        labelcolor=INK,
        prop={"family": fonts(), "size": points(TEXT_PX)},
    )
