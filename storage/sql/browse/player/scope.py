"""The views' queries for a few videos and any versions, at the cost of these videos.

A common table expression hides the table of its name. So a view's own SQL runs over the rows of a scope, with the
versions of a scope as the shown ones, and a page cannot differ from the view.
"""

from dataclasses import dataclass
from typing import Any

from storage.sql.views import view_queries

# Table -> the column by which its rows belong to a scope.
_OF_VIDEOS = ("videos", "segments", "pose_seconds", "classifications")
_OF_MODEL = ("segments", "pose_seconds", "classifications")


@dataclass(frozen=True)
class Scope:
    """Videos, on one clock, and the versions that are shown of them.

    video_id: of a single video; None = those at [first, last] of the recording, by position
    recording_id: whose clock is meant; None = the video is in none, and its own clock is meant
    start_s, stop_s: begin and end on the recording's clock
    """

    video_id: int | None
    recording_id: int | None
    start_s: float
    stop_s: float
    first: int = 0
    last: int = 0

    @property
    def values(self) -> dict[str, Any]:
        """Values of the placeholders of `videos`."""
        return {
            "video": self.video_id,
            "recording": self.recording_id,
            "first_position": self.first,
            "last_position": self.last,
        }

    @property
    def videos(self) -> str:
        """SQL that follows the column of a video's number."""
        if self.video_id is not None:
            return "= :video"
        return (
            "IN (SELECT m.video_id FROM recording_videos AS m WHERE m.recording_id = :recording"
            " AND m.position BETWEEN :first_position AND :last_position)"
        )


@dataclass(frozen=True)
class Versions:
    """A model version, its task, and the version of the analysis; None = nothing is analysed."""

    task: str
    model_version_id: int
    analysis_version_id: int | None = None

    @property
    def values(self) -> dict[str, Any]:
        return {"model": self.model_version_id, "task": self.task, "analysis": self.analysis_version_id}


def scoped(view: str, dialect: str, scope: Scope) -> str:
    """Return a view's SELECT over the scope, in parentheses. Placeholders: of `scope.values` and `Versions.values`

    Two kinds of rows are not hidden: those that the view looks up by a video's number, and those of events, which
    belong to the recording. Give a condition for these.
    """
    own = "main." if dialect == "sqlite" else ""  # SQLite takes the bare name for the expression itself
    parts = [
        "shown_models AS (SELECT CAST(:task AS text) AS task, CAST(:model AS integer) AS model_version_id)",
        "shown_analysis AS (SELECT 1 AS shown_analysis_id, CAST(:analysis AS integer) AS analysis_version_id)",
        "analyses AS NOT MATERIALIZED (SELECT * FROM {own}analyses WHERE recording_id = CAST(:recording AS integer))",
    ]
    for table in _OF_VIDEOS if view != "events" else ():  # an event's video may lie before the scope
        model = " AND model_version_id = :model" if table in _OF_MODEL else ""
        parts.append(
            f"{table} AS NOT MATERIALIZED (SELECT * FROM {{own}}{table} WHERE video_id {scope.videos}{model})"  # noqa: S608 # our names
        )
    query = view_queries(dialect)[view]
    begin = "WITH " + ",\n".join(parts).replace("{own}", own)
    rest = f",\n{query.removeprefix('WITH ')}" if query.startswith("WITH ") else f"\n{query}"
    return f"({begin}{rest})"
