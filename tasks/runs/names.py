"""Names of flow runs, made from their parameters unless a user typed one."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from prefect.runtime import flow_run

from tasks.runs.star_names import STAR_NAMES


def named_after(describe: Callable[[dict[str, Any]], str]) -> Callable[[], str]:
    """Build a flow_run_name for @flow: describe's text of the parameters in place of Prefect's generated name."""

    def name() -> str:
        present = flow_run.name or ""
        return describe(flow_run.parameters) if not present or is_generated(present) else present

    return name


def is_generated(name: str) -> bool:
    """Return True if Prefect generated this name: the server's adjective and animal, or the name of the UI's form."""
    first, _, rest = name.partition("-")
    words = rest.split("-")
    if first and any("-".join(words[:count]) in STAR_NAMES for count in (1, 2)):
        return True
    adjective, _, animal = name.rpartition("-")
    return animal in _coolnames().animals and adjective in _coolnames().adjectives


class _Coolnames(NamedTuple):
    adjectives: frozenset[str]
    animals: frozenset[str]


@cache
def _coolnames() -> _Coolnames:
    """Return the words from which Prefect's server makes its names."""
    from coolname.data import config

    known: dict[str, Any] = config

    def words(*lists: str) -> frozenset[str]:
        return frozenset(word for name in lists for word in known[name]["words"])

    return _Coolnames(
        words("adjective", "adjective_near", "noun_adjective", "prefix", "size"),
        words("animal", "animal_breed", "animal_legendary"),
    )
