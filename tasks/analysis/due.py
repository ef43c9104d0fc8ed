"""Due analyses: those of a night, and those of all history after a change of parameters."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from models.types import NightjarError
from storage.ledger import analysis_claims, analysis_upkeep, due_analyses
from storage.ledger.analysis_claims import AnalysisClaim, AnalysisLost
from storage.ledger.due_analyses import Due
from storage.sql.catalogue import name_of
from storage.sql.database import Database, DatabaseError, DataRefusedError
from tasks.analysis.analyse import analyse
from tasks.analysis.events import EventsMade, events_outcome
from tasks.analysis.wanted import WantedAnalysis, wanted_analysis
from tasks.runs.cancelling import signals_ignored
from tasks.site.owner import is_dead, this_owner
from tasks.text.wording import count

log = logging.getLogger(__name__)

POLL_EVERY_S = 1.0  # for analyses that other processes make
ListDue = Callable[[], list[Due]]


@dataclass
class Analysed:
    """Outcome of a run of analyses.

    failed: video -> reason; left_out: Due.key of these; shown: the views show this version
    events: of all videos that had none; None = not made yet
    """

    videos: int = 0
    rows: int = 0
    seconds: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)
    left_out: set[tuple[int, int, int | None]] = field(default_factory=set)
    shown: bool = False
    events: EventsMade | None = None


def analyse_night(engine: Database, model_version_id: int, lease_s: float, in_order: bool = False) -> Analysed:
    """Analyse the videos whose poses by this model have changed. After an update of the tracker: all videos.

    in_order: leave a video whose recording has earlier ones that are not inferred yet, as it would be analysed twice
    """
    wanted = wanted_analysis(engine)

    def list_due() -> list[Due]:
        if wanted.shown:
            return due_analyses.awaiting(engine, model_version_id, in_order)
        return due_analyses.outdated(engine, wanted.analysis_version_id)

    return analyse_due(engine, wanted, list_due, lease_s)


def analyse_history(
    engine: Database,
    changes: Mapping[str, Any],
    lease_s: float,
    since: datetime | None = None,
    video_id: int | None = None,
) -> Analysed:
    """Analyse all videos whose analysis with these parameters is missing or outdated, and then show this version.

    since, video_id: only these videos; the version is shown when all others are analysed, too
    """
    wanted = wanted_analysis(engine, changes)

    def list_due() -> list[Due]:
        found = due_analyses.outdated(engine, wanted.analysis_version_id, since)
        return [due for due in found if video_id in (None, due.video_id)]

    return analyse_due(engine, wanted, list_due, lease_s)


def analyse_due(engine: Database, wanted: WantedAnalysis, list_due: ListDue, lease_s: float) -> Analysed:
    """Analyse until nothing is due, and show the version when everything is analysed by it.

    A video that cannot be analysed is left out with a warning. Raises DatabaseError.
    """
    begun, done, owner = time.monotonic(), Analysed(), this_owner()
    # An earlier attempt of this process may have lost its database.
    analysis_upkeep.release_dead_analyses(engine, lambda other: other == owner or is_dead(other))
    _until_none_is_due(engine, wanted, list_due, lease_s, done)
    if done.rows:
        analysis_upkeep.refresh_statistics(engine)
    done.shown = wanted.shown or due_analyses.show_when_current(engine, wanted.analysis_version_id)
    analysis_upkeep.delete_replaced(engine)
    done.seconds = time.monotonic() - begun
    return done


def _until_none_is_due(
    engine: Database, wanted: WantedAnalysis, list_due: ListDue, lease_s: float, done: Analysed
) -> None:
    """Make all due analyses, and wait for those that other processes make, in case these processes end."""
    said, idle = "", 0
    while due := [each for each in list_due() if each.key not in done.left_out]:
        if sum(_analyse_one(engine, wanted, each, lease_s, done) for each in due):
            continue
        makers = ", ".join(analysis_upkeep.analysing(engine, wanted.analysis_version_id))
        idle = 0 if makers else idle + 1
        if idle > 1:  # once may be the moment between an end and the next poll
            return
        if makers and makers != said:
            log.info("Waiting for the analyses of %s", makers)
            said = makers
        time.sleep(POLL_EVERY_S if makers else 0)


def _analyse_one(engine: Database, wanted: WantedAnalysis, due: Due, lease_s: float, done: Analysed) -> bool:
    """Make one analysis. Returns False where another process makes it, or where it is current."""
    claim = analysis_claims.claim_analysis(engine, due, wanted.analysis_version_id, this_owner(), lease_s)
    if claim is None:
        return False
    try:
        analyse(engine, claim, wanted.params, lease_s)
    except AnalysisLost:
        name = name_of(engine, due.video_id)
        log.warning("The analysis of %s was taken over by another process, or its recording has changed", name)
        analysis_claims.abandon_analysis(engine, claim)
    except DatabaseError as error:
        if not isinstance(error, DataRefusedError):
            raise
        _leave_out(engine, due, claim, error, done)
    except Exception as error:
        _leave_out(engine, due, claim, error, done)
    except BaseException:
        with signals_ignored():
            analysis_claims.abandon_analysis(engine, claim)
        raise
    else:
        done.videos, done.rows = done.videos + 1, done.rows + claim.rows
    return True


def _leave_out(engine: Database, due: Due, claim: AnalysisClaim, error: Exception, done: Analysed) -> None:
    name = name_of(engine, due.video_id)
    done.failed[name] = str(error) or type(error).__name__
    done.left_out.add(due.key)
    analysis_claims.abandon_analysis(engine, claim)
    log.warning("%s cannot be analysed: %s", name, done.failed[name], exc_info=not isinstance(error, NightjarError))


def outcome(done: Analysed) -> str:
    """Describe the outcome in one line."""
    text = f"{count(done.videos, 'video')} analysed, {count(done.rows, 'person-frame')} in {done.seconds:.1f} s"
    text = f"{text}, {len(done.failed)} failed" if done.failed else text
    return text if done.events is None else f"{text}; {events_outcome(done.events)}"
