"""Claims of analyses of stored poses, like leases of segments, and what becomes of them. No tracking.

An analysis is of one video in its recording by one model version, and made by one version of the analysis. Its rows
become visible in the transaction that completes it, in which it replaces its former version, and the last rows of the
videos before it. Until then they belong to an analysis with the status `running`, which no view shows.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Engine, Select, and_, bindparam, exists, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from storage.ledger.chain import (
    DROPPED,
    AnalysisRows,
    EarlierPart,
    PlaceInRecording,
    Predecessor,
    Tail,
    add_rows,
    contains,
    drop_later,
    drop_uncontinuable,
    earlier_parts,
    fingerprint,
    has_later,
    is_made_before,
    lock_recording,
    made_from,
    of_recording,
    predecessor,
    prune_checkpoints,
    replace_tails,
)
from storage.ledger.due_analyses import Due, fingerprinted_columns
from storage.ledger.recordings import lock_arrangement
from storage.sql.analyses.pose_chunks import FramesWithPoses
from storage.sql.analyses.versions import shown_analysis_id
from storage.sql.clock import database_now
from storage.sql.database import writing
from storage.sql.tables import analyses, model_versions, recording_videos, recordings, segments, videos

IDS_AT_ONCE = 500  # in one IN (…)


class AnalysisLost(Exception):
    """The claim's lease expired and another process has taken the analysis over, or its recording has changed."""


class AnalysisClaim(NamedTuple):
    """The right to make an analysis until the lease ends, or after that until another process claims it.

    width, height: pixels of the video as shown; frames: their number
    fps: of the recording's first video, None for a single frame
    frames_per_second: sampling of the model version, None = every frame
    parts: frames of the done segments, ascending
    segments: segment_id -> attempt of these segments
    place: of the video in its recording
    former: the analysis that this one continues, None = it begins a recording
    earlier: analyses that end with rows that `former` had not decided, ascending
    """

    analysis_id: int
    video_id: int
    model_version_id: int
    analysis_version_id: int
    width: int
    height: int
    frames: int
    fps: float | None
    frames_per_second: float | None
    parts: tuple[FramesWithPoses, ...]
    segments: dict[int, int]
    place: PlaceInRecording
    made_from: str
    former: Predecessor | None
    earlier: tuple[EarlierPart, ...]

    @property
    def rows(self) -> int:
        return sum(part.people for part in self.parts)

    @property
    def chain(self) -> ColumnElement[bool]:
        """Match the analyses of the recording, in a join with recording_videos."""
        return of_recording(self.place.recording_id, self.model_version_id, self.analysis_version_id)


class AnalysisEnd(NamedTuple):
    """State of a complete analysis, for the next one.

    people, tracks: numbers of analysed poses, and of tracks
    checkpoint: bytes from which the next one continues; decided_frame: the first frame of the video whose rows it may
        replace, 0 or less if these reach back into earlier videos
    tails: the last rows of earlier videos, from this analysis
    """

    people: int
    tracks: int
    checkpoint: bytes | None = None
    decided_frame: int | None = None
    tails: Sequence[Tail] = ()


def claim_analysis(
    engine: Engine, due: Due, analysis_version_id: int, owner: str, lease_s: float
) -> AnalysisClaim | None:
    """Claim an analysis for this owner. None where it is current, or where another process makes it or one before it.

    Also None for a video that its recording has lost meanwhile.
    """
    with writing(engine) as connection:
        place = _place(connection, due)
        if place is None:
            return None
        lock_recording(connection, place.recording_id)
        done = connection.execute(_done_segments(due)).all()
        rows, mine = fingerprint(done), {row.segment_id: row.attempt for row in done}
        key = _Key(place.recording_id, due.video_id, due.model_version_id, analysis_version_id)
        chain = of_recording(key.recording_id, key.model_version_id, analysis_version_id)
        former = predecessor(connection, chain, place.position)
        made = made_from(rows, place.start_frame, place.start_s, former.made_from if former else "")
        if not done or _is_current(connection, key, chain, place, made):
            _clear_marks(connection, key, rows, mine)
            return None
        if is_made_before(connection, chain, place.position, database_now()):
            return None
        analysis_id = _start(connection, key, made, owner, lease_s)
        if analysis_id is None:
            return None
        earlier = () if former is None else earlier_parts(connection, chain, place.position, former.decided_frame)
        parts = tuple(FramesWithPoses(row.start_frame, row.stop_frame, row.people) for row in done)
        width, height, frames, fps, frames_per_second = connection.execute(_formats(due, place.recording_id)).one()
        return AnalysisClaim(
            analysis_id=analysis_id,
            video_id=due.video_id,
            model_version_id=due.model_version_id,
            analysis_version_id=analysis_version_id,
            width=width,
            height=height,
            frames=frames,
            fps=fps,
            frames_per_second=frames_per_second,
            parts=parts,
            segments=mine,
            place=place,
            made_from=made,
            former=former,
            earlier=tuple(earlier),
        )


