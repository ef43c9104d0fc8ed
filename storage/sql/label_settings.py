"""Parameters of the view label_intervals, by model version. They change the intervals, never the rows below them."""

import math
from dataclasses import dataclass

from sqlalchemy import Engine, delete, insert, select

from storage.sql.database import reading, writing
from storage.sql.tables import label_settings

FIELDS = ("label", "other_label", "enter_score", "leave_score", "min_duration_s")


@dataclass(frozen=True)
class LabelSettings:
    """Hysteresis of the intervals of one of a classifier's two labels.

    enter_score: an interval of `label` begins where its probability reaches this
    leave_score: and ends before the first frame with less than this
    min_duration_s: a shorter one, from its first frame to its last, counts as `other_label`

    Raises ValueError where a value makes no sense.
    """

    label: str
    other_label: str
    enter_score: float
    leave_score: float
    min_duration_s: float = 0.0

    def __post_init__(self) -> None:
        if self.label == self.other_label:
            raise ValueError(f"Both labels are {self.label!r}. Give two different ones.")
        if not 0 <= self.leave_score <= self.enter_score <= 1:
            raise ValueError(
                f"Intervals would begin at {self.enter_score} and end below {self.leave_score}. Give two "
                "probabilities, the first no smaller than the second."
            )
        if not 0 <= self.min_duration_s < math.inf:
            raise ValueError(f"The shortest duration is {self.min_duration_s}. Give seconds, 0 or more.")


def read_label_settings(engine: Engine, model_version_id: int) -> LabelSettings | None:
    """Return the settings of a model version; None = its intervals end where the label changes."""
    mine = label_settings.c.model_version_id == model_version_id
    with reading(engine) as connection:
        found = connection.execute(select(*(label_settings.c[name] for name in FIELDS)).where(mine)).first()
    return None if found is None else LabelSettings(*found)


def set_label_settings(engine: Engine, model_version_id: int, settings: LabelSettings | None) -> None:
    """Replace the settings of a model version; None removes them."""
    with writing(engine) as connection:
        connection.execute(delete(label_settings).where(label_settings.c.model_version_id == model_version_id))
        if settings is not None:
            values = {name: getattr(settings, name) for name in FIELDS}
            connection.execute(insert(label_settings).values(model_version_id=model_version_id, **values))
