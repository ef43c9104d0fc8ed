"""Checks of conditions and scores, and their translation to SQL for DuckDB. Evaluates nothing.

A condition is one expression. It is parsed, every part of it is compared with lists of what is allowed, and the SQL is
made of the checked parts, never of the text. Functions that look back become windows over the rows of a track, so that
the seconds that they look back are known, also where they are nested.
"""

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from sqlglot import exp, parse
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import SqlglotError

from models.errors import ErrorWithRemedy
from models.events.columns import COLUMNS, LOOKING_BACK, MOST_LOOK_BACK_S, PLAIN_FUNCTIONS, ZONE_FUNCTIONS
from models.events.definition import RowKind

MOST_CHARACTERS, MOST_PARTS, MOST_FACTORS = 4000, 1000, 10
SMALLEST, LARGEST = 1e-9, 1e9  # of numbers
TABLE, PLACE = "rows", "place"
TOLERANCE_S = 1e-6  # a frame of exactly S seconds before counts, although sums of frame times are rounded
ALLOWED = (
    *(exp.And, exp.Or, exp.Not, exp.Paren, exp.Neg),
    *(exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between, exp.In, exp.Is),
    *(exp.Add, exp.Sub, exp.Mul, exp.Div),
    *(exp.Case, exp.If, exp.Null, exp.Boolean, exp.Literal, exp.Column, exp.Identifier, exp.Anonymous),
)


class ConditionError(ErrorWithRemedy):
    """A condition or a score that cannot be used."""


class _Conditions(DuckDB):
    """DuckDB's SQL without functions of its own: each is a name with arguments, to be compared with our lists."""

    class Parser(DuckDB.Parser):  # type: ignore[misc, valid-type] # sqlglot declares it as a variable
        FUNCTIONS: ClassVar[dict[str, Any]] = {}
        FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {}
        NO_PAREN_FUNCTIONS: ClassVar[dict[Any, Any]] = {}


@dataclass(frozen=True)
class ZoneTest:
    """A zone, or a kind of zones, in which a condition asks whether the person is. column: of the rows"""

    of_kind: bool
    name: str

    @property
    def column(self) -> str:
        return f"in {'kind' if self.of_kind else 'zone'} {self.name}"


@dataclass(frozen=True)
class LookBack:
    """A value over the earlier rows of a track. level: 1 where it depends on columns only, else after those"""

    name: str
    level: int
    look_back_s: float
    sql: exp.Expr


@dataclass
class Translated:
    """Expressions in SQL. columns: those of the rows that they use; windows: by their own SQL, in order"""

    columns: set[str] = field(default_factory=set)
    zones: set[ZoneTest] = field(default_factory=set)
    windows: dict[str, LookBack] = field(default_factory=dict)

    @property
    def look_back_s(self) -> float:
        return max((window.look_back_s for window in self.windows.values()), default=0.0)

    def query(self, outputs: dict[str, exp.Expr]) -> str:
        """Return the query for these outputs of every row, in the order of the rows."""
        source: exp.Table | exp.Subquery = exp.to_table(TABLE)
        for level in sorted({window.level for window in self.windows.values()}):
            made = [exp.alias_(w.sql, w.name, quoted=True) for w in self.windows.values() if w.level == level]
            source = exp.select("*", *made).from_(source).subquery(f"level_{level}")
        chosen = (exp.alias_(sql, name, quoted=True) for name, sql in outputs.items())
        return exp.select(*chosen).from_(source).order_by(exp.column(PLACE)).sql(dialect="duckdb", comments=False)


def translate(text: str, rows: RowKind, into: Translated) -> exp.Expr:
    """Return the SQL of an expression, and add to `into` what it depends on. Raises ConditionError."""
    tree = _parsed(text)
    _check(tree, rows)
    _factors(tree)
    return _translated(tree, _Scope(rows, into), inside=False)


def _parsed(text: str) -> exp.Expr:
    if len(text) > MOST_CHARACTERS:
        raise ConditionError(f"It has {len(text):,} characters, more than {MOST_CHARACTERS:,}.", "Shorten it.")
    try:
        found = parse(text, dialect=_Conditions)
        size = sum(1 for tree in found if tree for _ in tree.walk())
    except SqlglotError as error:
        raise ConditionError(f"{_shown(text)} is not an SQL expression.", f"Correct it{_where(error)}.") from error
    except RecursionError as error:
        raise ConditionError("It is nested too deep.", "Use fewer brackets.") from error
    if len(found) != 1 or found[0] is None:
        raise ConditionError(f"{_shown(text)} is not one expression.", "Give one, such as trunk_angle_deg > 60.")
    if size > MOST_PARTS:
        raise ConditionError(f"It has {size:,} parts, more than {MOST_PARTS:,}.", "Shorten it.")
    return found[0]


