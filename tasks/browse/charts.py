"""Charts as numbers that a template can write as SVG: axes, lines and points in pixels. No HTML, no pictures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

DIGIT_PX = 7.4  # width of a character of a label at its font size of 13 px, a generous mean
LABEL_HEIGHT_PX = 16.0
MOST_POINTS = 600  # of a line; more cannot be told apart


@dataclass(frozen=True)
class Axis:
    """An axis. low, high: None = from the values; log: powers of ten are equally far apart; percent: of its ticks"""

    label: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    percent: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Line:
    """A line of a chart. style: its CSS class; ring: index of the point to be marked, None = none"""

    name: str
    style: str
    x: Sequence[float]
    y: Sequence[float]
    ring: int | None = None


@dataclass(frozen=True)
class Point:
    """A point of a chart. name: shown on hover; label: written next to it where there is room"""

    name: str
    label: str
    style: str
    x: float
    y: float


@dataclass(frozen=True)
class ChartText:
    """Texts of a chart. description: its finding in words, for those who do not see it"""

    title: str
    description: str


class PlotBox(NamedTuple):
    """A rectangle in pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: "PlotBox") -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def contains(self, other: "PlotBox") -> bool:
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )


class Tick(NamedTuple):
    """A tick. at: pixels"""

    at: float
    text: str


class DrawnLine(NamedTuple):
    """A line in pixels. points: of an SVG polyline; dots: of a line of few points; ring: the marked point"""

    name: str
    style: str
    points: str
    dots: tuple[tuple[float, float], ...]
    ring: tuple[float, float] | None


class DrawnLabel(NamedTuple):
    """A text next to a point. anchor: of SVG: start, middle or end"""

    text: str
    x: float
    y: float
    anchor: str


class DrawnPoint(NamedTuple):
    """A point in pixels. label: None where there is no room"""

    name: str
    style: str
    x: float
    y: float
    label: DrawnLabel | None


@dataclass(frozen=True)
class DrawnChart:
    """A chart in pixels. plot: the inside of its axes"""

    text: ChartText
    width: int
    height: int
    plot: PlotBox
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[DrawnLine, ...] = ()
    points: tuple[DrawnPoint, ...] = ()


@dataclass(frozen=True)
class Size:
    """Size of a chart and the room for its ticks, pixels."""

    width: int
    height: int
    left: int = 52
    right: int = 14
    top: int = 14
    bottom: int = 44

    @property
    def plot(self) -> PlotBox:
        return PlotBox(self.left, self.top, self.width - self.right, self.height - self.bottom)


SMALL = Size(440, 280)
WIDE = Size(1000, 520)
NARROW = Size(360, 380, left=44)


@dataclass(frozen=True)
class _Scale:
    """A map of values to pixels. start, stop: pixels of low and high"""

    axis: Axis
    low: float
    high: float
    start: float
    stop: float
    ticks: tuple[Tick, ...] = field(default=())

    def at(self, value: float) -> float:
        low, high, value = (_place(self.axis, each) for each in (self.low, self.high, value))
        share = min(1.0, max(0.0, (value - low) / (high - low)))
        return round(self.start + share * (self.stop - self.start), 1)


def draw(
    text: ChartText,
    axes: tuple[Axis, Axis],
    *,
    lines: Sequence[Line] = (),
    points: Sequence[Point] = (),
    size: Size = SMALL,
) -> DrawnChart:
    """Lay out a chart. axes: x and y; values beyond an axis are drawn at its end, and NaN not at all."""
    plot = size.plot
    x_values = [*(value for line in lines for value in line.x), *(point.x for point in points)]
    y_values = [*(value for line in lines for value in line.y), *(point.y for point in points)]
    x = _scale(axes[0], x_values, (plot.left, plot.right), most=max(3, size.width // 90))
    y = _scale(axes[1], y_values, (plot.bottom, plot.top), most=5)
    return DrawnChart(
        text=text,
        width=size.width,
        height=size.height,
        plot=plot,
        x_label=axes[0].label,
        y_label=axes[1].label,
        x_ticks=x.ticks,
        y_ticks=y.ticks,
        lines=tuple(_line(line, x, y) for line in lines),
        points=_points(points, x, y, plot),
    )


def _place(axis: Axis, value: float) -> float:
    return math.log10(value) if axis.log else value


def _scale(axis: Axis, values: Sequence[float], ends: tuple[float, float], most: int) -> _Scale:
    """Return the scale of an axis, with at most about `most` ticks at round values."""
    from matplotlib.ticker import LogLocator, MaxNLocator  # slow to import: not at the start of the pages

    low, high = _range(axis, [value for value in values if math.isfinite(value)])
    if axis.log:
        found = LogLocator(subs=(1.0, 2.0, 5.0), numticks=most + 2).tick_values(low, high)
    else:
        found = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10], integer=axis.whole).tick_values(low, high)
    step = abs(float(found[1] - found[0])) if len(found) > 1 else 1.0
    low = low if axis.low is not None or axis.log else float(min(found[0], low))
    high = high if axis.high is not None or axis.log else float(max(found[-1], high))
    scale = _Scale(axis, low, high, *ends)
    shown = (float(value) for value in found if low - 1e-9 * step <= value <= high + 1e-9 * step)
    ticks = tuple(Tick(scale.at(value), _tick_text(axis, value, step)) for value in shown)
    return _Scale(axis, low, high, *ends, ticks)


