"""Times in SQL, equal on both databases: a type, the database's own clock, and differences. No queries."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Dialect,
    Double,
    Text,
    TypeDecorator,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine


class epoch_s(FunctionElement[float]):
    """Seconds since 1970 of a time, to the millisecond, which can be subtracted and averaged."""

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
    """Compile without julianday(), whose large number of days would lose digits of the milliseconds."""
    instant = compiler.process(element.clauses, **kwargs)
    return f"(strftime('%s', {instant}) + strftime('%f', {instant}) - strftime('%S', {instant}))"


class UtcDateTime(TypeDecorator[datetime]):
    """An instant, always aware and UTC. SQLite: text, `2026-11-23T03:09:39.123Z`, which sorts as time does."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return Text() if dialect.name == "sqlite" else DateTime(timezone=True)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        found = datetime.fromisoformat(value) if isinstance(value, str) else value
        return found.astimezone(UTC)


class database_now(FunctionElement[datetime]):
    """The database's clock, the only one that leases go by, plus a number of seconds."""

    type = UtcDateTime()
    inherit_cache = True
    name = "database_now"

    def __init__(self, plus_s: float = 0.0) -> None:
        super().__init__(plus_s)


@compiles(database_now, "postgresql")
def _now_postgresql(element: database_now, compiler: SQLCompiler, **kwargs: Any) -> str:
    return f"(clock_timestamp() + make_interval(secs => {compiler.process(element.clauses, **kwargs)}))"


@compiles(database_now, "sqlite")
def _now_sqlite(element: database_now, compiler: SQLCompiler, **kwargs: Any) -> str:
    seconds = compiler.process(element.clauses, **kwargs)
    return f"strftime('%Y-%m-%dT%H:%M:%fZ', 'now', {seconds} || ' seconds')"