def _where(error: SqlglotError) -> str:
    for place in getattr(error, "errors", ()):
        if place.get("highlight"):
            return f" near {_shown(place['highlight'])}"
    return ""


def _check(tree: exp.Expr, rows: RowKind) -> None:
    """Compare every part with what is allowed. Raises ConditionError."""
    for node in tree.walk():
        if not isinstance(node, ALLOWED):
            remedy = "Use columns, numbers, comparisons, AND, OR, NOT, CASE and the functions in docs/site.md."
            raise ConditionError(f"{_shown(node.sql(dialect='duckdb'))} cannot be used in a condition.", remedy)
        if isinstance(node, exp.Column):
            _check_column(node, rows)
        elif isinstance(node, exp.Anonymous):
            _check_function(node)
        elif isinstance(node, exp.Literal):
            _check_literal(node)
        elif isinstance(node, exp.In) and (node.args.get("query") or node.args.get("unnest") or node.args.get("field")):
            raise ConditionError(f"{_shown(node.sql(dialect='duckdb'))} has no list.", "Give values in brackets.")


def _check_column(node: exp.Column, rows: RowKind) -> None:
    name = node.name.lower()
    if node.table:
        raise ConditionError(f"The column {node.sql()} names a table.", f"Write {name}.")
    if name not in COLUMNS[rows]:
        other: RowKind = "frames" if rows == "people" else "people"
        if name in COLUMNS[other]:
            raise ConditionError(f"A rule over {rows} has no column '{name}'.", f'Set rows = "{other}" for it.')
        raise ConditionError(f"There is no column '{name}'.", _suggest(name, COLUMNS[rows]))


def _check_function(node: exp.Anonymous) -> None:
    name, given = node.name.lower(), len(node.expressions)
    known = (*PLAIN_FUNCTIONS, *LOOKING_BACK, *ZONE_FUNCTIONS)
    if name not in known:
        raise ConditionError(f"There is no function '{name}'.", _suggest(name, known))
    fewest, most = PLAIN_FUNCTIONS.get(name) or (LOOKING_BACK.get(name, 1),) * 2
    if not fewest <= given <= most:
        wanted = str(fewest) if fewest == most else f"{fewest} to {most}"
        raise ConditionError(f"{name} has {given} arguments, and takes {wanted}.", "Correct its arguments.")
    if name in ZONE_FUNCTIONS and not isinstance(node.expressions[0], exp.Literal):
        raise ConditionError(f"{_shown(node.sql())} names no zone.", f"Write {name}('NAME').")


def _check_literal(node: exp.Literal) -> None:
    inside_zone_function = isinstance(node.parent, exp.Anonymous) and node.parent.name.lower() in ZONE_FUNCTIONS
    if node.is_string != inside_zone_function:
        what = "the name of a zone in quotes" if inside_zone_function else "a number"
        raise ConditionError(f"{_shown(node.sql())} cannot be used here.", f"Give {what}.")
    if not node.is_string and not (float(node.this) == 0 or SMALLEST <= float(node.this) <= LARGEST):
        raise ConditionError(
            f"{_shown(node.sql())} is too large or too small.", f"Give 0, or {SMALLEST:g} to {LARGEST:g}."
        )


def _factors(node: exp.Expr) -> int:
    """Count the multiplications and divisions that a number is made of. Raises ConditionError for too many.

    DuckDB's infinity and NaN are larger than all numbers. Few factors of limited size reach neither.
    """
    found = sum(map(_factors, node.iter_expressions())) + isinstance(node, exp.Mul | exp.Div)
    if found > MOST_FACTORS:
        raise ConditionError(
            f"{_shown(node.sql(dialect='duckdb'))} has more than {MOST_FACTORS} multiplications and divisions.",
            "Divide the condition, such as by AND.",
        )
    return 0 if isinstance(node, exp.Predicate | exp.Connector | exp.Not) else found


def _suggest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, 3, 0.5)
    return f"Did you mean {' or '.join(near)}?" if near else "Choose one from docs/site.md."


def _shown(text: str) -> str:
    short = " ".join(text.split())
    return f"'{short[:60]}{'…' if len(short) > 60 else ''}'"


@dataclass(frozen=True)
class _Scope:
    """Rows of the expression that is being translated, and its dependencies."""

    rows: RowKind
    into: Translated


def _translated(node: exp.Expr, scope: _Scope, inside: bool) -> exp.Expr:
    """Return the SQL of a part. inside: of a function that looks back"""
    if isinstance(node, exp.Column):
        scope.into.columns.add(node.name.lower())
        return exp.column(node.name.lower(), quoted=True)
    if isinstance(node, exp.Literal):
        return exp.cast(exp.Literal.number(repr(float(node.this))), "DOUBLE")  # integers could overflow
    if isinstance(node, exp.Anonymous):
        return _function(node, scope, inside)
    made = node.copy()
    for part in [*made.iter_expressions()]:
        part.replace(_translated(part, scope, inside))
    return _without_faults(made)


