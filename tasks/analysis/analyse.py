"""The analysis of one video: poses from the database, tracks and motion back into it, with constant memory.

It continues that of the video before it in the recording, and gives that one its last rows.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import replace

from models.motion.motion import Motion
from models.motion.types import MotionRows
from models.tracking.tracker import Tracker
from models.tracking.types import TrackedPoses
from models.types import Poses
from storage.ledger.analysis_claims import (
    AnalysisClaim,
    AnalysisEnd,
    AnalysisLost,
    add_analysis_rows,
    complete_analysis,
    drop_former,
    keep_analysis,
)
from storage.ledger.chain import EarlierPart
from storage.sql.analyses.pose_chunks import read_chunks
from storage.sql.database import Database
from tasks.analysis.continued.checkpoint import AnalysisCheckpoint, read_checkpoint
from tasks.analysis.continued.video import VideoOutput
from tasks.analysis.params import AnalysisParams

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 50_000  # in one transaction, about


def analyse(engine: Database, claim: AnalysisClaim, params: AnalysisParams, lease_s: float) -> None:
    """Make the claimed analysis and show it. Raises AnalysisLost where another process has taken it over."""
    try:
        work = _Analysis(engine, claim, params, lease_s)
        for poses in work.kept():
            work.push(poses)
        end = work.finish()
    except ValueError as error:
        if claim.former is None:
            raise
        log.warning("The analysis before this video cannot be continued and is repeated: %s", error)
        drop_former(engine, claim)
        raise AnalysisLost from error
    complete_analysis(engine, claim, end)


def frame_s(claim: AnalysisClaim) -> float | None:
    """Return the seconds between processed frames; None = not known."""
    rates = [rate for rate in (claim.fps, claim.frames_per_second) if rate]
    return 1.0 / min(rates) if rates else None


class _Analysis:
    """Tracker and motion of a recording, and the rows on their way into the database."""

    def __init__(self, engine: Database, claim: AnalysisClaim, params: AnalysisParams, lease_s: float) -> None:
        self._engine, self._claim, self._params, self._lease_s = engine, claim, params, lease_s
        former = read_checkpoint(claim.former.checkpoint or b"") if claim.former else None
        self._former, step_s = former, frame_s(claim)
        size = (claim.width, claim.height)
        self._tracker = Tracker(params.track, size, step_s, former.tracker if former else None)
        self._motion = Motion(params.motion, step_s, former.motion if former else None)
        place = claim.place
        own = EarlierPart(claim.analysis_id, place.start_frame, place.start_frame + claim.frames, place.start_s)
        self._own = VideoOutput(own, params)
        summaries = former.summaries if former else {}
        self._earlier = [VideoOutput(part, params, summaries.get(part.start_frame)) for part in claim.earlier]
        self._people, self._tracks, self._renewed = 0, 0, time.monotonic()

    def kept(self) -> Iterator[Poses]:
        """Yield the video's poses on the recording's clock, and renew the lease while no rows are written."""
        claim = self._claim
        for poses in read_chunks(self._engine, claim.video_id, claim.model_version_id, claim.parts):
            if time.monotonic() - self._renewed > self._lease_s / 3:
                keep_analysis(self._engine, claim, self._lease_s)
                self._renewed = time.monotonic()
            self._people += len(poses)
            yield replace(poses, frame=poses.frame + claim.place.start_frame, t_s=poses.t_s + claim.place.start_s)

    def push(self, poses: Poses) -> None:
        self._take(self._tracker.push(poses))
        if self._own.waiting >= ROWS_AT_ONCE:
            self._write()

    def finish(self) -> AnalysisEnd:
        """Write the last rows. Returns what completes the analysis."""
        self._take(self._tracker.flush())
        self._take_motion(self._motion.flush())
        checkpoint = self._checkpoint()
        self._take(self._tracker.finish())
        self._take_motion(self._motion.finish())
        tails = [
            video.tail(self._former.pose_frame, self._former.motion_frame)
            for video in self._earlier
            if self._former is not None
        ]
        self._own.sum_up()
        self._write()
        decided = min(checkpoint.pose_frame, checkpoint.motion_frame) - self._claim.place.start_frame
        return AnalysisEnd(self._people, self._tracks, checkpoint.to_bytes(), decided, tails)

    def _checkpoint(self) -> AnalysisCheckpoint:
        """Return the present state, in which the rows from some frame on are not decided."""
        tracked, moved, end = self._tracker.undecided_from(), self._motion.undecided_from(), self._own.part.stop_frame
        pose_frame = end if tracked is None else min(tracked, end)
        motion_frame = pose_frame if moved is None else min(moved, pose_frame)  # motion is of decided tracks only
        videos = [video for video in (*self._earlier, self._own) if video.part.stop_frame > pose_frame]
        summaries = {video.part.start_frame: video.summaries.checkpoint() for video in videos}
        return AnalysisCheckpoint(
            self._tracker.checkpoint(), self._motion.checkpoint(), pose_frame, motion_frame, summaries
        )

    def _take(self, tracked: list[TrackedPoses]) -> None:
        for rows in tracked:
            for video in (*self._earlier, self._own):
                video.add_tracked(rows)
            self._take_motion(self._motion.push(rows))

    def _take_motion(self, found: list[MotionRows]) -> None:
        for rows in found:
            for video in (*self._earlier, self._own):
                video.add_motion(rows)

    def _write(self) -> None:
        rows = self._own.take_rows()
        add_analysis_rows(self._engine, self._claim, self._lease_s, rows)
        self._renewed = time.monotonic()
        self._tracks += len(rows.tracks)
