"""Checks of a site's rules that need no rows: types, and names of zones."""

from collections.abc import Iterable

from models.errors import ErrorWithRemedy
from models.events.conditions import ZoneTest
from models.events.definition import ANY_ZONE, RuleDefinition
from models.events.evaluation import CompiledRule, ConditionEngine, compile_rule
from tasks.site_file.rules import known_rules
from tasks.site_file.spec import SiteFile
from tasks.text.wording import nearest


class UnknownZoneError(ErrorWithRemedy):
    """A rule that asks for a zone that no camera has."""


def check_rules(site_file: SiteFile) -> int:
    """Check all rules of a site, and return their number. Raises RuleError, UnknownZoneError."""
    found = list(known_rules(site_file.rules))
    with ConditionEngine() as conditions:
        for definition, camera, _ in found:
            rule = compile_rule(definition)
            conditions.check(rule)
            _check_zones(rule, {zone.name for zone in site_file.zones if camera in ("", zone.camera)})
    return len({definition.rule for definition, _, _ in found})


def _check_zones(rule: CompiledRule, known: Iterable[str]) -> None:
    for name in _zones_of(rule.definition, rule.zones):
        if name not in known:
            meant = nearest(name, known)
            remedy = f"Did you mean '{meant}'?" if meant else "Add it to the site file as [[zones]]."
            raise UnknownZoneError(
                f"Rule '{rule.definition.rule}' names the zone '{name}', which does not exist.", remedy
            )


def _zones_of(definition: RuleDefinition, tests: Iterable[ZoneTest]) -> list[str]:
    """Return the zones that a rule names. Kinds are free text, and a shipped rule names some that a site has not."""
    named = {*definition.zones, *definition.not_zones, *(test.name for test in tests if not test.of_kind)}
    return sorted(named - {ANY_ZONE})
