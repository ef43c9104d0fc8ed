"""Charts by matplotlib whose panels and texts are placed in pixels. No pyplot: charts are drawn in worker threads, too.

Colour-blind people can distinguish the colours. DejaVu Sans has the letters of Europe; Chinese, Japanese and Korean
ones are drawn where the machine has a font for them, and as boxes elsewhere.
"""

import warnings
from functools import cache
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.text import Text
from numpy.typing import NDArray

from models.text import visible

Image = NDArray[np.uint8]

INK, PALE, GRID, PAPER = "#3c3c3c", "#6e6e6e", "#e4e4e4", "#ffffff"
BLUE, PALE_BLUE, ORANGE, TEAL, RED, GREY = "#1e69b4", "#aacdeb", "#d2640f", "#32a596", "#cd3c32", "#c4c4c4"
TITLE_PX, TEXT_PX, SMALL_PX = 34, 22, 18
_DPI = 100
_EAST_ASIAN = ("Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans", "WenQuanYi Zen Hei", "IPAGothic", "Unifont")


@cache
def fonts() -> list[str]:
    """List the font families in the order of use: DejaVu Sans, which comes with matplotlib, then those of East Asia."""
    there = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _EAST_ASIAN if name in there)]


class Chart:
    """A white picture of a size in pixels. Positions are x from the left, y from the top."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor=PAPER)
        FigureCanvasAgg(self.figure)

    def panel(self, left: int, top: int, width: int, height: int) -> Axes:
        """Add axes without a frame, with pale lines at the ticks of both."""
        box = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(box)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, pad=10, labelsize=points(TEXT_PX), labelcolor=INK, labelfontfamily=fonts())
        axes.grid(color=GRID, linewidth=1.5)
        axes.set_axisbelow(True)
        return axes

    def text(
        self,
        text: str,
        at: tuple[int, int],
        size_px: int = TEXT_PX,
        color: str = INK,
        align: Literal["left", "center", "right"] = "left",
    ) -> Text:
        """Write one line whose base line begins, has its middle or ends at `at`; shrunk, then cut, to fit the room."""
        room = {"left": self.width - at[0], "right": at[0], "center": 2 * min(at[0], self.width - at[0])}[align] - 32
        drawn = self.figure.text(
            at[0],
            self.height - at[1],
            visible(text),
            transform=None,
            ha=align,
            va="baseline",
            color=color,
            fontsize=points(size_px),
            fontfamily=fonts(),
            parse_math=False,
        )
        _fit(drawn, room)
        return drawn

    def title(self, text: str, at: tuple[int, int], lines: int = 2) -> list[Text]:
        """Write a title, broken between words into at most this many lines. at: start of the first base line"""
        words = text.split()
        drawn: list[Text] = []
        while words:
            count = self._count_fitting(words, self.width - at[0] - 32) if len(drawn) < lines - 1 else len(words)
            line_at = at[0], at[1] + len(drawn) * round(1.2 * TITLE_PX)
            drawn.append(self.text(" ".join(words[:count]), line_at, TITLE_PX))
            words = words[count:]
        return drawn

    def _count_fitting(self, words: list[str], room: float) -> int:
        """Return the number of first words that fit one line of a title; at least 1."""
        probe = self.figure.text(0, 0, "", fontsize=points(TITLE_PX), fontfamily=fonts(), parse_math=False)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"Glyph .* missing")
            for count in range(1, len(words) + 1):
                probe.set_text(visible(" ".join(words[:count])))
                if probe.get_window_extent().width > room:
                    break
            else:
                count += 1
        probe.remove()
        return max(1, count - 1)

    def image(self) -> Image:
        """Draw: (height, width, 3) uint8 BGR."""
        canvas = self.figure.canvas
        assert isinstance(canvas, FigureCanvasAgg)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"Glyph .* missing")  # it is drawn as a box
            canvas.draw()
        return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., 2::-1])


def points(size_px: int) -> float:
    """Convert a font's size to matplotlib's unit."""
    return size_px * 72 / _DPI


def bgr(color: str) -> tuple[int, int, int]:
    """Convert "#rrggbb" for OpenCV."""
    red, green, blue = bytes.fromhex(color[1:])
    return blue, green, red


def _fit(text: Text, room: float) -> None:
    """Make a text smaller, down to two thirds, then cut its end, until it is as wide as the room."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing")
        share = room / max(1.0, text.get_window_extent().width)
        if share < 1:
            text.set_fontsize(float(text.get_fontsize()) * max(share, 2 / 3))
        plain = text.get_text()
        while len(plain) > 1 and (width := text.get_window_extent().width) > room:
            plain = plain[: max(1, min(len(plain) - 1, int(len(plain) * room / width)))]
            text.set_text(f"{plain}…")
