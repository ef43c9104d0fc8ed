"""Any text is drawn, in one line, and stays in its room."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.drawing.people import draw_caption
from models.drawing.text import as_drawn, put_right


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_drawn_and_leaves_its_room_alone(text: str) -> None:
    picture = np.full((80, 400, 3), 255, np.uint8)
    put_right(picture, text, (200, 40), 0.8, (0, 0, 0))
    draw_caption(picture[60:], text)
    assert (picture[:60, 206:] == 255).all()
    assert (picture[:60, :10] == 255).all()


def test_an_escape_is_drawn_as_letters() -> None:
    assert as_drawn("a\x1b[2J\nb\udcff é") == "a\\x1b[2J\\nb\\udcff ?"
