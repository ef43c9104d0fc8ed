"""Upkeep of analyses: those of processes that have ended, rows that were replaced, statistics for the planner."""

from collections.abc import Callable

from sqlalchemy import Connection, Engine, delete, func, select, text, update

from storage.ledger.analysis_claims import expired
from storage.ledger.chain import DROPPED
from storage.sql.analyses import track_records
from storage.sql.database import reading, writing
from storage.sql.tables import analyses, crossings, event_rows, event_runs, visits


def owners_of_analyses(engine: Engine) -> list[str]:
    """Return the owner of each analysis that is being made."""
    running = select(analyses.c.owner).where(analyses.c.status == "running")
    with reading(engine) as connection:
        return [owner for owner in connection.execute(running).scalars() if owner is not None]


def release_dead_analyses(engine: Engine, owner_is_dead: Callable[[str], bool]) -> int:
    """Give up the analyses of processes that have ended. Returns their number."""
    dead = [owner for owner in owners_of_analyses(engine) if owner_is_dead(owner)]
    if not dead:
        return 0
    with writing(engine) as connection:
        theirs = update(analyses).where(analyses.c.status == "running", analyses.c.owner.in_(dead))
        return connection.execute(theirs.values(DROPPED)).rowcount


def analysing(engine: Engine, analysis_version_id: int) -> list[str]:
    """Return the owners of analyses of this version that are being made."""
    running = (analyses.c.status == "running") & (analyses.c.analysis_version_id == analysis_version_id)
    with reading(engine) as connection:
        rows = connection.execute(select(analyses.c.owner).where(running, ~expired()).distinct())
        return sorted(owner for owner in rows.scalars() if owner is not None)


def count_replaced(engine: Engine) -> int:
    """Count the analyses that `delete_replaced` would delete."""
    with reading(engine) as connection:
        rows = select(func.count()).select_from(analyses).where(analyses.c.status.is_(None))
        return int(connection.execute(rows).scalar_one())


def delete_replaced(engine: Engine) -> int:
    """Delete the rows of analyses that were replaced or given up. Returns the number of these analyses."""
    replaced = analyses.c.status.is_(None)
    with reading(engine) as connection:
        found = connection.execute(select(analyses.c.analysis_id).where(replaced)).scalars().all()
    for analysis_id in found:
        while _delete_some(engine, analysis_id):
            pass
        with writing(engine) as connection:
            _delete_events(connection, analysis_id)
            connection.execute(delete(analyses).where(replaced, analyses.c.analysis_id == analysis_id))
    return len(found)


def _delete_events(connection: Connection, analysis_id: int) -> None:
    """Delete what was found in the rows of an analysis."""
    mine = select(event_runs.c.event_run_id).where(event_runs.c.analysis_id == analysis_id)
    for table in (visits, crossings, event_rows):
        connection.execute(delete(table).where(table.c.event_run_id.in_(mine)))
    connection.execute(delete(event_runs).where(event_runs.c.analysis_id == analysis_id))


def _delete_some(engine: Engine, analysis_id: int) -> bool:
    with writing(engine) as connection:
        return track_records.delete_some(connection, analysis_id)


def refresh_statistics(engine: Engine) -> None:
    """Let PostgreSQL plan queries for the rows that were added: its automatic statistics come too late.

    Of motion only the columns that joins and ranges use: statistics of all 54 take ten times as long.
    """
    if engine.dialect.name == "postgresql":
        with writing(engine) as connection:
            connection.execute(text("ANALYZE analyses, pose_tracks, tracks, motion (analysis_id, track, frame, t_s)"))
