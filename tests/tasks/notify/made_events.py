"""Invented events in a real database, by the tables that the rules write."""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Engine, insert, select, update

from storage.ledger import due_analyses
from storage.ledger.batches import finish_batch
from storage.ledger.commit import commit_segment
from storage.ledger.leases import claim
from storage.sql.analyses.versions import register_analysis, show_analysis
from storage.sql.catalogue import show_when_complete
from storage.sql.clock import database_now
from storage.sql.database import reading, writing
from storage.sql.tables import analyses as analysis_rows
from storage.sql.tables import cameras, event_rows, event_runs, event_versions, messages, recordings, rules
from tests.storage.analysed import analyse_made_up
from tests.storage.samples import make_poses, make_report, make_video, planned_batch

RULES = {"fall": "critical", "hand_raised": "warning", "running": "info"}


@dataclass(frozen=True)
class MadeUpNight:
    """A batch that has ended, with one analysed video. camera: of its recording"""

    engine: Engine
    video_id: int
    batch_id: int
    analysis_id: int

    @property
    def camera(self) -> str:
        return "back door"


def night(engine: Engine, video: str = "a", *, over: bool = True) -> MadeUpNight:
    """Run a batch over one video of 20 frames with two people, and analyse it."""
    video_id, model_version_id, batch_id = planned_batch(engine, make_video(video * 64, 20))
    while (mine := claim(engine, batch_id, "me", 60)) is not None:
        rows = make_poses(mine.segment.start_frame, mine.segment.stop_frame)
        assert commit_segment(engine, mine, rows, make_report(mine.segment.frames))
    if over:
        finish_batch(engine, batch_id)
    show_when_complete(engine, "pose", model_version_id)
    version = register_analysis(engine, "e" * 64, "{}")
    for due in due_analyses.awaiting(engine):
        analyse_made_up(engine, due, version)
    with writing(engine) as connection:
        show_analysis(connection, version)
        done = (analysis_rows.c.video_id == video_id) & (analysis_rows.c.status == "done")
        analysis_id, recording_id = connection.execute(
            select(analysis_rows.c.analysis_id, analysis_rows.c.recording_id).where(done)
        ).one()
        connection.execute(
            update(recordings).where(recordings.c.recording_id == recording_id).values(camera="back door")
        )
    return MadeUpNight(engine, video_id, batch_id, analysis_id)


def evaluate(made: MadeUpNight, names: list[str], version: str = "1") -> None:
    """Write events of these rules for the video, by this version of the rules, and show them."""
    with writing(made.engine) as connection:
        values = {"version_sha256": version * 64, "registered_at": database_now()}
        known = select(event_versions.c.event_version_id).where(event_versions.c.version_sha256 == version * 64)
        version_id = connection.execute(known).scalar()
        if version_id is None:
            version_id = connection.execute(
                insert(event_versions).values(values).returning(event_versions.c.event_version_id)
            ).scalar_one()
            for rule, severity in RULES.items():
                definition = {"rule": rule, "rule_version": version, "definition": "{}", "severity": severity}
                connection.execute(insert(rules).values(**definition, event_version_id=version_id))
        run = {"analysis_id": made.analysis_id, "event_version_id": version_id, "finished_at": database_now()}
        run_id = connection.execute(insert(event_runs).values(run).returning(event_runs.c.event_run_id)).scalar_one()
        for number, name in enumerate(names):
            of_rule = (rules.c.rule == name) & (rules.c.event_version_id == version_id)
            rule_id = connection.execute(select(rules.c.rule_id).where(of_rule)).scalar_one()
            event = {
                "event_run_id": run_id,
                "event_key": f"{version}-{made.video_id}-{number}",
                "rule_id": rule_id,
                "video_id": made.video_id,
                "track": 1,
                "from_s": number / 10,
                "to_s": number / 10 + 2.0,
                "peak_s": 0.2,
                "peak_video_id": made.video_id,
                "peak_frame": 5,
                "score": 0.9,
            }
            connection.execute(insert(event_rows).values(event))
        camera = connection.execute(select(cameras.c.camera).where(cameras.c.camera == made.camera)).scalar()
        if camera is None:
            connection.execute(insert(cameras).values(camera=made.camera, since=database_now()))
        shown = {"event_version_id": version_id, "since": database_now()}
        connection.execute(update(cameras).where(cameras.c.camera == made.camera).values(shown))


def numbers(engine: Engine) -> dict[tuple[str, str], int]:
    """Return (kind, status) -> number of messages."""
    with reading(engine) as connection:
        rows = connection.execute(select(messages.c.kind, messages.c.status))
        return dict(Counter((row[0], row[1]) for row in rows))
