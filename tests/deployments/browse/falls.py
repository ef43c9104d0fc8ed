"""A recording of two files with events, one of which has its peak in the second file: without a tracker or a film."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, insert, text

from models.types import KEYPOINT_NAMES, CameraZone
from storage.sql.database import writing
from storage.sql.tables import event_rows, event_runs, pose_tracks, poses, rules
from tests.storage.samples import record_file
from tests.storage.sql.events.site import FILE_S, NOW, Site, new_version, show

POINTS = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))
HOSTILE = "<img src=x onerror=\"document.title='owned'\">' \u202e🎥.mp4"
HOSTILE_CAMERA = "<script>document.title='owned'</script>&amp;"
PEAK_FRAME = 1250


@dataclass(frozen=True)
class Fall:
    """An event of the recording. Seconds are those of the recording; peak_position: file of the peak"""

    rule: str
    from_s: float
    to_s: float
    peak_s: float
    peak_position: int
    peak_frame: int
    track: int | None = 1
    severity: str = "critical"


ACROSS = Fall("fall", 590.0, 660.0, FILE_S + 50.0, 1, PEAK_FRAME)
FIRST = Fall("hand_raised", 20.0, 22.0, 21.0, 0, 525, severity="info")
FRAMES_RULE = Fall("crowd", 30.0, 31.0, 30.5, 0, 762, track=None, severity="warning")
ALL = (ACROSS, FIRST, FRAMES_RULE)


def recorded_falls(engine: Engine, camera: str = HOSTILE_CAMERA, name: str = HOSTILE) -> Site:
    """Store the recording with its events, and two people in the frame of ACROSS's peak, the first of them track 1."""
    site = Site(engine, camera=camera, files=2)
    for position, video_id in enumerate(site.video_ids):
        record_file(engine, "archive/", f"{position} {name}", 1, "e", video_id=video_id)
    add_events(site, "v1" * 16, ALL)
    with writing(engine) as connection:
        for person, x in enumerate((100.0, 400.0)):
            connection.execute(insert(poses).values(_pose(site, person, x)))
        row = {"analysis_id": site.analysis_ids[1], "frame": PEAK_FRAME, "person": 0, "track": 1}
        connection.execute(insert(pose_tracks).values(row))
    return site


def _pose(site: Site, person: int, x: float) -> dict[str, Any]:
    places = {f"{name}_{axis}": x + 10 * at for at, name in enumerate(KEYPOINT_NAMES) for axis in ("x", "y", "score")}
    places |= {f"{name}_score": 0.5 for name in KEYPOINT_NAMES}
    key = {"video_id": site.video_ids[1], "model_version_id": site.model, "frame": PEAK_FRAME, "person": person}
    return {**key, "t_s": PEAK_FRAME / 25, "score": 0.9 - person / 10, **places}


def add_events(site: Site, rule_version: str, events: tuple[Fall, ...], name: str = "") -> None:
    """Show these events of a version of the camera's rules, in place of the former ones."""
    version, _ = new_version(site.engine, name or rule_version, [CameraZone("floor", "area", "polygon", POINTS)])
    with writing(site.engine) as connection:
        rule_ids = {}
        for rule in {event.rule: event for event in events}.values():
            values = {"rule": rule.rule, "rule_version": rule_version, "definition": "{}", "severity": rule.severity}
            made = insert(rules).values(event_version_id=version, **values).returning(rules.c.rule_id)
            rule_ids[rule.rule] = connection.execute(made).scalar_one()
        for position, analysis_id in enumerate(site.analysis_ids):
            whose = {"analysis_id": analysis_id, "event_version_id": version, "finished_at": NOW}
            made = insert(event_runs).values(whose).returning(event_runs.c.event_run_id)
            run = connection.execute(made).scalar_one()
            for event in events:
                if event.to_s // FILE_S == position:
                    row = _event(site, event, rule_ids[event.rule], rule_version)
                    connection.execute(insert(event_rows).values(event_run_id=run, **row))
    show(site.engine, site.camera, version)


def _event(site: Site, event: Fall, rule_id: int, rule_version: str) -> dict[str, Any]:
    return {
        "event_key": key_of(event, rule_version),
        "rule_id": rule_id,
        "track": event.track,
        "video_id": site.video_ids[int(event.from_s // FILE_S)],
        "from_s": event.from_s,
        "to_s": event.to_s,
        "peak_s": event.peak_s,
        "peak_video_id": site.video_ids[event.peak_position],
        "peak_frame": event.peak_frame,
        "score": 0.75,
    }


def key_of(event: Fall, rule_version: str = "v1" * 16) -> str:
    """Return the key of an event: it depends on the rule's version and on what happened."""
    return f"{event.rule}-{rule_version[:8]}-{event.from_s:.0f}"


def contents(engine: Engine) -> dict[str, int]:
    """Return the number of rows of every table and the names of all objects, to prove that nothing was changed."""
    kind = "sqlite_master" if engine.dialect.name == "sqlite" else "pg_class"
    column = "name" if kind == "sqlite_master" else "relname"
    with engine.connect() as connection:
        names = connection.execute(text(f"SELECT {column} FROM {kind} ORDER BY {column}")).scalars().all()
        counted = ("videos", "poses", "event_rows", "event_marks", "rules", "archive_files", "alembic_version")
        counts = {name: connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in counted}
        return {**dict.fromkeys(map(str, names), 0), **counts}
