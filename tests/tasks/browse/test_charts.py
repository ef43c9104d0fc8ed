"""Charts in pixels: nothing is drawn outside, no label covers another one, and no peak is lost."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.evaluation.reference import read_reference
from tasks.browse.charts import (
    MOST_POINTS,
    NARROW,
    SMALL,
    Axis,
    ChartText,
    DrawnChart,
    Line,
    PlotBox,
    Point,
    _around,
    _box,
    draw,
    thinned,
)
from tasks.browse.model_figures import all_figures, plots

TEXT = ChartText("Title", "Finding.")
values = st.floats(-1e6, 1e6)


def places(chart: DrawnChart) -> list[tuple[float, float]]:
    return [
        (float(x), float(y)) for line in chart.lines for x, y in (place.split(",") for place in line.points.split())
    ]


@settings(max_examples=60)
@given(st.lists(st.tuples(values, values), max_size=40))
def test_all_points_are_inside_the_axes(pairs: list[tuple[float, float]]) -> None:
    line = Line("line", "", [x for x, _ in pairs], [y for _, y in pairs])
    chart = draw(TEXT, (Axis("x"), Axis("y")), lines=[line])
    assert len(places(chart)) == len(pairs)
    for x, y in places(chart):
        assert chart.plot.left <= x <= chart.plot.right
        assert chart.plot.top <= y <= chart.plot.bottom
    for tick in (*chart.x_ticks, *chart.y_ticks):
        assert math.isfinite(tick.at)


def test_larger_values_are_farther_right_and_higher() -> None:
    [(x1, y1), (x2, y2), (x3, y3)] = places(
        draw(TEXT, (Axis("x", log=True), Axis("y")), lines=[Line("line", "", [1, 10, 100], [1, 2, 4])])
    )
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    assert y1 > y2 > y3
    assert y2 - y3 == pytest.approx(2 * (y1 - y2), abs=0.3)


def test_a_value_that_is_not_a_number_is_left_out() -> None:
    chart = draw(TEXT, (Axis("x"), Axis("y")), lines=[Line("line", "", [1, 2, 3], [0.5, math.nan, 1.0])])
    assert len(places(chart)) == 2


@pytest.mark.parametrize(
    ("axis", "line", "texts"),
    [
        (Axis("y", 0.0, 1.0, percent=True), [0.0, 1.0], ["0%", "20%", "40%", "60%", "80%", "100%"]),
        (Axis("y", high=1.0, percent=True), [0.96, 0.97], ["96%", "97%", "98%", "99%", "100%"]),
        (Axis("y", low=0.0), [0.1, 0.24], ["0.00", "0.05", "0.10", "0.15", "0.20", "0.25"]),
        (Axis("y"), [2000, 9000], ["2,000", "4,000", "6,000", "8,000", "10,000"]),
    ],
)  # fmt: skip
def test_ticks_are_round_numbers(axis: Axis, line: list[float], texts: list[str]) -> None:
    chart = draw(TEXT, (Axis("x"), axis), lines=[Line("line", "", [0.0, 1.0], line)])
    assert [tick.text for tick in chart.y_ticks] == texts


def test_ticks_of_a_logarithmic_axis() -> None:
    chart = draw(TEXT, (Axis("x", log=True), Axis("y")), lines=[Line("line", "", [26.0, 330.0], [0.0, 1.0])])
    assert [tick.text for tick in chart.x_ticks] == ["50", "100", "200"]


@settings(max_examples=60)
@given(st.integers(1, 20 * MOST_POINTS), st.integers(0, 1000))
def test_a_long_line_keeps_its_peaks(length: int, seed: int) -> None:
    heights = np.random.default_rng(seed).random(length).tolist()
    found = thinned(range(len(heights)), heights)
    assert len(found) <= MOST_POINTS + 2
    assert found == sorted(found)
    kept = [y for _, y in found]
    assert (min(kept), max(kept)) == (min(heights), max(heights))


@settings(max_examples=60)
@given(st.lists(st.tuples(st.text("mn05 ", min_size=1, max_size=24), values, values), min_size=1, max_size=30))
def test_no_label_covers_another_one_or_a_point(given_points: list[tuple[str, float, float]]) -> None:
    chart = draw(
        TEXT,
        (Axis("x"), Axis("y")),
        points=[Point(label, label, "", x, y) for label, x, y in given_points],
        size=NARROW,
    )
    labels = [_box(point.label) for point in chart.points if point.label]
    dots = [_around(point.x, point.y) for point in chart.points]
    for at, box in enumerate(labels):
        assert chart.plot.contains(box)
        assert not any(box.overlaps(other) for other in (*labels[:at], *dots))


def test_each_reference_model_has_its_name_on_a_wide_page() -> None:
    wide, narrow = plots(all_figures(read_reference(), []))
    assert [point.label is not None for point in wide.points] == [True] * len(read_reference().models)
    assert sum(point.label is not None for point in narrow.points) >= len(read_reference().models) - 2
    assert "movenet" in wide.text.description or "openpose" in wide.text.description


def test_boxes_that_touch_do_not_overlap() -> None:
    assert not PlotBox(0, 0, 1, 1).overlaps(PlotBox(1, 0, 2, 1))
    assert PlotBox(0, 0, 2, 2).overlaps(PlotBox(1, 1, 3, 3))
    assert SMALL.plot.contains(PlotBox(100, 100, 110, 110))
