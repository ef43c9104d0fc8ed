"""Pictures that a classifier labels wrongly, from its stored scores. Reads no file."""

from collections.abc import Sequence

from storage.sql.trainings import PredictionRow

MOST_KEPT = 200
"""Number of failures of which a training keeps a small picture."""


def failed(predictions: Sequence[PredictionRow], threshold: float) -> list[PredictionRow]:
    """Return the wrongly labelled pictures, the most confident mistakes first; none without a score."""
    wrong = [row for row in predictions if is_wrong(row, threshold)]
    return sorted(wrong, key=lambda row: (-_distance(row, threshold), row.picture, row.sha256, row.box))


def is_wrong(row: PredictionRow, threshold: float) -> bool:
    """Return whether a picture has a score and is labelled wrongly at this threshold."""
    return row.score is not None and (row.score >= threshold) != (row.label == "car")


def _distance(row: PredictionRow, threshold: float) -> float:
    return 0.0 if row.score is None else abs(row.score - threshold)
