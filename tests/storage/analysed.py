"""Analyses of invented tracks, for tests of stored and shown rows. No tracker."""

import numpy as np
from sqlalchemy import Engine

from storage.ledger import analysis_claims, due_analyses
from storage.ledger.analysis_claims import AnalysisClaim, AnalysisEnd
from storage.ledger.chain import AnalysisRows
from storage.ledger.due_analyses import Due
from storage.sql.analyses.versions import register_analysis, show_first_analysis
from storage.track_rows import MOTION_HEAD, MOTION_VALUES, POSE_TRACKS, TRACKS, MotionRecords


def rows_of(claim: AnalysisClaim, first_track: int = 1) -> AnalysisRows:
    """Return tracks of people who never swap places: person 0 is the first track, person 1 the second."""
    frames = np.concatenate([np.arange(part.start_frame, part.stop_frame) for part in claim.parts])
    pose_tracks = np.empty(2 * len(frames), POSE_TRACKS)
    pose_tracks["frame"] = np.repeat(frames, 2)
    pose_tracks["person"] = np.tile([0, 1], len(frames))
    pose_tracks["track"] = pose_tracks["person"] + first_track
    head = np.zeros(len(pose_tracks), MOTION_HEAD)
    head["track"], head["frame"], head["t_s"] = pose_tracks["track"], pose_tracks["frame"], pose_tracks["frame"] / 25
    values = np.full((len(head), len(MOTION_VALUES)), np.nan, np.float32)
    values[:, 0] = head["frame"]
    tracks = np.zeros(2, TRACKS)
    tracks["track"], tracks["frames"] = [first_track, first_track + 1], len(frames)
    tracks["first_frame"], tracks["last_frame"], tracks["last_s"] = frames[0], frames[-1], frames[-1] / 25
    return AnalysisRows(pose_tracks, tracks, MotionRecords(head, values, None))


def analyse_all(engine: Engine) -> None:
    """Analyse all videos that are due, each with two people in every frame who never swap places."""
    version = register_analysis(engine, "e" * 64, "{}")
    assert show_first_analysis(engine, version)
    for due in due_analyses.awaiting(engine):
        analyse_made_up(engine, due, version)


def analyse_made_up(engine: Engine, due: Due, version: int) -> None:
    claim = analysis_claims.claim_analysis(engine, due, version, "me", 60.0)
    if claim is None:  # of a video in two recordings, one of which is analysed
        return
    analysis_claims.add_analysis_rows(engine, claim, 60.0, rows_of(claim))
    analysis_claims.complete_analysis(engine, claim, AnalysisEnd(claim.rows, 2))
