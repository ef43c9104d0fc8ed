"""Chart of a batch: frames per second of the whole fleet over time, above one lane per device. No files, no SQL.

In a lane each segment is a bar, coloured by its speed as a share of the device's best with comparable films: a device
that gets hot turns orange. A triangle marks a segment that took more than one attempt, a cross an assignment that was
lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from models.drawing.figures import (
    BLUE,
    INK,
    PALE,
    PALE_BLUE,
    PAPER,
    RED,
    SMALL_PX,
    TEAL,
    Chart,
    Image,
    fonts,
    points,
)

WIDTH = 1600  # twice what a browser shows of it
MOST_LANES = 24
_LEFT, _RIGHT, _TOP, _PLOT, _GAP, _LANE, _BOTTOM = 300, 50, 130, 300, 80, 56, 190
_BAR = 32
_SLOWEST = 0.3  # of the best: slower segments have the same colour
_TONES = LinearSegmentedColormap.from_list("speed", [(0, RED), (3 / 7, "#f08c32"), (5 / 7, "#ebcd78"), (1, TEAL)])
_SPEEDS = ScalarMappable(Normalize(_SLOWEST, 1.0, clip=True), _TONES)
_TICKS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
_COLUMNS = 320  # of the curve
_TRIANGLE: dict[str, Any] = {"marker": "v", "s": 110, "color": INK, "linewidths": 0, "clip_on": False}
_CROSS: dict[str, Any] = {
    "marker": "X",
    "s": 240,
    "facecolor": RED,
    "edgecolor": PAPER,
    "linewidths": 2,
    "clip_on": False,
    "zorder": 4,
}


@dataclass(frozen=True, eq=False)
class Lane:
    """One device's segments in a batch.

    begun_s, ended_s: (n,) one value per segment, seconds since the start
    frames_per_s, attempt: (n,); share: (n,) of the device's best with comparable films
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

    Lanes beyond MOST_LANES are only in the curve.
    """
    shown, took_s = lanes[:MOST_LANES], max(took_s, 0.1)
    lanes_top, lanes_height = _TOP + _PLOT + _GAP, _LANE * len(shown)
    chart = Chart(WIDTH, lanes_top + lanes_height + _BOTTOM)
    chart.title(title, (40, 56))
    curve = chart.panel(_LEFT, _TOP, WIDTH - _LEFT - _RIGHT, _PLOT)
    _curve(curve, took_s, lanes)
    chart.text("frames/s,", (40, _TOP + 30), color=PALE)
    chart.text("all devices", (40, _TOP + 60), color=PALE)
    # The lines of the time axis lie behind the curve and the lanes.
    below = chart.panel(_LEFT, _TOP, WIDTH - _LEFT - _RIGHT, _PLOT + _GAP + lanes_height)
    below.set(zorder=-1, xlim=(0, took_s), yticks=[])
    below.set_xticks(*_time_ticks(started_at, took_s))
    chart.text(started_at.strftime("%Z"), (40, lanes_top + lanes_height + 33), color=PALE)
    if shown:
        panel = chart.panel(_LEFT, lanes_top, WIDTH - _LEFT - _RIGHT, lanes_height)
        panel.set(facecolor="none", xlim=(0, took_s), xticks=[], ylim=(len(shown), 0))
        panel.set_yticks(np.arange(len(shown)) + 0.5, [])
    for number, lane in enumerate(shown):
        _lane(panel, number + 0.5, took_s, lane)
        middle = lanes_top + _LANE * number + _LANE // 2
        chart.text(lane.label, (_LEFT - 16, middle - 1), align="right")
        chart.text(lane.note, (_LEFT - 16, middle + 21), SMALL_PX, PALE, "right")
    _legend(chart, len(lanes) - len(shown))
    return chart.image()


def _time_ticks(started_at: datetime, took_s: float) -> tuple[list[float], list[str]]:
    """Seconds since the start and labels of the ticks at round clock times."""
    step_s = next((step for step in _TICKS_S if took_s / step <= 8), _TICKS_S[-1])
    form = "%H:%M:%S" if step_s < 60 else "%H:%M"
    midnight = started_at.replace(hour=0, minute=0, second=0, microsecond=0)
    first = -(-(started_at - midnight.astimezone(UTC)).total_seconds() // step_s)
    at = midnight.astimezone(UTC) + timedelta(seconds=first * step_s)  # UTC: clocks of a zone may change in the night
    ticks = []
    while (at_s := (at - started_at).total_seconds()) <= took_s:
        ticks.append((at_s, at.astimezone(started_at.tzinfo).strftime(form)))
        at += timedelta(seconds=step_s)
    return [at_s for at_s, _ in ticks], [label for _, label in ticks]


def _curve(axes: Axes, took_s: float, lanes: Sequence[Lane]) -> None:
    """Frames of all devices in each column of time, as an area."""
    edges = np.linspace(0.0, took_s, _COLUMNS + 1)
    rates = _rates(edges, lanes)
    axes.stairs(rates, edges, fill=True, color=PALE_BLUE, antialiased=False)
    axes.stairs(rates, edges, color=BLUE, linewidth=2)
    axes.set(facecolor="none", xlim=(0, took_s), ylim=(0, 1.05 * rates.max(initial=0.0) or 1.0), xticks=[])
    axes.yaxis.set_major_locator(MaxNLocator(5))


def _rates(edges: NDArray[np.float64], lanes: Sequence[Lane]) -> NDArray[np.float64]:
    """(columns,) frames per second, each segment's frames spread evenly over its time."""
    done = np.zeros(len(edges))
    for lane in lanes:
        done += _ramps(edges, lane.begun_s, lane.frames_per_s) - _ramps(edges, lane.ended_s, lane.frames_per_s)
    return np.asarray(np.maximum(np.diff(done) / np.diff(edges), 0.0))


