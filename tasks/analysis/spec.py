"""Parameters of a run of analyses, from which the command line and the flow's form are made. Imports nothing heavy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from models.spec import Option, Overrides
from tasks.analysis.params import AnalysisParams


@dataclass(frozen=True)
class AnalyzeSpec:
    """A run of analyses over stored rows."""

    since: Annotated[
        str,
        Option(
            "Only videos whose newest rows are from this day or later, such as 2026-11-23.",
            when_empty="all videos",
            pattern=r"^(\d{4}-\d{2}-\d{2})?$",
            expected="a day such as 2026-11-23",
        ),
    ] = ""
    video: Annotated[
        str,
        Option(
            "Only this video: a name from 'nightjar videos', a path, or the start of its sha256.",
            when_empty="all videos",
        ),
    ] = ""
    params: Annotated[Mapping[str, Any], Overrides(AnalysisParams, "as in the shown analysis")] = field(
        default_factory=dict
    )
