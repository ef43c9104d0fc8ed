"""Model versions and analyses of a video, and the ones that a page shows of it. Read only."""

import hashlib
from typing import NamedTuple

from sqlalchemy import Connection, Engine, case, func, select

from storage.sql.analyses.versions import shown_analysis_id
from storage.sql.browse.player.scope import Versions
from storage.sql.database import reading
from storage.sql.tables import (
    analyses,
    analysis_versions,
    model_versions,
    segments,
    shown_analysis,
    shown_models,
)

SHORT = 12  # digits of a version's hash, as everywhere
FINAL = ("done", "quarantined")


class ModelChoice(NamedTuple):
    """A model version with segments of a video. version: first digits of its hash; shown: in the views"""

    id: int
    name: str
    version: str
    task: str
    shown: bool
    frames_done: int


class AnalysisChoice(NamedTuple):
    """A version of the analysis that a video has. models: ids of the model versions whose poses it is of"""

    id: int
    name: str
    shown: bool
    models: list[int]


class Selection(NamedTuple):
    """The rows of a video that a page shows.

    task: of the model; analysis_version_id: None = nothing is analysed yet
    analysis_id: the analysis of this video; None = it has none by this version
    recording_id: None = the video is in no recording yet
    """

    video_id: int
    model_version_id: int
    task: str
    analysis_version_id: int | None
    analysis_id: int | None
    recording_id: int | None


def models_of(engine: Engine, video_id: int) -> list[ModelChoice]:
    """Return the model versions that the video was planned for: shown ones first, poses before labels, newest first."""
    with reading(engine) as connection:
        return _models(connection, video_id)


def _models(connection: Connection, video_id: int) -> list[ModelChoice]:
    model = model_versions.c
    planned = (
        select(segments.c.model_version_id, func.coalesce(func.sum(segments.c.frames_done), 0).label("frames_done"))
        .where(segments.c.video_id == video_id)
        .group_by(segments.c.model_version_id)
        .subquery()
    )
    shown = shown_models.c.model_version_id.is_not(None)
    columns = (model.model_version_id, model.name, model.version_sha256, model.task, shown, planned.c.frames_done)
    found = (
        select(*columns)
        .join(planned, planned.c.model_version_id == model.model_version_id)
        .outerjoin(shown_models, shown_models.c.model_version_id == model.model_version_id)
        .order_by(case((shown, 0), else_=1), model.task.desc(), model.model_version_id.desc())
    )
    return [
        ModelChoice(row[0], row[1], row[2][:SHORT], row[3], bool(row[4]), int(row[5]))
        for row in connection.execute(found)
    ]


def analyses_of(engine: Engine, video_id: int, recording_id: int | None) -> list[AnalysisChoice]:
    """Return the versions by which the video is analysed in its recording: the shown one first, then newest first."""
    version = analysis_versions.c
    mine = (analyses.c.video_id == video_id) & (analyses.c.recording_id == recording_id)
    shown = shown_analysis.c.analysis_version_id.is_not(None)
    found = (
        select(version.analysis_version_id, version.version_sha256, shown, analyses.c.model_version_id)
        .join(analyses, analyses.c.analysis_version_id == version.analysis_version_id)
        .outerjoin(shown_analysis, shown_analysis.c.analysis_version_id == version.analysis_version_id)
        .where(mine, analyses.c.status == "done")
        .order_by(case((shown, 0), else_=1), version.analysis_version_id.desc(), analyses.c.model_version_id)
    )
    choices: dict[int, AnalysisChoice] = {}
    with reading(engine) as connection:
        for row in connection.execute(found):
            new = AnalysisChoice(row[0], row[1][:SHORT], bool(row[2]), [])
            choices.setdefault(row[0], new).models.append(row[3])
    return list(choices.values())


def select_rows(
    engine: Engine,
    video: tuple[int, int | None],
    model_version_id: int | None = None,
    analysis_version_id: int | None = None,
    task: str | None = None,
) -> Selection | None:
    """Return the rows that are meant; None if the video was never planned for such a model.

    video: video_id and recording_id
    model_version_id: None = the shown one, of poses rather than labels; without a shown one the newest
    analysis_version_id: None = the shown one
    task: None = any; else only a model of this task
    """
    with reading(engine) as connection:
        choices = [
            choice
            for choice in _models(connection, video[0])
            if model_version_id in (None, choice.id) and task in (None, choice.task)
        ]
        if not choices:
            return None
        version = analysis_version_id or shown_analysis_id(connection)
        analysis_id = _analysis_of(connection, video, choices[0].id, version)
    return Selection(video[0], choices[0].id, choices[0].task, version, analysis_id, video[1])


def model_named(
    engine: Engine, model_version_id: int | None, analysis_version_id: int | None, task: str | None = None
) -> Versions | None:
    """Return the versions that are meant, of any video: the given ones, else the shown ones. None = there is no such.

    task: of the shown model; None = poses, or labels if there are only these
    """
    model = select(model_versions.c.task, model_versions.c.model_version_id)
    if model_version_id is not None:
        model = model.where(model_versions.c.model_version_id == model_version_id)
    else:
        model = model.join(shown_models, shown_models.c.model_version_id == model_versions.c.model_version_id)
        model = model.order_by(model_versions.c.task.desc())
    if task is not None:
        model = model.where(model_versions.c.task == task)
    with reading(engine) as connection:
        row = connection.execute(model).first()
        version = analysis_version_id or shown_analysis_id(connection)
    return None if row is None else Versions(row[0], row[1], version)


def _analysis_of(
    connection: Connection, video: tuple[int, int | None], model_version_id: int, analysis_version_id: int | None
) -> int | None:
    key = {"video_id": video[0], "recording_id": video[1], "model_version_id": model_version_id}
    key |= {"analysis_version_id": analysis_version_id}
    mine = [analyses.c[name] == value for name, value in key.items()]
    return connection.execute(select(analyses.c.analysis_id).where(*mine, analyses.c.status == "done")).scalar()


def rows_stamp(engine: Engine, selection: Selection) -> str:
    """Return a name for the rows of a selection, which is another one as soon as any of them changes.

    Read it before the rows: then rows under an old stamp may be newer than it, never older.
    """
    ledger = [segments.c[name] for name in ("segment_id", "status", "attempt", "people", "result_sha256")]
    mine = (segments.c.video_id == selection.video_id) & (segments.c.model_version_id == selection.model_version_id)
    made = (analyses.c.analysis_id, analyses.c.made_from, analyses.c.continued_by)
    with reading(engine) as connection:
        final = connection.execute(select(*ledger).where(mine, segments.c.status.in_(FINAL)).order_by(ledger[0])).all()
        analysis = connection.execute(select(*made).where(analyses.c.analysis_id == selection.analysis_id)).first()
    lines = [repr(tuple(row)) for row in (selection, *final, analysis or ())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]
