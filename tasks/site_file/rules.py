"""Section [[rules]]: conditions that make events."""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Annotated, Any, Self, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from models.events.definition import RowKind, RuleDefinition, Severity
from models.events.shipped import SHIPPED
from tasks.site_file.section import Name, OneOrMore, Section
from tasks.text.wording import nearest

_LONGEST_S = 31 * 86_400.0
_BY_NAME = {rule.rule: rule for rule in SHIPPED}
_OF_DEFINITION = tuple(field.name for field in fields(RuleDefinition))


class Rule(Section):
    """A shipped rule with other settings, or a rule with its own condition. None = as shipped; cameras: () = all"""

    rule: Name
    cameras: OneOrMore = ()
    meaning: str | None = None
    when: str | None = None
    score: str | None = None
    rows: RowKind | None = None
    min_duration_s: float | None = Field(None, ge=0, le=_LONGEST_S)
    bridge_gap_s: float | None = Field(None, ge=0, le=_LONGEST_S)
    cool_down_s: float | None = Field(None, ge=0, le=_LONGEST_S)
    severity: Severity | None = None
    enabled: bool | None = None
    zones: OneOrMore | None = None
    zone_kinds: OneOrMore | None = None
    not_zones: OneOrMore | None = None
    not_zone_kinds: OneOrMore | None = None

    @model_validator(mode="after")
    def _check_condition(self) -> Self:
        if self.when is not None or self.score is not None:
            _check(applied(_BY_NAME.get(self.rule), self))
        return self

    def of_camera(self, camera: str) -> bool:
        return not self.cameras or camera in self.cameras


def _check(definition: RuleDefinition) -> None:
    from models.events.evaluation import RuleError, compile_rule  # parses SQL, which most commands do not need

    try:
        compile_rule(definition)
    except RuleError as error:
        raise ValueError(str(error)) from error


def applied(base: RuleDefinition | None, entry: Rule) -> RuleDefinition:
    """Return a definition with the settings of an entry. base: None for a new rule"""
    changes: dict[str, Any] = {name: value for name in _OF_DEFINITION if (value := getattr(entry, name)) is not None}
    if base is None:
        return RuleDefinition(**{"when": "false"} | changes)
    return replace(base, **changes)


def _complete(entries: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Refuse an entry of a rule that has no condition yet, and conditions that do not fit their changed rows."""
    defined = dict(_BY_NAME)
    for entry in entries:
        if entry.rule not in defined and entry.when is None:
            meant = nearest(entry.rule, defined)
            remedy = f"Did you mean '{meant}'?" if meant else "Add 'when', its condition."
            raise ValueError(f"Rule '{entry.rule}' is not a shipped one and has no condition. {remedy}")
        defined[entry.rule] = applied(defined.get(entry.rule), entry)
        if entry.rows is not None or entry.zones or entry.zone_kinds or entry.not_zones or entry.not_zone_kinds:
            _check(defined[entry.rule])
    return entries


Rules: TypeAlias = Annotated[tuple[Rule, ...], AfterValidator(_complete)]
"""The entries of the site file, in its order: a later one changes what it sets."""


def rules_of(entries: tuple[Rule, ...], camera: str) -> tuple[RuleDefinition, ...]:
    """Return the enabled rules of a camera, by name. camera: "" = videos without one"""
    return tuple(definition for definition, enabled in _all_rules(entries, camera) if enabled)


def known_rules(entries: tuple[Rule, ...]) -> Iterator[tuple[RuleDefinition, str, bool]]:
    """Yield each rule with the cameras that it is for, and whether it is enabled there. Cameras: "" = all others"""
    named = sorted({camera for entry in entries for camera in entry.cameras})
    everywhere = {found[0].rule: found for found in _all_rules(entries, "")}
    for definition, enabled in everywhere.values():
        yield definition, "", enabled
    for camera in named:
        for found in _all_rules(entries, camera):
            if everywhere.get(found[0].rule) != found:
                yield found[0], camera, found[1]


def _all_rules(entries: tuple[Rule, ...], camera: str) -> list[tuple[RuleDefinition, bool]]:
    """Return the definition of each rule of a camera, and whether it is enabled."""
    found = {name: (definition, True) for name, definition in _BY_NAME.items()}
    for entry in entries:
        if entry.of_camera(camera):
            definition, enabled = found.get(entry.rule, (None, True))
            found[entry.rule] = (applied(definition, entry), enabled if entry.enabled is None else entry.enabled)
    return [found[name] for name in sorted(found)]
