"""Charts of losses. No files."""

import numpy as np
from matplotlib.ticker import LogLocator
from numpy.typing import NDArray

from models.drawing.figures import BLUE, INK, ORANGE, SMALL_PX, TEAL, Chart, Image, fonts, points

# Distinguishable without their colours, too.
_STYLES = ((INK, "-"), (BLUE, "--"), (TEAL, "-."), (ORANGE, ":"))


def draw_curves(rows: NDArray[np.float64], columns: tuple[str, ...]) -> Image:
    """(560, 1000, 3) BGR: every column after the fourth over the first one, smoothed, on a logarithmic scale.

    rows: (n, columns), the first column rising
    """
    chart = Chart(1000, 560)
    axes = chart.panel(110, 60, 860, 410)
    for index, (name, values) in enumerate(zip(columns[4:], np.maximum(_smooth(rows[:, 4:]), 1e-4).T, strict=True)):
        color, dashes = _STYLES[index % len(_STYLES)]
        axes.semilogy(rows[:, 0], values, color=color, linestyle=dashes, linewidth=2, label=name)
    axes.set_xlim(0, max(float(rows[-1, 0]), 1.0))
    axes.tick_params(which="both", length=0, labelsize=points(SMALL_PX))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    font = {"family": fonts(), "size": points(SMALL_PX)}
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(_STYLES), frameon=False, labelcolor=INK, prop=font)
    chart.text("step", (540, 540), SMALL_PX, align="center")
    chart.text("loss", (20, 36), SMALL_PX)
    return chart.image()


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the running mean over a fiftieth of the rows."""
    reach = max(1, len(values) // 50)
    padded = np.concatenate([np.repeat(values[:1], reach - 1, axis=0), values])
    sums = np.cumsum(np.concatenate([np.zeros_like(values[:1]), padded]), axis=0)
    return np.asarray((sums[reach:] - sums[:-reach]) / reach)
