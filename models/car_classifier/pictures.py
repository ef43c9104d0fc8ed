"""Pictures of a classifier's training and of its failures. No network, no files but the failures'.

All pictures are uint8 BGR, twice as large as a browser shows them.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.ticker import MaxNLocator, PercentFormatter

from models.car_classifier.metrics import THRESHOLD, Confusion
from models.datasets.picture import Picture, read_picture
from models.drawing.figures import (
    BLUE,
    INK,
    ORANGE,
    PALE,
    PALE_BLUE,
    PAPER,
    RED,
    SMALL_PX,
    TEAL,
    TEXT_PX,
    TITLE_PX,
    Chart,
    Image,
    bgr,
    fonts,
    points,
)
from models.drawing.people import contact_sheet
from models.drawing.text import fitting, put_text
from models.types import Epoch, Floats, Step

_GROUND, _LIGHT, _DIM = (46, 41, 38), (240, 240, 240), (175, 175, 175)

_LEFTS, _TOP = (150, 1100), 220
_PANEL_WIDTH, _PANEL_HEIGHT = 780, 610
MOST_FAILURES = 48
MOST_NEAR, NEAR = 12, 0.2
SMALL_SIDE_PX = 384  # of a failure's small copy: 20 to 40 kB
_COLUMNS = 4
_TILE_WIDTH, _TILE_HEIGHT, _TILE_TEXT = 774, 580, 128  # halved by the contact sheet: letters stay smooth


def draw_training(title: str, steps: Sequence[Step], epochs: Sequence[Epoch]) -> Image:
    """(940, 1920, 3): loss on the left, accuracy on the right, over epochs. Raises ValueError without an epoch.

    Thin: training, each step; thick, with points: the mean of each epoch, of training and of validation. The ring is
    the epoch with the lowest validation loss, whose weights the classifier has.
    """
    if not epochs:
        raise ValueError("The training has no epoch. Give one with at least one epoch.")
    chart = Chart(1920, 940)
    chart.text(title, (40, 62), TITLE_PX)
    best = min(range(len(epochs)), key=lambda place: epochs[place].validation_loss)
    loss, accuracy = (chart.panel(left, _TOP, _PANEL_WIDTH, _PANEL_HEIGHT) for left in _LEFTS)
    train, validation = [epoch.loss for epoch in epochs], [epoch.validation_loss for epoch in epochs]
    _draw_course(loss, [step.loss for step in steps], train, validation, best)
    # A few of the first steps' losses may lie above the axis, so that one peak does not flatten the rest.
    highest = max(*validation, *train, float(np.quantile([step.loss for step in steps], 0.98)))
    loss.set_ylim(0, 1.05 * highest or 1.0)
    _name_panel(chart, _LEFTS[0], "loss", f"validation of epoch {best + 1}: {validation[best]:.3g}")
    train, validation = [epoch.accuracy for epoch in epochs], [epoch.validation_accuracy for epoch in epochs]
    _draw_course(accuracy, [step.accuracy for step in steps], train, validation, best)
    lowest = min(*train, *validation)
    low = next(low for low in (0.96, 0.92, 0.8, 0.6, 0.0) if lowest > low or low == 0.0)
    accuracy.set_ylim(low, 1 + (1 - low) / 50)
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
    _name_panel(chart, _LEFTS[1], "accuracy", f"validation of epoch {best + 1}: {validation[best]:.1%}")
    chart.figure.legend(
        *loss.get_legend_handles_labels(),
        loc="upper left",
        bbox_to_anchor=(40 / chart.width, 1 - 92 / chart.height),
        borderaxespad=0,
        borderpad=0,
        ncols=4,
        frameon=False,
        labelcolor=INK,
        prop={"family": fonts(), "size": points(TEXT_PX)},
    )
    return chart.image()


def _draw_course(
    axes: Axes, by_step: Sequence[float], train: Sequence[float], validation: Sequence[float], best: int
) -> None:
    """Draw one measure over epochs, its steps spread evenly over them."""
    epochs, marker = np.arange(1, len(train) + 1), "o" if len(train) <= 60 else ""
    places = np.arange(1, len(by_step) + 1) * len(train) / len(by_step)
    axes.plot(places, by_step, color=PALE_BLUE, linewidth=1.5, label="training, each step")
    thick: dict[str, Any] = {"linewidth": 3, "marker": marker, "markersize": 9, "clip_on": False}
    axes.plot(epochs, train, color=BLUE, label="training, mean of the epoch", **thick)
    axes.plot(epochs, validation, color=ORANGE, label="validation", **thick)
    ring: dict[str, Any] = {
        "marker": "o",
        "markersize": 20,
        "markerfacecolor": "none",
        "markeredgewidth": 2.5,
        "linestyle": "none",
    }
    axes.plot([best + 1], [validation[best]], color=INK, clip_on=False, label="the epoch that is kept", **ring)
    axes.set_xlim(0, len(train))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _name_panel(chart: Chart, left: int, name: str, kept: str) -> None:
    chart.text(name, (left, _TOP - 24))
    chart.figure.text(
        (left + _PANEL_WIDTH) / chart.width,
        1 - (_TOP - 24) / chart.height,
        kept,
        color=PALE,
        ha="right",
        fontsize=points(TEXT_PX),
    )
    chart.text("epoch", (left + _PANEL_WIDTH // 2, _TOP + _PANEL_HEIGHT + 80), color=PALE, align="center")


def draw_confusion(title: str, found: Confusion) -> Image:
    """(760, 960, 3): number of pictures per true and predicted kind, darker for a larger share of the true kind."""
    chart = Chart(960, 760)
    chart.text(title, (40, 62), TITLE_PX)
    axes = chart.panel(294, 200, 630, 520)
    rows = [[found.true_positives, found.false_negatives], [found.false_positives, found.true_negatives]]
    counts = np.array(rows)
    kinds = counts.sum(axis=1)
    shares = counts / np.maximum(1, kinds)[:, None]
    colors = np.array([[to_rgb(TEAL), to_rgb(RED)], [to_rgb(RED), to_rgb(TEAL)]])
    axes.imshow(1 - (1 - colors) * (0.08 + 0.92 * shares[..., None]), aspect="auto")
    axes.set(xticks=[], yticks=[])
    axes.axhline(0.5, color=PAPER, linewidth=8)
    axes.axvline(0.5, color=PAPER, linewidth=8)
    chart.text("called", (609, 128), color=PALE, align="center")
    for place, name in enumerate(("car", "not a car")):
        chart.text(name, (294 + 157 + 315 * place, 174), align="center")
        chart.text(name, (270, 326 + 260 * place), align="right")
        chart.text(f"{kinds[place]} pictures", (270, 362 + 260 * place), SMALL_PX, PALE, "right")
    for (row, column), share in np.ndenumerate(shares):
        x, y, ink = 294 + 157 + 315 * column, 200 + 130 + 260 * row, PAPER if share > 0.6 else INK
        chart.text(f"{counts[row, column]}", (x, y), 2 * TEXT_PX, ink, "center")
        chart.text(f"{share:.1%}", (x, y + 46), TEXT_PX, ink, "center")
    return chart.image()


def failure_sheet(pictures: Sequence[Picture], scores: Floats, threshold: float = THRESHOLD) -> Image | None:
    """Draw the wrongly labelled pictures, the most confident mistakes first, at most 48; None without any.

    scores: (n,) probabilities of a car. Each tile has the file's name with its folder, the truth and the score.
    Raises PictureError for a file that is not a picture.
    """
    wrong = [index for index in range(len(pictures)) if (scores[index] >= threshold) != pictures[index].car]
    wrong.sort(key=lambda index: (-abs(float(scores[index]) - threshold), str(pictures[index].path)))
    return _sheet(pictures, scores, wrong[:MOST_FAILURES])


def near_miss_sheet(pictures: Sequence[Picture], scores: Floats, threshold: float) -> Image | None:
    """Draw the correct pictures with scores near the threshold, the nearest first; None without any."""
    return _sheet(pictures, scores, near_misses(pictures, scores, threshold))


def near_misses(pictures: Sequence[Picture], scores: Floats, threshold: float) -> list[int]:
    """Return the indices of at most 12 correct pictures within 0.2 of the threshold, the nearest first."""
    margins = [abs(float(score) - threshold) for score in scores]
    right = [index for index in range(len(pictures)) if (scores[index] >= threshold) == pictures[index].car]
    near = [index for index in right if margins[index] <= NEAR]
    return sorted(near, key=lambda index: (margins[index], str(pictures[index].path)))[:MOST_NEAR]


def _sheet(pictures: Sequence[Picture], scores: Floats, shown: Sequence[int]) -> Image | None:
    if not shown:
        return None
    tiles = [_tile(pictures[index], float(scores[index])) for index in shown]
    columns = min(_COLUMNS, len(tiles))
    margin = 10
    return contact_sheet(tiles, columns, columns * (_TILE_WIDTH // 2 + margin) + margin)


def small_jpeg(picture: Picture) -> bytes:
    """Return a picture as a JPEG of at most SMALL_SIDE_PX on its longer side, cut to its box. Raises PictureError."""
    image = read_picture(picture)[..., ::-1]
    scale = min(1.0, SMALL_SIDE_PX / max(image.shape[:2]))
    size = tuple(max(1, round(side * scale)) for side in (image.shape[1], image.shape[0]))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes())


def _tile(picture: Picture, score: float) -> Image:
    """Draw the whole picture on a dark background, above two lines of text and a bar of the score's length."""
    tile = np.full((_TILE_HEIGHT, _TILE_WIDTH, 3), _GROUND, np.uint8)
    room = _TILE_HEIGHT - _TILE_TEXT
    image = read_picture(picture)[..., ::-1]
    scale = min(_TILE_WIDTH / image.shape[1], room / image.shape[0])
    width, height = (max(1, round(side * scale)) for side in (image.shape[1], image.shape[0]))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    left, top = (_TILE_WIDTH - width) // 2, (room - height) // 2
    tile[top : top + height, left : left + width] = cv2.resize(image, (width, height), interpolation=method)
    truth = "is a car" if picture.car else "is not a car"
    cv2.rectangle(tile, (0, room), (round(score * _TILE_WIDTH), room + 8), bgr(ORANGE), cv2.FILLED)
    put_text(tile, f"{truth}, score {score:.3f}", (14, room + 54), 36, _LIGHT)
    name = fitting(f"{picture.path.parent.name}/{picture.path.name}", _TILE_WIDTH - 28, 30)
    put_text(tile, name, (14, room + 104), 30, _DIM)
    return tile
