"""Reasons why a video has no tracks."""

from storage.ledger.plan import videos_done
from storage.sql.analyses.shown_tracks import analysis_identity, count_tracks
from storage.sql.catalogue import shown_versions
from storage.sql.database import Database


def reason_for_no_tracks(engine: Database, video_id: int) -> str:
    """Return one sentence; empty where the video has tracks."""
    shown = {version.task: model_version_id for model_version_id, version in shown_versions(engine)}
    done = {task for task, model_version_id in shown.items() if video_id in videos_done(engine, model_version_id)}
    if "pose" not in done:
        if "classification" in done:
            return "A classifier labels whole frames, so nobody can be followed. Run a pose model over the archive."
        return "The shown pose model has not processed this video. Run 'nightjar run' over its archive."
    if analysis_identity(engine, video_id, shown["pose"]) is None:
        return "This video is not analysed yet. Run 'nightjar analyze'."
    if not count_tracks(engine, video_id, shown["pose"]):
        return "The model found nobody who could be followed."
    return ""
