"""Versions of the zones and rules of a camera, and the version that the views show. No events."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from models.types import CameraZone
from storage.sql.clock import database_now
from storage.sql.database import reading, writing
from storage.sql.events.zone_rows import register_zones
from storage.sql.tables import cameras, event_versions, rules, zones

NO_CAMERA = ""  # the name of videos without a camera in the table cameras


class RuleRecord(NamedTuple):
    """A rule as it is stored. definition: JSON"""

    rule: str
    rule_version: str
    definition: str
    severity: str


@dataclass(frozen=True)
class RegisteredVersion:
    """A version in the database. rules: name -> rule_id; zones: zone_id of each, in their order"""

    event_version_id: int
    rules: dict[str, int]
    zones: tuple[int, ...]


def register_version(
    engine: Engine, version_sha256: str, records: Sequence[RuleRecord], definitions: Sequence[CameraZone]
) -> RegisteredVersion:
    """Register a version with its rules and zones, once for the same hash."""
    make = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
    values = {"version_sha256": version_sha256, "registered_at": database_now()}
    mine = select(event_versions.c.event_version_id).where(event_versions.c.version_sha256 == version_sha256)
    with writing(engine) as connection:
        new = make(event_versions).values(values).on_conflict_do_nothing(index_elements=("version_sha256",))
        created = connection.execute(new.returning(event_versions.c.event_version_id)).scalar() is not None
        event_version_id = int(connection.execute(mine).scalar_one())
        if created:
            register_zones(connection, event_version_id, definitions)
        if created and records:
            rows = [{"event_version_id": event_version_id, **record._asdict()} for record in records]
            connection.execute(insert(rules), rows)
        return _registered(connection, event_version_id)


def _registered(connection: Connection, event_version_id: int) -> RegisteredVersion:
    of_rules = select(rules.c.rule, rules.c.rule_id).where(rules.c.event_version_id == event_version_id)
    of_zones = select(zones.c.zone_id).where(zones.c.event_version_id == event_version_id).order_by(zones.c.zone_id)
    numbers = {row.rule: row.rule_id for row in connection.execute(of_rules)}
    return RegisteredVersion(event_version_id, numbers, tuple(connection.execute(of_zones).scalars()))


def shown_version(connection: Connection, camera: str) -> int | None:
    """Return the version of a camera's events that the views show."""
    return connection.execute(select(cameras.c.event_version_id).where(cameras.c.camera == camera)).scalar()


def show_version(connection: Connection, camera: str, event_version_id: int) -> None:
    """Show this version of a camera's events from now on, within the caller's transaction."""
    values = {"event_version_id": event_version_id, "since": database_now()}
    if not connection.execute(update(cameras).where(cameras.c.camera == camera).values(values)).rowcount:
        connection.execute(insert(cameras).values(camera=camera, **values))


def show_first_version(engine: Engine, camera: str, event_version_id: int) -> None:
    """Show this version where the camera has none yet."""
    make = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
    values = {"camera": camera, "event_version_id": event_version_id, "since": database_now()}
    with reading(engine) as connection:
        if shown_version(connection, camera) is not None:
            return
    with writing(engine) as connection:
        connection.execute(make(cameras).values(values).on_conflict_do_nothing(index_elements=("camera",)))
        none_shown = (cameras.c.camera == camera) & cameras.c.event_version_id.is_(None)
        connection.execute(update(cameras).where(none_shown).values(event_version_id=event_version_id))
