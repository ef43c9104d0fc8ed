"""The rules and zones of a camera, and their version in the database. No rows."""

import hashlib
from dataclasses import dataclass

from models.events.definition import EVENTS_VERSION
from models.events.evaluation import CompiledRule, compile_rule
from models.events.zone_params import ZoneParams
from models.types import CameraZone
from storage.sql.database import Database
from storage.sql.events.versions import NO_CAMERA, RegisteredVersion, RuleRecord, register_version
from tasks.site_file.rules import rules_of
from tasks.site_file.spec import SiteFile
from tasks.site_file.zones import zones_of


@dataclass(frozen=True)
class WantedEvents:
    """All that decides the events of a camera. version: in the database, with its zones in the same order"""

    camera: str
    version: RegisteredVersion
    rules: tuple[CompiledRule, ...]
    zones: tuple[CameraZone, ...]

    @property
    def event_version_id(self) -> int:
        return self.version.event_version_id


def wanted_events(engine: Database, site_file: SiteFile, camera: str, time_zone: str | None) -> WantedEvents:
    """Register the version of a camera's rules and zones. time_zone: of the camera. Raises RuleError."""
    definitions = rules_of(site_file.rules, camera)
    zones = zones_of(site_file.zones, None if camera == NO_CAMERA else camera, time_zone or "UTC")
    rules = tuple(compile_rule(definition) for definition in definitions)
    records = [RuleRecord(each.rule, each.sha256(), each.to_json(), each.severity) for each in definitions]
    decides = repr((EVENTS_VERSION, records, zones, ZoneParams().sha256()))
    version_sha256 = hashlib.sha256(decides.encode()).hexdigest()
    registered = register_version(engine, version_sha256, records, zones)
    return WantedEvents(camera, registered, rules, zones)
