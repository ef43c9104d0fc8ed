"""Bars are proportional to speeds, and the article's are separate."""

import numpy as np
import pytest

from models.drawing.figures import bgr
from models.drawing.speeds import ALONE, ARTICLE, THEIRS, WHOLE, WIDTH, Bar, draw_speeds


def longest_run(picture: np.ndarray, color: str, part: slice = slice(None)) -> int:
    """Pixels of this colour in the row with most of them, without the legend's small squares."""
    return int((picture[part] == bgr(color)).all(axis=2).sum(axis=1).max())


def test_bar_lengths_are_proportional() -> None:
    picture = draw_speeds("speed", "a machine", [Bar("one", "f32", 400.0, 100.0)])
    assert picture.shape[1] == WIDTH
    below_the_legend = slice(180, None)
    alone = longest_run(picture, ALONE, below_the_legend)
    whole = longest_run(picture, WHOLE, below_the_legend)
    assert alone / whole == pytest.approx(4, rel=0.02)
    theirs = longest_run(picture, THEIRS)
    assert theirs == pytest.approx(alone, rel=0.02), f"{max(ARTICLE.values())} is the longest on a scale of its own"


def test_each_model_has_a_row_and_a_bar_if_measured() -> None:
    one = draw_speeds("speed", "", [Bar("one", "", 10.0, None)])
    two = draw_speeds("speed", "", [Bar("one", "", 10.0, None), Bar("two", "", 5.0, 4.0)])
    assert two.shape[0] > one.shape[0]
    assert longest_run(one, WHOLE, slice(180, None)) == 0
    assert longest_run(two, WHOLE, slice(180, None)) > 0


def test_names_of_any_length_and_script_stay_in_the_picture() -> None:
    picture = draw_speeds("über " * 60, "x" * 400, [Bar("model" * 30, "notiz é" * 20, 1e5, 0.01)])
    assert (picture[:, -30:] == 255).all()
    with pytest.raises(ValueError, match="Give at least one"):
        draw_speeds("speed", "", [])