def _range(axis: Axis, values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis, which differ, also where all values are equal or there are none."""
    low = axis.low if axis.low is not None else min(values, default=0.0)
    high = axis.high if axis.high is not None else max(values, default=1.0)
    if axis.log:
        return low / 1.25, high * 1.25
    return (low, high) if high > low else (low, low + (abs(low) or 1.0))


def _tick_text(axis: Axis, value: float, step: float) -> str:
    if axis.percent:
        return f"{value:.{_decimals(100 * step)}%}"
    return f"{value:,.{_decimals(value if axis.log else step)}f}"


def _decimals(step: float) -> int:
    """Return the number of decimals that a multiple of this step needs."""
    return next((digits for digits in range(8) if math.isclose(round(step, digits), step, rel_tol=1e-6)), 8)


def _line(line: Line, x: _Scale, y: _Scale) -> DrawnLine:
    places = [(x.at(a), y.at(b)) for a, b in thinned(line.x, line.y) if math.isfinite(a) and math.isfinite(b)]
    ring = None if line.ring is None else (x.at(line.x[line.ring]), y.at(line.y[line.ring]))
    points = " ".join(f"{a:g},{b:g}" for a, b in places)
    return DrawnLine(line.name, line.style, points, tuple(places) if len(places) <= 30 else (), ring)


def thinned(x: Sequence[float], y: Sequence[float]) -> list[tuple[float, float]]:
    """Return at most about MOST_POINTS points: of each stretch the lowest and the highest, so that no peak is lost."""
    pairs = list(zip(x, y, strict=True))
    if len(pairs) <= MOST_POINTS:
        return pairs
    stretch = math.ceil(2 * len(pairs) / MOST_POINTS)
    found = []
    for start in range(0, len(pairs), stretch):
        part = range(start, min(start + stretch, len(pairs)))
        ends = {min(part, key=lambda at: pairs[at][1]), max(part, key=lambda at: pairs[at][1])}
        found += [pairs[at] for at in sorted(ends)]
    return found


def _points(points: Sequence[Point], x: _Scale, y: _Scale, plot: PlotBox) -> tuple[DrawnPoint, ...]:
    """Return the points with their labels, of which none covers another one, a point or the edge."""
    taken = [_around(x.at(point.x), y.at(point.y)) for point in points]
    drawn = []
    for point in points:
        at = x.at(point.x), y.at(point.y)
        label = next((found for found in _labels(point.label, *at) if _has_room(found, plot, taken)), None)
        if label is not None:
            taken.append(_box(label))
        drawn.append(DrawnPoint(point.name, point.style, *at, label))
    return tuple(drawn)


def _around(x: float, y: float) -> PlotBox:
    return PlotBox(x - 7, y - 7, x + 7, y + 7)


def _labels(text: str, x: float, y: float) -> list[DrawnLabel]:
    """Return the places where a label may be, the best one first."""
    if not text:
        return []
    return [
        DrawnLabel(text, x + 10, y + 4, "start"),
        DrawnLabel(text, x - 10, y + 4, "end"),
        DrawnLabel(text, x, y - 11, "middle"),
        DrawnLabel(text, x, y + 20, "middle"),
    ]


def _box(label: DrawnLabel) -> PlotBox:
    width = DIGIT_PX * len(label.text)
    left = {"start": label.x, "middle": label.x - width / 2, "end": label.x - width}[label.anchor]
    return PlotBox(left, label.y - LABEL_HEIGHT_PX + 4, left + width, label.y + 4)


def _has_room(label: DrawnLabel, plot: PlotBox, taken: Sequence[PlotBox]) -> bool:
    box = _box(label)
    return plot.contains(box) and not any(box.overlaps(other) for other in taken)
