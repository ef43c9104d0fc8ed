"""Evaluations of model versions in SQL: figures with the protocol that they depend on. Measures nothing.

An evaluation is identified by its model version and its protocol: a repeated measurement is the same row.
"""

import json
from dataclasses import dataclass

from sqlalchemy import Engine, insert, select

from storage.sql.clock import database_now
from storage.sql.database import reading, writing
from storage.sql.tables import evaluations, model_versions


@dataclass(frozen=True)
class Evaluation:
    """Figures of a model version. protocol: JSON, with its hash; figures: None where the protocol has none."""

    protocol_sha256: str
    protocol: str
    mode: str
    images: int
    people: int
    mean_oks: float
    ap: float | None
    ap50: float | None
    ap75: float | None
    ar: float | None
    pck: float | None
    inferences_per_s: float
    device: str
    precision: str


FIELDS = tuple(Evaluation.__dataclass_fields__)


def record_evaluation(engine: Engine, model_version_id: int, evaluation: Evaluation) -> Evaluation:
    """Store an evaluation unless its model version and protocol have one. Returns the stored one."""
    mine = (evaluations.c.model_version_id == model_version_id) & (
        evaluations.c.protocol_sha256 == evaluation.protocol_sha256
    )
    with writing(engine) as connection:
        if connection.execute(select(evaluations.c.evaluation_id).where(mine)).first() is None:
            values = {**vars(evaluation), "model_version_id": model_version_id, "evaluated_at": database_now()}
            connection.execute(insert(evaluations).values(values))
    found = find_evaluation(engine, model_version_id, evaluation.protocol_sha256)
    assert found is not None
    return found


def find_evaluation(engine: Engine, model_version_id: int, protocol_sha256: str) -> Evaluation | None:
    columns = (evaluations.c[field] for field in FIELDS)
    mine = (evaluations.c.model_version_id == model_version_id) & (evaluations.c.protocol_sha256 == protocol_sha256)
    with reading(engine) as connection:
        row = connection.execute(select(*columns).where(mine)).first()
    return None if row is None else Evaluation(*row)


def comparable_accuracy(engine: Engine) -> dict[str, float]:
    """Map version_sha256 to AP for models evaluated on the same annotations and images as the newest one.

    Figures of different images cannot be compared, so all others are left out.
    """
    columns = (model_versions.c.version_sha256, evaluations.c.protocol, evaluations.c.ap)
    rows = (
        select(*columns)
        .join(model_versions, model_versions.c.model_version_id == evaluations.c.model_version_id)
        .where(evaluations.c.mode == "multi")
        .order_by(evaluations.c.evaluated_at, evaluations.c.evaluation_id)
    )
    with reading(engine) as connection:
        found = [(version, _pictures(protocol), ap) for version, protocol, ap in connection.execute(rows)]
    return {version: ap for version, pictures, ap in found if pictures == found[-1][1]}


def _pictures(protocol: str) -> tuple[str, str]:
    about = json.loads(protocol)
    return about["truth_sha256"], about["images_sha256"]