def _ramps(
    at_s: NDArray[np.float64], from_s: NDArray[np.float64], frames_per_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Frames at each time if every segment continued from its `from_s` forever: sums, not a loop over segments."""
    order = np.argsort(from_s)
    begun = np.searchsorted(from_s[order], at_s)
    speeds = np.concatenate([[0.0], np.cumsum(frames_per_s[order])])[begun]
    offsets = np.concatenate([[0.0], np.cumsum((frames_per_s * from_s)[order])])[begun]
    return np.asarray(speeds * at_s - offsets)


def _lane(axes: Axes, middle: float, took_s: float, lane: Lane) -> None:
    """Bars with a gap of two pixels between them; thin ones still a pixel wide."""
    pixel_s = took_s / (WIDTH - _LEFT - _RIGHT)
    lengths = np.maximum(lane.ended_s - lane.begun_s - 2 * pixel_s, pixel_s)
    half = _BAR / _LANE / 2
    bars = np.stack([lane.begun_s, lengths], axis=1)
    axes.broken_barh(bars, (middle - half, 2 * half), facecolor=_SPEEDS.to_rgba(lane.share), linewidth=0)
    retried = lane.begun_s[lane.attempt > 1]
    axes.scatter(retried, np.full(len(retried), middle - half - 0.12), **_TRIANGLE)
    axes.scatter(lane.lost_s, np.full(len(lane.lost_s), middle), **_CROSS)


def _legend(chart: Chart, hidden: int) -> None:
    y = chart.height - 60
    chart.text("speed relative to the best with such videos", (_LEFT, y - 24), SMALL_PX)
    box = chart.panel(_LEFT, y - 12, 280, 20)
    ticks, form = [_SLOWEST, 0.65, 1.0], PercentFormatter(1.0, 0)
    scale = chart.figure.colorbar(_SPEEDS, cax=box, orientation="horizontal", ticks=ticks, format=form)
    scale.outline.set_visible(False)
    scale.ax.tick_params(labelsize=points(SMALL_PX), length=0, labelfontfamily=fonts())
    marks = chart.panel(_LEFT + 400, y - 12, 600, 20)
    marks.set(xlim=(0, 600), ylim=(0, 1), xticks=[], yticks=[], facecolor="none")
    marks.scatter([30], [0.5], **_TRIANGLE)
    marks.scatter([430], [0.5], **_CROSS)
    chart.text("took more than one attempt", (_LEFT + 454, y + 6), SMALL_PX)
    chart.text("assignment lost", (_LEFT + 854, y + 6), SMALL_PX)
    if hidden:
        chart.text(f"and {hidden} more devices", (40, y + 6), SMALL_PX, PALE)
