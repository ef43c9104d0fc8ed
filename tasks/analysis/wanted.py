"""The version of the analysis that is to be made. No Prefect, no tracking: commands look here before they start."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from storage.ledger import due_analyses
from storage.sql.analyses.versions import read_shown_analysis, register_analysis, show_first_analysis
from storage.sql.database import Database
from tasks.analysis.params import AnalysisParams

ANALYSED_TASK = "pose"
NO_TRACKS = "none, because a classifier labels whole frames"
NOTHING_NEW = "nothing new"


class WantedAnalysis(NamedTuple):
    """The version of the analysis that is to be made. shown: the views show it"""

    analysis_version_id: int
    params: AnalysisParams
    shown: bool


def wanted_params(engine: Database, changes: Mapping[str, Any] | None = None) -> AnalysisParams:
    """Return the parameters of the shown analysis, the defaults before the first one, with some changes."""
    shown = read_shown_analysis(engine)
    params = AnalysisParams() if shown is None else AnalysisParams.from_json(shown.params)
    return params.replaced(changes or {})


def wanted_analysis(engine: Database, changes: Mapping[str, Any] | None = None) -> WantedAnalysis:
    """Register the wanted version. It is shown at once where none is shown yet."""
    params = wanted_params(engine, changes)
    analysis_version_id = register_analysis(engine, params.sha256(), params.to_json())
    return WantedAnalysis(analysis_version_id, params, show_first_analysis(engine, analysis_version_id))


def is_analysis_due(engine: Database, model_version_id: int) -> bool:
    """Return whether a night with this model has something to analyse, although it has nothing to infer."""
    shown = read_shown_analysis(engine)
    if shown is not None and shown.version_sha256 != AnalysisParams.from_json(shown.params).sha256():
        return True  # made by an older tracker
    return bool(due_analyses.awaiting(engine, model_version_id))
