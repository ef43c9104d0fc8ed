"""Differences of times in SQL, alike on both databases. No queries."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Double
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class epoch_s(FunctionElement[float]):
    """Seconds since 1970 of a time, to the millisecond: what can be subtracted and averaged."""

    type = Double()
    inherit_cache = True
    name = "epoch_s"

    def __init__(self, instant: ColumnElement[datetime] | ColumnElement[datetime | None]) -> None:
        super().__init__(instant)


@compiles(epoch_s, "postgresql")
def _postgresql(element: epoch_s, compiler: SQLCompiler, **kwargs: Any) -> str:
    return f"CAST(extract(epoch FROM {compiler.process(element.clauses, **kwargs)}) AS double precision)"


@compiles(epoch_s, "sqlite")
def _sqlite(element: epoch_s, compiler: SQLCompiler, **kwargs: Any) -> str:
    """By whole days, so that no digit of the milliseconds is lost in the number of the day."""
    instant = compiler.process(element.clauses, **kwargs)
    return f"(strftime('%s', {instant}) + strftime('%f', {instant}) - strftime('%S', {instant}))"