def _without_faults(node: exp.Expr) -> exp.Expr:
    """Make the value of a division by zero NULL."""
    if isinstance(node, exp.Div):
        node.set("expression", exp.func("NULLIF", node.expression.copy(), _number(0.0)))
    return node


def _function(node: exp.Anonymous, scope: _Scope, inside: bool) -> exp.Expr:
    name = node.name.lower()
    if name in ZONE_FUNCTIONS:
        if inside:
            raise ConditionError(f"{name} cannot look back.", "Use it outside of the other functions.")
        test = ZoneTest(name == "in_zone_kind", node.expressions[0].name)
        scope.into.zones.add(test)
        return exp.column(test.column, quoted=True)
    if name in LOOKING_BACK:
        return _window(node, scope)
    arguments = [_translated(part, scope, inside) for part in node.expressions]
    made = exp.Anonymous(this=name, expressions=arguments)
    return _when(exp.GTE(this=arguments[0].copy(), expression=_number(0.0)), made) if name == "sqrt" else made


def _window(node: exp.Anonymous, scope: _Scope) -> exp.Expr:
    """Replace a function that looks back by a column, which a subquery computes for every row."""
    name, *given = node.name.lower(), *node.expressions
    seconds = _seconds(given.pop(), name)
    arguments = [_translated(part, scope, inside=True) for part in given]
    known = {window.name: window for window in scope.into.windows.values()}
    on = [known[column.name] for part in arguments for column in part.find_all(exp.Column) if column.name in known]
    look_back_s = seconds + max((window.look_back_s for window in on), default=0.0)
    if look_back_s > MOST_LOOK_BACK_S:
        raise ConditionError(
            f"{_shown(node.sql())} looks back {look_back_s:g} s.", f"Use at most {MOST_LOOK_BACK_S:g} s together."
        )
    scope.into.columns.update(("t_s", *(("track",) if scope.rows == "people" else ())))
    sql = WINDOWS[name](arguments, partial(_over, seconds, scope.rows))
    level = 1 + max((window.level for window in on), default=0)
    window = LookBack(f"window {len(scope.into.windows) + 1}", level, look_back_s, sql)
    window = scope.into.windows.setdefault(sql.sql(dialect="duckdb"), window)
    return exp.column(window.name, quoted=True)


def _seconds(node: exp.Expr, name: str) -> float:
    if not isinstance(node, exp.Literal) or node.is_string or not 0 < float(node.this) <= MOST_LOOK_BACK_S:
        raise ConditionError(
            f"{name} looks back {_shown(node.sql())} s.", f"Give a number above 0, at most {MOST_LOOK_BACK_S:g}."
        )
    return float(node.this)


def _over(seconds: float, rows: RowKind, function: exp.Expr) -> exp.Expr:
    """Return the function over the rows of the last seconds."""
    by = [exp.column("track", quoted=True)] if rows == "people" else []
    spec = exp.WindowSpec(
        kind="RANGE", start=_number(seconds + TOLERANCE_S), start_side="PRECEDING", end="CURRENT ROW", over=None
    )
    order = exp.Order(expressions=[exp.Ordered(this=exp.column("t_s", quoted=True), nulls_first=False)])
    return exp.Window(this=function, partition_by=by, order=order, spec=spec)


def _number(value: float) -> exp.Expr:
    return exp.cast(exp.Literal.number(repr(value)), "DOUBLE")


def _when(condition: exp.Expr, value: exp.Expr) -> exp.Expr:
    return exp.Case(ifs=[exp.If(this=condition, true=value)])


def _now() -> exp.Expr:
    return exp.column("t_s", quoted=True)


# Name -> SQL of its arguments and `over`. Only functions whose values do not depend on the order of additions, so that
# a stream over parts gives the very values of a single run.
WINDOWS: dict[str, Callable[[list[exp.Expr], Callable[[exp.Expr], exp.Expr]], exp.Expr]] = {
    "lowest": lambda given, over: over(exp.Min(this=given[0])),
    "highest": lambda given, over: over(exp.Max(this=given[0])),
    "median": lambda given, over: over(exp.Anonymous(this="median", expressions=[given[0]])),
    "earlier": lambda given, over: over(exp.IgnoreNulls(this=exp.FirstValue(this=given[0]))),
    "share": lambda given, over: exp.Div(
        this=over(exp.Count(this=_when(given[0], _number(1.0)))), expression=over(exp.Count(this=exp.Star()))
    ),
    "seconds_since": lambda given, over: exp.Sub(this=_now(), expression=over(exp.Max(this=_when(given[0], _now())))),
    "known_s": lambda given, over: exp.Sub(this=_now(), expression=over(exp.Min(this=_now()))),
}