def _place(connection: Connection, due: Due) -> PlaceInRecording | None:
    """Return the place of the video, None where the recording has it no longer."""
    recording_id = _recording_of(connection, due.video_id) if due.recording_id is None else due.recording_id
    mine = (recording_videos.c.recording_id == recording_id) & (recording_videos.c.video_id == due.video_id)
    row = connection.execute(
        select(*(recording_videos.c[name] for name in PlaceInRecording._fields)).where(mine)
    ).first()
    return None if row is None else PlaceInRecording(*row)


def _is_current(
    connection: Connection, key: "_Key", chain: ColumnElement[bool], place: PlaceInRecording, made: str
) -> bool:
    """Return whether the analysis that is done needs no other: its last rows know what follows, if anything does."""
    found = connection.execute(select(analyses.c.made_from, analyses.c.continued_by).where(key.done)).first()
    if found is None or found.made_from != made:
        return False
    return found.continued_by is None or has_later(connection, chain, place.position)


def _start(connection: Connection, key: "_Key", made: str, owner: str, lease_s: float) -> int | None:
    """Insert the row of an analysis. Returns its id, None where another process makes it."""
    connection.execute(update(analyses).where(key.running, expired()).values(DROPPED))
    values = key._asdict() | {
        "status": "running",
        "made_from": made,
        "owner": owner,
        "lease_until": database_now(lease_s),
        "started_at": database_now(),
    }
    new = _insert(connection, analyses).values(values).on_conflict_do_nothing()
    return connection.execute(new.returning(analyses.c.analysis_id)).scalar()


class _Key(NamedTuple):
    """The key of an analysis."""

    recording_id: int
    video_id: int
    model_version_id: int
    analysis_version_id: int

    @property
    def running(self) -> ColumnElement[bool]:
        return self._of & (analyses.c.status == "running")

    @property
    def done(self) -> ColumnElement[bool]:
        return self._of & (analyses.c.status == "done")

    @property
    def _of(self) -> ColumnElement[bool]:
        return and_(*(analyses.c[name] == value for name, value in self._asdict().items()))


def _done_segments(due: Due) -> Select[Any]:
    mine = (segments.c.video_id == due.video_id) & (segments.c.model_version_id == due.model_version_id)
    return select(*fingerprinted_columns()).where(mine, segments.c.status == "done").order_by(segments.c.start_frame)


def _formats(due: Due, recording_id: int) -> Select[Any]:
    first = videos.alias("first")
    of_first = (recording_videos.c.recording_id == recording_id) & (recording_videos.c.position == 0)
    fps = select(first.c.fps).join(recording_videos, recording_videos.c.video_id == first.c.video_id).where(of_first)
    columns = (videos.c.width, videos.c.height, videos.c.frames, fps.scalar_subquery())
    both = videos.join(model_versions, model_versions.c.model_version_id == due.model_version_id)
    of_all = select(*columns, model_versions.c.frames_per_second).select_from(both)
    return of_all.where(videos.c.video_id == due.video_id)


def _recording_of(connection: Connection, video_id: int) -> int:
    """Return the recording of a video; a video without one becomes a recording of its own."""
    mine = select(func.min(recording_videos.c.recording_id)).where(recording_videos.c.video_id == video_id)
    found = connection.execute(mine).scalar()
    if found is None:
        lock_arrangement(connection)
        found = connection.execute(mine).scalar()
    if found is None:
        new = insert(recordings).values(created_at=database_now()).returning(recordings.c.recording_id)
        found = connection.execute(new).scalar_one()
        connection.execute(insert(recording_videos).values(recording_id=found, video_id=video_id, position=0))
    return int(found)


