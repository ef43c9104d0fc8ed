"""Pictures of a classifier's training and of its failures. numpy and OpenCV: no network, no files but the failures'.

All pictures are uint8 BGR, twice as large as a browser shows them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.car_classifier.checkpoint import Epoch, Step
from models.car_classifier.metrics import THRESHOLD, Confusion
from models.datasets.picture import Picture, read_picture
from models.drawing.people import contact_sheet
from models.drawing.text import (
    GRID,
    INK,
    PALE,
    PAPER,
    Color,
    Image,
    put_centred,
    put_right,
    put_text,
    round_up,
    text_width,
)
from models.types import Floats

_TRAIN, _TRAIN_PALE = (180, 105, 30), (235, 206, 170)  # blue
_VALIDATION = (40, 120, 235)  # orange
_RIGHT, _WRONG = (150, 165, 50), (50, 60, 205)  # teal, red
_GROUND, _LIGHT, _DIM = (46, 41, 38), (240, 240, 240), (175, 175, 175)

_WIDTH, _HEIGHT = 1920, 940
_LEFTS, _PANEL_WIDTH = (150, 1100), 780
_TOP, _FLOOR = 220, 830
MOST_FAILURES = 48
MOST_NEAR, NEAR = 12, 0.2
_COLUMNS = 4
_TILE_WIDTH, _TILE_HEIGHT, _TILE_TEXT = 774, 580, 128  # halved by the contact sheet: letters stay smooth


def draw_training(title: str, steps: Sequence[Step], epochs: Sequence[Epoch]) -> Image:
    """(940, 1920, 3): loss on the left, accuracy on the right, over epochs. Raises ValueError without an epoch.

    Thin: training, each step; thick, with points: the mean of each epoch, of training and of validation. The ring is
    the epoch with the lowest validation loss, whose weights the classifier has.
    """
    if not epochs:
        raise ValueError("no epoch was given, expected a training with at least one")
    picture = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
    put_text(picture, title, (40, 62), 1.15, INK, 2)
    _legend(picture)
    best = min(range(len(epochs)), key=lambda place: epochs[place].validation_loss)
    train, validation = [epoch.loss for epoch in epochs], [epoch.validation_loss for epoch in epochs]
    # Some of the first steps' losses may lie above: a peak shall not flatten all the rest.
    top = round_up(max(*validation, *train, float(np.quantile([step.loss for step in steps], 0.98))))
    loss = _Panel(picture, "loss", _LEFTS[0], (0.0, top), steps[-1].step, len(epochs))
    loss.draw([step.loss for step in steps], train, validation, best)
    train, validation = [epoch.accuracy for epoch in epochs], [epoch.validation_accuracy for epoch in epochs]
    lowest = min(*train, *validation)
    low = next(low for low in (0.96, 0.92, 0.8, 0.6, 0.0) if lowest > low or low == 0.0)  # round quarters up to 1
    accuracy = _Panel(picture, "accuracy", _LEFTS[1], (low, 1.0), steps[-1].step, len(epochs))
    accuracy.draw([step.accuracy for step in steps], train, validation, best)
    return picture


def _legend(picture: Image) -> None:
    x, y = 40, 124
    for label, color, thickness in (
        ("training, each step", _TRAIN_PALE, 2),
        ("training, mean of the epoch", _TRAIN, 4),
        ("validation", _VALIDATION, 4),
    ):
        cv2.line(picture, (x, y - 8), (x + 60, y - 8), color, thickness, cv2.LINE_AA)
        if color != _TRAIN_PALE:
            cv2.circle(picture, (x + 30, y - 8), 8, color, cv2.FILLED, cv2.LINE_AA)
        put_text(picture, label, (x + 76, y), 0.8, INK, 2)
        x += 76 + text_width(label, 0.8, 2) + 56
    cv2.circle(picture, (x + 20, y - 8), 15, INK, 3, cv2.LINE_AA)
    put_text(picture, "the epoch that is kept", (x + 50, y), 0.8, INK, 2)


@dataclass(frozen=True, eq=False)
class _Panel:
    """A part of a picture with axes.

    name: loss or accuracy; limits: the values at its floor and at its top; steps: how many lie in it
    """

    picture: Image
    name: str
    left: int
    limits: tuple[float, float]
    steps: int
    epochs: int

    def draw(self, by_step: Sequence[float], train: Sequence[float], validation: Sequence[float], best: int) -> None:
        self._axes()
        each_step = self._places(np.arange(1, len(by_step) + 1), by_step)
        cv2.polylines(self.picture, [each_step], False, _TRAIN_PALE, 2, cv2.LINE_AA)
        ends = np.arange(1, self.epochs + 1) * self.steps / self.epochs
        for values, color in ((train, _TRAIN), (validation, _VALIDATION)):
            places = self._places(ends, values)
            cv2.polylines(self.picture, [places], False, color, 4, cv2.LINE_AA)
            for place in places if self.epochs <= 60 else ():
                cv2.circle(self.picture, place.tolist(), 8, color, cv2.FILLED, cv2.LINE_AA)
        x, y = self._places(ends, validation)[best].tolist()
        cv2.circle(self.picture, (x, y), 17, PAPER, 7, cv2.LINE_AA)
        cv2.circle(self.picture, (x, y), 17, INK, 3, cv2.LINE_AA)
        kept = f"validation of epoch {best + 1}: {self._written(validation[best])}"
        put_right(self.picture, kept, (self.left + _PANEL_WIDTH, _TOP - 30), 0.8, PALE)

    def _written(self, value: float) -> str:
        return f"{value:.1%}" if self.name == "accuracy" else f"{value:.3g}"

    def _axes(self) -> None:
        low, high = self.limits
        put_text(self.picture, self.name, (self.left, _TOP - 30), 0.95, INK, 2)
        for value in np.linspace(low, high, 5):
            y = int(self._places([0], [value])[0, 1])
            cv2.line(self.picture, (self.left, y), (self.left + _PANEL_WIDTH, y), GRID, 2)
            label = f"{value:.0%}" if self.name == "accuracy" else f"{value:g}"
            put_right(self.picture, label, (self.left - 18, y + 10), 0.8, INK)
        every = int(round_up(self.epochs / 10)) if self.epochs > 10 else 1
        for epoch in range(every, self.epochs + 1, every):
            x = int(self._places([epoch * self.steps / self.epochs], [low])[0, 0])
            cv2.line(self.picture, (x, _FLOOR), (x, _FLOOR + 10), PALE, 2)
            put_centred(self.picture, str(epoch), (x, _FLOOR + 46), 0.8, INK)
        put_centred(self.picture, "epoch", (self.left + _PANEL_WIDTH // 2, _FLOOR + 86), 0.8, PALE)

    def _places(self, steps: ArrayLike, values: ArrayLike) -> NDArray[np.int32]:
        """(n, 2) pixels; what lies beyond the limits lies at them."""
        low, high = self.limits
        share = np.clip((np.asarray(values) - low) / (high - low), 0.0, 1.0)
        x = self.left + np.asarray(steps) / self.steps * _PANEL_WIDTH
        places: NDArray[np.int32] = np.rint(np.stack([x, _FLOOR - share * (_FLOOR - _TOP)], axis=1)).astype(np.int32)
        return places


def draw_confusion(title: str, found: Confusion) -> Image:
    """(760, 960, 3): how many pictures of each kind were called what, darker the larger the share of their kind."""
    picture = np.full((760, 960, 3), 255, np.uint8)
    put_text(picture, title, (40, 62), 1.0, INK, 2)
    put_centred(picture, "called", (610, 128), 0.8, PALE)
    rows = (
        ("car", (found.true_positives, found.false_negatives), (_RIGHT, _WRONG)),
        ("not a car", (found.false_positives, found.true_negatives), (_WRONG, _RIGHT)),
    )
    for column, called in enumerate(("car", "not a car")):
        put_centred(picture, called, (450 + 320 * column, 174), 0.9, INK)
    for row, (kind, counts, colors) in enumerate(rows):
        top = 200 + 265 * row
        put_right(picture, kind, (264, top + 136), 0.9, INK)
        put_right(picture, f"{sum(counts)} pictures", (264, top + 174), 0.7, PALE)
        for column, (count, color) in enumerate(zip(counts, colors, strict=True)):
            share = count / max(1, sum(counts))
            corner = (294 + 320 * column, top)
            cv2.rectangle(picture, corner, (corner[0] + 310, top + 255), _mixed(color, share), cv2.FILLED)
            ink = PAPER if share > 0.6 else INK
            put_centred(picture, str(count), (corner[0] + 155, top + 138), 1.7, ink, 3)
            put_centred(picture, f"{share:.1%}", (corner[0] + 155, top + 190), 0.8, ink)
    return picture


def _mixed(color: Color, share: float) -> Color:
    """From nearly white to the colour."""
    blue, green, red = (round(255 - (255 - part) * (0.08 + 0.92 * share)) for part in color)
    return blue, green, red


def failure_sheet(pictures: Sequence[Picture], scores: Floats, threshold: float = THRESHOLD) -> Image | None:
    """Draw the pictures that were called what they are not, the surest mistakes first, at most 48; None without any.

    scores: (n,) probabilities of a car. Each tile has the file's name with its folder, the truth and the score.
    Raises PictureError for a file that is not a picture.
    """
    wrong = [index for index in range(len(pictures)) if (scores[index] >= threshold) != pictures[index].car]
    wrong.sort(key=lambda index: (-abs(float(scores[index]) - threshold), str(pictures[index].path)))
    return _sheet(pictures, scores, wrong[:MOST_FAILURES])


def near_miss_sheet(pictures: Sequence[Picture], scores: Floats, threshold: float) -> Image | None:
    """Draw the pictures that were called right and hardly so, the nearest to the threshold first; None without any."""
    return _sheet(pictures, scores, near_misses(pictures, scores, threshold))


def near_misses(pictures: Sequence[Picture], scores: Floats, threshold: float) -> list[int]:
    """Return the indices of at most 12 pictures that are right and within 0.2 of the threshold, the nearest first."""
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


def _tile(picture: Picture, score: float) -> Image:
    """The picture whole on a dark ground, two lines below it, and a bar as long as the score."""
    tile = np.full((_TILE_HEIGHT, _TILE_WIDTH, 3), _GROUND, np.uint8)
    room = _TILE_HEIGHT - _TILE_TEXT
    image = read_picture(picture)[..., ::-1]
    scale = min(_TILE_WIDTH / image.shape[1], room / image.shape[0])
    width, height = (max(1, round(side * scale)) for side in (image.shape[1], image.shape[0]))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    left, top = (_TILE_WIDTH - width) // 2, (room - height) // 2
    tile[top : top + height, left : left + width] = cv2.resize(image, (width, height), interpolation=method)
    truth = "is a car" if picture.car else "is not a car"
    cv2.rectangle(tile, (0, room), (round(score * _TILE_WIDTH), room + 8), _VALIDATION, cv2.FILLED)
    put_text(tile, f"{truth}, score {score:.3f}", (14, room + 56), 1.15, _LIGHT, 2)
    put_text(tile, _short(f"{picture.path.parent.name}/{picture.path.name}"), (14, room + 106), 0.95, _DIM, 2)
    return tile


def _short(name: str) -> str:
    """Its end, where it does not fit a tile."""
    while text_width(name, 0.95, 2) > _TILE_WIDTH - 28:
        name = f"...{name[4:]}"
    return name
