"""Draws curves of losses with OpenCV, for a person to look at. No files."""

import cv2
import numpy as np
from numpy.typing import NDArray

_WIDTH, _HEIGHT = 1000, 560
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 24, 48, 64
_INK = (60, 60, 60)
_COLORS = ((40, 40, 40), (180, 105, 30), (60, 140, 40), (40, 60, 200), (160, 60, 150))  # blue, green, red
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_curves(rows: NDArray[np.float64], columns: tuple[str, ...]) -> NDArray[np.uint8]:
    """(560, 1000, 3) BGR: every column after the fourth over the first one, smoothed, on a logarithmic scale.

    rows: (n, columns), the first column rising
    """
    picture = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
    steps, values = rows[:, 0], np.maximum(_smooth(rows[:, 4:]), 1e-4)
    low, high = _limits(values)
    _axes(picture, low, high, float(steps[-1]))
    for index, name in enumerate(columns[4:]):
        color = _COLORS[index % len(_COLORS)]
        points = np.stack([_x(steps, float(steps[-1])), _y(values[:, index], low, high)], axis=1)
        cv2.polylines(picture, [np.rint(points).astype(np.int32)], False, color, 2, cv2.LINE_AA)
        at = (_LEFT + 10 + 170 * index, _TOP - 18)
        cv2.line(picture, at, (at[0] + 24, at[1]), color, 3, cv2.LINE_AA)
        cv2.putText(picture, name, (at[0] + 32, at[1] + 5), _FONT, 0.5, _INK, 1, cv2.LINE_AA)
    return picture


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A running mean over a fiftieth of the rows."""
    reach = max(1, len(values) // 50)
    padded = np.concatenate([np.repeat(values[:1], reach - 1, axis=0), values])
    sums = np.cumsum(np.concatenate([np.zeros_like(values[:1]), padded]), axis=0)
    means: NDArray[np.float64] = (sums[reach:] - sums[:-reach]) / reach
    return means


def _limits(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.log10(values.min()), np.log10(values.max())
    return float(low - 0.05), float(max(high, low + 0.1) + 0.05)


def _x(steps: NDArray[np.float64], last: float) -> NDArray[np.float64]:
    return _LEFT + steps / max(last, 1.0) * (_WIDTH - _LEFT - _RIGHT)


def _y(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    return _HEIGHT - _BOTTOM - (np.log10(values) - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)


def _axes(picture: NDArray[np.uint8], low: float, high: float, last: float) -> None:
    for power in range(int(np.floor(low)), int(np.ceil(high)) + 1):
        for digit in (1, 2, 5):
            value = digit * 10.0**power
            if low <= np.log10(value) <= high:
                y = int(_y(np.array(value), low, high))
                cv2.line(picture, (_LEFT, y), (_WIDTH - _RIGHT, y), (225, 225, 225), 1)
                cv2.putText(picture, f"{value:g}", (20, y + 5), _FONT, 0.45, _INK, 1, cv2.LINE_AA)
    for share in np.linspace(0, 1, 6):
        x = int(_x(np.array(share * last), last))
        cv2.putText(
            picture,
            f"{share * last:.0f}",
            (x - (18 if share < 1 else 44), _HEIGHT - _BOTTOM + 24),
            _FONT,
            0.45,
            _INK,
            1,
            cv2.LINE_AA,
        )
    corner = (_WIDTH - _RIGHT, _HEIGHT - _BOTTOM)
    cv2.rectangle(picture, (_LEFT, _TOP), corner, (150, 150, 150), 1)
    cv2.putText(picture, "step", (_WIDTH // 2, _HEIGHT - 16), _FONT, 0.5, _INK, 1, cv2.LINE_AA)
