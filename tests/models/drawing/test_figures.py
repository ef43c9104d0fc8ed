"""Titles of charts: complete as long as they fit two lines, cut with an ellipsis beyond that."""

import pytest

from models.drawing.figures import TITLE_PX, Chart, points


@pytest.mark.parametrize(
    "title",
    [
        "batch 1, tiny",
        "batch 12, posenet-075, 432,000 frames: took 2 h 51 min; not estimated, as no device was measured before",
        "Stapel 12, größeres Modell, 432.000 Bilder: " + "viele Wörter " * 6,
    ],
    ids=["one line", "two lines", "umlauts"],
)
def test_a_title_is_wrapped_between_words_at_its_full_size(title: str) -> None:
    chart = Chart(1600, 400)
    lines = chart.title(title, (40, 56))
    assert " ".join(line.get_text() for line in lines) == title.strip()
    assert len(lines) == (1 if len(title) < 80 else 2)
    for line in lines:
        assert line.get_fontsize() == pytest.approx(points(TITLE_PX))
        assert line.get_window_extent().x1 <= 1600 - 32


@pytest.mark.parametrize(
    "title", ["word " * 200, "x" * 400, "batch 12, " + "x" * 400], ids=["words", "word", "last word"]
)
def test_a_title_that_does_not_fit_is_cut(title: str) -> None:
    chart = Chart(1600, 400)
    lines = chart.title(title, (40, 56))
    assert len(lines) <= 2
    assert lines[-1].get_text().endswith("…")
    assert all(line.get_window_extent().x1 <= 1600 - 30 for line in lines)
    assert chart.image().shape == (400, 1600, 3)
