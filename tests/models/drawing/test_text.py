"""Any text is drawn on one line and within its space."""

import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.drawing.figures import Chart
from models.drawing.people import draw_caption
from models.drawing.text import fitting, text_width


@settings(max_examples=40)
@given(st.text(max_size=300), st.integers(60, 1200))
def test_a_caption_of_any_text_stays_in_its_bar(text: str, width: int) -> None:
    picture = np.full((100, width, 3), 255, np.uint8)
    draw_caption(picture, text)
    assert (picture[:76] == 255).all()
    assert (picture[-1, 0] != 255).all()


@settings(max_examples=25)
@given(st.text(max_size=200))
@example("$x$ ${y")
@example("$\\frac{")
@example("\x1b[2J\nb\udcff é カ")
def test_any_text_fits_a_chart_and_is_not_a_formula(text: str) -> None:
    chart = Chart(300, 60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = chart.text(text, (200, 40), align="right")
        picture = chart.image()
    assert drawn.get_window_extent().width <= 200 - 32 or len(drawn.get_text()) <= 2
    assert (picture[:, 206:] == 255).all()


@pytest.mark.parametrize("word", ["é", "ß", "Ж", "ω", "×", "ő"])
def test_letters_beyond_ascii_are_distinguishable(word: str) -> None:
    """OpenCV drew each as a question mark."""
    drawn = {}
    for text in (word, "?", "\u4e00"):
        drawn[text] = np.full((40, 200, 3), 255, np.uint8)
        draw_caption(drawn[text], text)
    assert len({picture.tobytes() for picture in drawn.values()}) == 3


def test_escapes_are_drawn_as_letters() -> None:
    assert fitting("a\x1b[2J\nb\udcff é", 1000, 12) == "a\\x1b[2J\\nb\\udcff é"


def test_a_long_name_keeps_its_end() -> None:
    shown = fitting("cameras/" * 40 + "yard.mp4", 200, 20)
    assert shown.startswith("…")
    assert shown.endswith("/yard.mp4")
    assert text_width(shown, 20) <= 200
