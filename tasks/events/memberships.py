"""The zones that rows of people belong to, and the rules that ask for them. No SQL."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.events.conditions import ZoneTest
from models.events.definition import ANY_ZONE, RuleDefinition
from models.events.evaluation import CompiledRule
from models.events.people_rows import PeopleRows
from models.events.zones import inside
from models.types import CameraZone, Visit


def rule_tests(rules: Iterable[CompiledRule]) -> set[ZoneTest]:
    """Return the zones that conditions ask for."""
    return {test for rule in rules for test in rule.zones}


@dataclass(frozen=True)
class Membership:
    """inside: (rows, zones) bool"""

    zones: Sequence[CameraZone]
    inside: NDArray[np.bool_]

    def columns(self, tests: Iterable[ZoneTest]) -> dict[str, NDArray[np.bool_]]:
        """Return a column for each test."""
        return {test.column: self._any((test.name,), of_kind=test.of_kind) for test in tests}

    def where(self, rule: RuleDefinition, holds: NDArray[np.bool_]) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Yield the rows in which a rule holds for each of its zones, numbered from 1; 0 = for all places."""
        holds = holds & ~self._any(rule.not_zones, of_kind=False) & ~self._any(rule.not_zone_kinds, of_kind=True)
        if not rule.in_zones_only:
            yield 0, holds
            return
        chosen = self._chosen(rule.zones, of_kind=False) | self._chosen(rule.zone_kinds, of_kind=True)
        for number in sorted(chosen):
            yield number + 1, holds & self.inside[:, number]

    def _any(self, names: Sequence[str], *, of_kind: bool) -> NDArray[np.bool_]:
        return np.asarray(self.inside[:, sorted(self._chosen(names, of_kind=of_kind))].any(axis=1))

    def _chosen(self, names: Sequence[str], *, of_kind: bool) -> set[int]:
        """Return the places of the polygons with one of these names or kinds."""
        own = [zone.kind if of_kind else zone.name for zone in self.zones]
        wanted = [name in names or ANY_ZONE in names for name in own]
        return {at for at, zone in enumerate(self.zones) if wanted[at] and zone.shape == "polygon"}


class Memberships:
    """The zones of rows, from visits."""

    def __init__(self, zones: Sequence[CameraZone], visits: Iterable[Visit]) -> None:
        self._zones, self._visits = zones, list(visits)

    def add(self, visits: Iterable[Visit]) -> None:
        self._visits += visits

    def of(self, rows: PeopleRows) -> Membership:
        """Return the zones of rows: those of the person's last sighting."""
        columns = rows.columns
        first, last = (int(pick(rows.seen_frame)) for pick in (np.min, np.max)) if len(rows.seen_frame) else (0, 0)
        near = [visit for visit in self._visits if visit.entered_frame <= last and visit.last_frame >= first]
        return Membership(self._zones, inside(near, len(self._zones), columns["track"], rows.seen_frame))