def _insert(connection: Connection, table: Any) -> Any:
    return (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(table)


def expired() -> ColumnElement[bool]:
    """Match the analyses whose lease has ended."""
    return analyses.c.lease_until < database_now()


def _held(claim: AnalysisClaim) -> ColumnElement[bool]:
    return (analyses.c.analysis_id == claim.analysis_id) & (analyses.c.status == "running")


def keep_analysis(engine: Engine, claim: AnalysisClaim, lease_s: float) -> None:
    """Renew the lease. Raises AnalysisLost."""
    with writing(engine) as connection:
        _keep(connection, claim, lease_s)


def _keep(connection: Connection, claim: AnalysisClaim, lease_s: float) -> None:
    renewed = update(analyses).where(_held(claim)).values(lease_until=database_now(lease_s))
    if connection.execute(renewed).rowcount != 1:
        raise AnalysisLost


def add_analysis_rows(engine: Engine, claim: AnalysisClaim, lease_s: float, rows: AnalysisRows) -> None:
    """Add rows to a running analysis, and renew the lease, in one transaction. Raises AnalysisLost."""
    with writing(engine) as connection:
        _keep(connection, claim, lease_s)
        add_rows(connection, claim.analysis_id, claim.place.recording_id, rows)


def complete_analysis(engine: Engine, claim: AnalysisClaim, end: AnalysisEnd) -> None:
    """Show the analysis in place of its former version, with the last rows of the videos before it.

    The analyses of later videos are dropped, as they continued another one. Raises AnalysisLost.
    """
    key = _Key(claim.place.recording_id, claim.video_id, claim.model_version_id, claim.analysis_version_id)
    result = {
        "people": end.people,
        "tracks": end.tracks,
        "checkpoint": end.checkpoint,
        "decided_frame": end.decided_frame,
        "finished_at": database_now(),
    }
    with writing(engine) as connection:
        lock_recording(connection, claim.place.recording_id)
        _keep(connection, claim, 0.0)
        _refuse_other_former(connection, claim)
        replace_tails(connection, claim.place.recording_id, end.tails)
        connection.execute(update(analyses).where(key.done).values(status=None))
        done = {"status": "done", "owner": None, "lease_until": None, **result}
        connection.execute(update(analyses).where(_held(claim)).values(done))
        _mark(connection, key, drop_later(connection, claim.chain, claim.place.position))
        prune_checkpoints(connection, claim.chain, claim.place.position)
        _clear_marks(connection, key, claim.made_from, claim.segments)


def _refuse_other_former(connection: Connection, claim: AnalysisClaim) -> None:
    """Record that the former analysis is continued by this one. Raises AnalysisLost where it is another one now."""
    former = predecessor(connection, claim.chain, claim.place.position)
    if (former and former.analysis_id) != (claim.former and claim.former.analysis_id):
        raise AnalysisLost
    if former is not None:
        mine = analyses.c.analysis_id == former.analysis_id
        connection.execute(update(analyses).where(mine).values(continued_by=claim.made_from))


def drop_former(engine: Engine, claim: AnalysisClaim) -> None:
    """Drop the analysis that the claimed one would continue, as its checkpoint is removed or damaged.

    It is made again, with those before it back to the nearest checkpoint.
    """
    if claim.former is None:
        return
    key = _Key(claim.place.recording_id, claim.video_id, claim.model_version_id, claim.analysis_version_id)
    with writing(engine) as connection:
        lock_recording(connection, claim.place.recording_id)
        dropped = drop_uncontinuable(connection, claim.chain, claim.place.position, claim.former.analysis_id)
        _mark(connection, key, dropped)


def _mark(connection: Connection, key: _Key, video_ids: Sequence[int]) -> None:
    """Record that no analysis of the shown version contains the poses of these videos."""
    if shown_analysis_id(connection) not in (None, key.analysis_version_id):
        return
    for first in range(0, len(video_ids), IDS_AT_ONCE):
        theirs = segments.c.video_id.in_(video_ids[first : first + IDS_AT_ONCE]) & (segments.c.status == "done")
        mine = theirs & (segments.c.model_version_id == key.model_version_id)
        connection.execute(update(segments).where(mine).values(awaits_analysis=True))


def _clear_marks(connection: Connection, key: _Key, rows: str, attempts: dict[int, int]) -> None:
    """Record that analyses of the shown version contain these segments, if those of all the video's recordings do.

    rows: their fingerprint, or made_from of an analysis of them; attempts: segment_id -> attempt
    """
    if shown_analysis_id(connection) not in (None, key.analysis_version_id) or not attempts:
        return
    if _lacks_another(connection, key, rows):
        return
    same = (segments.c.segment_id == bindparam("of_segment")) & (segments.c.attempt == bindparam("of_attempt"))
    change = update(segments).where(same, segments.c.awaits_analysis).values(awaits_analysis=False)
    of = [{"of_segment": segment_id, "of_attempt": attempt} for segment_id, attempt in attempts.items()]
    connection.execute(change, of)


def _lacks_another(connection: Connection, key: _Key, rows: str) -> bool:
    """Return whether the video lies in another recording too, which has no analysis of these rows."""
    others = (recording_videos.c.video_id == key.video_id) & (recording_videos.c.recording_id != key.recording_id)
    theirs = of_recording(recording_videos.c.recording_id, key.model_version_id, key.analysis_version_id)
    analysed = exists().where(theirs, analyses.c.status == "done", contains(rows)).correlate(recording_videos)
    found = select(recording_videos.c.recording_id).where(others, ~analysed).limit(1)
    return connection.execute(found).first() is not None


def abandon_analysis(engine: Engine, claim: AnalysisClaim) -> None:
    """Give up a claim, so that the next process need not wait for its lease. Its rows are deleted later."""
    with writing(engine) as connection:
        connection.execute(update(analyses).where(_held(claim)).values(DROPPED))
