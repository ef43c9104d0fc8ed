"""Versions of analyses, and the one that the views show. No rows of tracks."""

from typing import NamedTuple

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from storage.sql.clock import database_now
from storage.sql.database import reading, writing
from storage.sql.tables import analysis_versions, shown_analysis

THE_ROW = 1


class AnalysisVersion(NamedTuple):
    """A version of the parameters and the code of analyses. params: JSON"""

    analysis_version_id: int
    version_sha256: str
    params: str


def register_analysis(engine: Engine, version_sha256: str, params: str) -> int:
    """Register a version. Returns its id, the same for the same hash."""
    make = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
    values = {"version_sha256": version_sha256, "params": params, "registered_at": database_now()}
    mine = select(analysis_versions.c.analysis_version_id).where(analysis_versions.c.version_sha256 == version_sha256)
    with writing(engine) as connection:
        connection.execute(
            make(analysis_versions).values(values).on_conflict_do_nothing(index_elements=("version_sha256",))
        )
        return int(connection.execute(mine).scalar_one())


def read_shown_analysis(engine: Engine) -> AnalysisVersion | None:
    """Return the version that the views show; None before the first analysis."""
    columns = (analysis_versions.c[name] for name in AnalysisVersion._fields)
    with reading(engine) as connection:
        row = connection.execute(select(*columns).join(shown_analysis)).first()
    return None if row is None else AnalysisVersion(*row)


def shown_analysis_id(connection: Connection) -> int | None:
    """Return the id of the version that the views show."""
    return connection.execute(select(shown_analysis.c.analysis_version_id)).scalar()


def show_first_analysis(engine: Engine, analysis_version_id: int) -> bool:
    """Show this version where none is shown yet. Returns whether it is shown now."""
    make = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
    values = {
        "shown_analysis_id": THE_ROW,
        "analysis_version_id": analysis_version_id,
        "since": database_now(),
    }
    with writing(engine) as connection:
        connection.execute(
            make(shown_analysis).values(values).on_conflict_do_nothing(index_elements=("shown_analysis_id",))
        )
        return shown_analysis_id(connection) == analysis_version_id


def show_analysis(connection: Connection, analysis_version_id: int) -> None:
    """Show this version from now on, within the caller's transaction."""
    values = {"analysis_version_id": analysis_version_id, "since": database_now()}
    if not connection.execute(update(shown_analysis).values(values)).rowcount:
        connection.execute(insert(shown_analysis).values(shown_analysis_id=THE_ROW, **values))
