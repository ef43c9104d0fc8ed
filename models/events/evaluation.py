"""Evaluation of the conditions of rules over rows, by DuckDB in memory.

The result does not depend on the database that the rows are from, nor on how they are cut into chunks: the rows that a
condition looks back at are kept from one chunk to the next.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import ErrorWithRemedy
from models.events.columns import COLUMNS
from models.events.conditions import PLACE, TABLE, ConditionError, Translated, ZoneTest, translate
from models.events.definition import RowKind, RuleDefinition

Rows = Mapping[str, NDArray[Any]]
MEMORY, LIMIT_S = "512MB", 60.0
KEPT_S = 1e-3  # rows are kept for longer, as times are rounded
_SETTINGS = {
    "threads": 1,
    "memory_limit": MEMORY,
    "temp_directory": "",
    "allow_community_extensions": False,
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "enable_external_access": False,
    "python_enable_replacements": False,
    "lock_configuration": True,  # the last one
}
_BOOLEAN = ("filled", "seen")
_HOLDS, _SCORE = "holds", "score"


class RuleError(ErrorWithRemedy):
    """A rule that cannot be used. Names the rule."""


class Held(NamedTuple):
    """Outcome for each row. holds: (n,) bool; score: (n,) float64, 0 where it is not known"""

    holds: NDArray[np.bool_]
    score: NDArray[np.float64]


class CompiledRule(NamedTuple):
    """A rule with its query. columns: that the query reads; zones: that it asks for"""

    definition: RuleDefinition
    query: str
    columns: frozenset[str]
    zones: tuple[ZoneTest, ...]
    look_back_s: float


def compile_rule(definition: RuleDefinition) -> CompiledRule:
    """Check and translate a rule. Raises RuleError."""
    into = Translated()
    outputs = {}
    for key, text, output in (("when", definition.when, _HOLDS), ("score", definition.score, _SCORE)):
        try:
            outputs[output] = translate(text, definition.rows, into)
        except ConditionError as error:
            raise RuleError(f"Rule '{definition.rule}', {key}: {error.happened}", error.remedy) from error
    tests = _zone_tests(definition) | into.zones
    if definition.rows == "frames" and tests:
        raise RuleError(f"Rule '{definition.rule}' is over frames, which are in no zone.", "Take out its zones.")
    query = into.query(outputs)
    return CompiledRule(
        definition, query, frozenset(into.columns), tuple(sorted(into.zones, key=str)), into.look_back_s
    )


def _zone_tests(definition: RuleDefinition) -> set[ZoneTest]:
    names = {ZoneTest(False, name) for name in (*definition.zones, *definition.not_zones)}
    return names | {ZoneTest(True, name) for name in (*definition.zone_kinds, *definition.not_zone_kinds)}


class ConditionEngine:
    """DuckDB in memory, without access to files, networks, extensions or Python's variables.

    limit_s: of the evaluation of one rule
    """

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        import duckdb

        self._connection = duckdb.connect(":memory:")
        for name, value in _SETTINGS.items():
            self._connection.execute(f"SET {name} = {value!r}".replace("True", "true").replace("False", "false"))
        self._limit = _TimeLimit(limit_s, self._connection.interrupt)

    def close(self) -> None:
        self._limit.close()
        self._connection.close()

    def __enter__(self) -> "ConditionEngine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def check(self, rule: CompiledRule) -> None:
        """Evaluate the rule over no rows: its types must fit. Raises RuleError."""
        self.evaluate([rule], {name: np.empty(0) for name in rule.columns})

    def evaluate(self, rules: Sequence[CompiledRule], rows: Rows) -> list[Held]:
        """Evaluate rules over rows, ordered by (frame, track).

        rows: the rules' columns, (n,) each, NaN = not known; `filled` and those of their zone tests are bool
        Raises RuleError, also where a rule takes longer than the limit.
        """
        count = len(next(iter(rows.values()), ()))
        with self._registered(rules, rows, count):
            return [self._evaluate(rule, count) for rule in rules]

    def _evaluate(self, rule: CompiledRule, count: int) -> Held:
        import duckdb

        with self._limit.watching() as watched:
            try:
                found = self._connection.execute(rule.query).fetchnumpy()
            except (duckdb.Error, MemoryError) as error:
                if watched.expired:
                    raise RuleError(
                        f"Rule '{rule.definition.rule}' took longer than {self._limit.limit_s:g} s for {count:,} rows.",
                        "Simplify its condition.",
                    ) from error
                said = str(error).strip().splitlines()[0]
                raise RuleError(
                    f"Rule '{rule.definition.rule}' cannot be evaluated: {said}.", "Correct its condition."
                ) from error
        return Held(_known(found[_HOLDS], False).astype(bool), _known(found[_SCORE], 0.0).astype(np.float64))

    @contextmanager
    def _registered(self, rules: Sequence[CompiledRule], rows: Rows, count: int) -> Iterator[None]:
        """Give the queries their table: floats of 8 bytes, in which no sum overflows, and truth values."""
        import pyarrow as pa

        columns = {PLACE: pa.array(np.arange(count))}
        for name in sorted(frozenset().union(*(rule.columns for rule in rules))):
            values = np.asarray(rows[name], np.bool_ if name in _BOOLEAN else np.float64)
            columns[name] = pa.array(values, mask=~np.isfinite(values))
        for column in sorted({test.column for rule in rules for test in rule.zones}):
            columns[column] = pa.array(np.asarray(rows.get(column, np.zeros(count)), np.bool_))
        self._connection.register(TABLE, pa.table(columns))
        try:
            yield
        finally:
            self._connection.unregister(TABLE)


class _Watched:
    """Something that is watched from now on. expired: it was interrupted"""

    def __init__(self) -> None:
        self.begun, self.expired = time.monotonic(), False


class _TimeLimit:
    """Interrupts what takes longer than its limit, by up to a twentieth longer.

    One thread watches everything: on a busy machine, starting one per evaluation took a quarter of the time.
    """

    def __init__(self, limit_s: float, interrupt: Callable[[], None]) -> None:
        self.limit_s, self._interrupt = limit_s, interrupt
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._watched: _Watched | None = None
        threading.Thread(target=self._watch, name="nightjar-rule-limit", daemon=True).start()

    def close(self) -> None:
        self._closed.set()

    @contextmanager
    def watching(self) -> Iterator[_Watched]:
        """Watch the body."""
        watched = self._watched = _Watched()
        try:
            yield watched
        finally:
            with self._lock:  # so that no later evaluation is interrupted in its place
                self._watched = None

    def _watch(self) -> None:
        while not self._closed.wait(self.limit_s / 20):
            with self._lock:
                watched = self._watched
                if watched is not None and time.monotonic() - watched.begun > self.limit_s:
                    watched.expired = True
                    self._interrupt()


def _known(values: NDArray[Any], missing: Any) -> NDArray[Any]:
    """Replace NULL and NaN."""
    known = np.array(values)  # the data of a masked array
    known[np.ma.getmaskarray(values)] = missing  # type: ignore[no-untyped-call]
    return np.where(np.isnan(known), missing, known) if known.dtype.kind == "f" else known


class RuleStream:
    """Rules over the rows of a recording, which come in chunks of whole frames.

    The rows that the rules look back at are kept.
    """

    def __init__(self, engine: ConditionEngine, rules: Sequence[CompiledRule], kind: RowKind) -> None:
        self._engine = engine
        self._rules = [rule for rule in rules if rule.definition.rows == kind]
        self._columns = sorted(columns_of(rules, kind))
        self._look_back_s = look_back_of(rules, kind)
        self._kept: Rows = {name: np.empty(0) for name in self._columns}

    def push(self, rows: Rows) -> list[tuple[CompiledRule, Held]]:
        """Return each rule's outcome for these rows."""
        kept, new = len(self._kept["t_s"]), len(rows["t_s"])
        together = self._together(rows)
        tests = {test.column for rule in self._rules for test in rule.zones}
        together |= {name: np.concatenate([np.zeros(kept, bool), rows[name]]) for name in tests if name in rows}
        none = Held(np.empty(0, np.bool_), np.empty(0))
        held = self._held(together, kept) if new else [none] * len(self._rules)
        self._keep(together)
        return list(zip(self._rules, held, strict=True))

    def _held(self, together: Rows, kept: int) -> list[Held]:
        """Return each rule's outcome for the new rows. Only rules that look back are evaluated over the kept ones."""
        found: dict[int, Held] = {}
        starts = [0 if rule.look_back_s else kept for rule in self._rules]
        for start in set(starts):
            numbers = [n for n, own in enumerate(starts) if own == start]
            rows = {name: values[start:] for name, values in together.items()}
            outcomes = self._engine.evaluate([self._rules[n] for n in numbers], rows)
            for n, held in zip(numbers, outcomes, strict=True):
                found[n] = Held(held.holds[kept - start :], held.score[kept - start :])
        return [found[n] for n in range(len(self._rules))]

    def look_at(self, rows: Rows) -> None:
        """Take rows that the next ones are to look back at, without an outcome."""
        self._keep(self._together(rows))

    def _together(self, rows: Rows) -> dict[str, NDArray[Any]]:
        return {name: np.concatenate([self._kept[name], rows[name]]) for name in self._columns}

    def _keep(self, rows: Rows) -> None:
        t_s = rows["t_s"]
        first = len(t_s)
        if len(t_s) and self._look_back_s:
            first = int(np.searchsorted(t_s, t_s[-1] - self._look_back_s - KEPT_S))
        self._kept = {name: np.array(rows[name][first:]) for name in self._columns}


def columns_of(rules: Sequence[CompiledRule], kind: RowKind) -> frozenset[str]:
    """Return the columns that these rules read, and those of every chunk."""
    of = (rule.columns for rule in rules if rule.definition.rows == kind)
    return frozenset({"t_s"}.union(*of)) & set(COLUMNS[kind])


def look_back_of(rules: Sequence[CompiledRule], kind: RowKind) -> float:
    """Return the seconds that these rules look back."""
    return max((rule.look_back_s for rule in rules if rule.definition.rows == kind), default=0.0)
