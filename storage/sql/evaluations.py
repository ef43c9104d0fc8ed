"""Evaluations of model versions in SQL: figures with the protocol that they depend on. Measures nothing.

An evaluation is identified by its model version and its protocol: a repeated measurement is the same row.
"""

import json
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Engine, insert, select

from storage.sql.clock import database_now
from storage.sql.database import reading, writing
from storage.sql.listings import input_size
from storage.sql.tables import evaluations, model_versions


@dataclass(frozen=True)
class Evaluation:
    """Figures of a model version.

    protocol: JSON, with its hash; figures: None where the protocol has none
    inferences_per_s: None = not measured, or in doubt
    """

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
    inferences_per_s: float | None
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


def find_evaluation_id(engine: Engine, model_version_id: int, protocol_sha256: str) -> int | None:
    mine = (evaluations.c.model_version_id == model_version_id) & (evaluations.c.protocol_sha256 == protocol_sha256)
    with reading(engine) as connection:
        return connection.execute(select(evaluations.c.evaluation_id).where(mine)).scalar()


class VersionAccuracy(NamedTuple):
    """Accuracy of a model version. size: of its input, as users write it; device: of the inference"""

    version_sha256: str
    model: str
    size: str
    device: str
    ap: float
    mean_oks: float


class ComparableAccuracy(NamedTuple):
    """Accuracy of the versions that were evaluated on the same images, in the mode `multi`.

    images, people: numbers of images and of annotated people
    truth_sha256, images_sha256: of the annotations, and of the images' names and bytes
    """

    images: int
    people: int
    truth_sha256: str
    images_sha256: str
    versions: tuple[VersionAccuracy, ...]

    @property
    def ap(self) -> dict[str, float]:
        """Map version_sha256 to AP."""
        return {version.version_sha256: version.ap for version in self.versions}


NOT_EVALUATED = ComparableAccuracy(0, 0, "", "", ())


def comparable_accuracy(engine: Engine) -> ComparableAccuracy:
    """Return the models evaluated on the same annotations and images as the newest one; of each version the newest.

    Figures of different images cannot be compared, so all others are left out.
    """
    made, models = evaluations.c, model_versions.c
    columns = (models.version_sha256, models.name, models.manifest, made.device, made.ap, made.mean_oks)
    rows = (
        select(*columns, made.protocol, made.images, made.people)
        .join(model_versions, models.model_version_id == made.model_version_id)
        .where(made.mode == "multi")
        .order_by(made.evaluated_at, made.evaluation_id)
    )
    with reading(engine) as connection:
        found = connection.execute(rows).all()
    if not found:
        return NOT_EVALUATED
    newest = found[-1]
    same = {row.version_sha256: row for row in found if _pictures(row.protocol) == _pictures(newest.protocol)}
    versions = (
        VersionAccuracy(version, row.name, input_size(row.manifest), row.device, row.ap, row.mean_oks)
        for version, row in same.items()
    )
    return ComparableAccuracy(newest.images, newest.people, *_pictures(newest.protocol), tuple(versions))


def _pictures(protocol: str) -> tuple[str, str]:
    about = json.loads(protocol)
    return about["truth_sha256"], about["images_sha256"]
