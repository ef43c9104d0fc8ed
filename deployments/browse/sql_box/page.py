"""The page of queries, and its answers as files."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from deployments.browse.context import browse_of
from deployments.browse.pages import render
from deployments.browse.sql_box.process import QueryProcesses, RunningQuery, unless_gone
from deployments.browse.sql_box.request import AnswerForm, QueryRequest
from models.types import ErrorWithRemedy, NightjarError
from storage.sql.query import superuser_warning
from tasks.browse import links
from tasks.browse.documents import documented_tables, ready_queries
from tasks.browse.row_links import RowLinks

MOST_CHARACTERS = 20_000  # of a query in an address
GONE = 499  # nobody reads this answer
FILES: dict[AnswerForm, tuple[str, str]] = {
    "csv": ("answer.csv", "text/csv; charset=utf-8"),
    "parquet": ("answer.parquet", "application/vnd.apache.parquet"),
}


@dataclass(frozen=True)
class Cell:
    """A value of the table, and the page of what it names."""

    value: Any
    link: str | None

    @property
    def is_number(self) -> bool:
        """Return whether it is aligned to the right."""
        return isinstance(self.value, int | float) and not isinstance(self.value, bool)

    @property
    def text(self) -> str:
        """Return the value as the command shows it."""
        return f"{self.value:.6g}" if isinstance(self.value, float) else str(self.value)


@dataclass(frozen=True)
class Answer:
    """The shown part of an answer. rows: each with the link of its place in a video; more: there are other rows"""

    columns: list[str]
    rows: list[tuple[str | None, list[Cell]]]
    more: bool

    @property
    def numeric(self) -> set[int]:
        """Return the columns that are aligned to the right: those with a number in the first rows."""
        some = [cells for _, cells in self.rows[:20]]
        return {place for cells in some for place, cell in enumerate(cells) if cell.is_number}

    @property
    def has_places(self) -> bool:
        """Return whether a row has a link."""
        return any(link for link, _ in self.rows)


@dataclass(frozen=True)
class QueryOutcome:
    """The part of the page that follows from the query."""

    answer: Answer | None = None
    happened: str = ""
    remedy: str = ""
    notes: list[str] = field(default_factory=list)


async def sql_page(request: Request) -> Response:
    """Return the box, and the answer to the query of the address."""
    sql = _query_of(request)
    processes = _processes(request)
    try:
        outcome = await _outcome(request, sql)
    except ClientDisconnect:
        return Response(status_code=GONE)
    finally:
        processes.prepare()
    return render(
        request,
        "sql.html",
        400 if outcome.happened else 200,
        sql=sql,
        outcome=outcome,
        queries=ready_queries(),
        tables=documented_tables(),
        most=MOST_CHARACTERS,
    )


async def _outcome(request: Request, sql: str) -> QueryOutcome:
    if not sql.strip():
        return QueryOutcome()
    if _comes_from_elsewhere(request):
        return QueryOutcome(notes=["Another site has written this query. Read it, then run it."])
    try:
        answer = await _answer(request, sql)
    except ErrorWithRemedy as error:
        return QueryOutcome(happened=error.happened, remedy=error.remedy)
    except NightjarError as error:
        return QueryOutcome(happened=str(error))
    warning = superuser_warning(browse_of(request).site.engine)
    return QueryOutcome(answer, notes=[warning] if warning else [])


async def _answer(request: Request, sql: str) -> Answer:
    running = await _begin(request, "rows")
    try:
        found = json.loads(await unless_gone(request, running.whole()))
    finally:
        running.end()
    columns, path = found["columns"], RowLinks(found["columns"], sql)
    rows = [
        (path.of_row(row), [Cell(value, path.of_cell(place, value)) for place, value in enumerate(row)])
        for row in found["rows"]
    ]
    return Answer(columns, rows, found["more"])


async def csv_file(request: Request) -> Response:
    """Return the whole answer as CSV."""
    return await _file(request, "csv")


async def parquet_file(request: Request) -> Response:
    """Return the whole answer as Parquet."""
    return await _file(request, "parquet")


async def _file(request: Request, form: AnswerForm) -> Response:
    """Stream the answer. An error before its first byte is a page; a later one cuts the connection."""
    if _comes_from_elsewhere(request):
        raise NightjarError("Another site asks for this file. Open the page of queries, and run the query there.")
    running = await _begin(request, form)
    try:
        parts = running.parts()
        first = await unless_gone(request, _next(parts))
    except ClientDisconnect:
        running.end()
        return Response(status_code=GONE)
    except BaseException:
        running.end()
        raise
    name, kind = FILES[form]
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Encoding": "identity"}
    return StreamingResponse(_stream(request, running, parts, first), media_type=kind, headers=headers)


async def _stream(
    request: Request, running: RunningQuery, parts: AsyncIterator[bytes], first: bytes | None
) -> AsyncIterator[bytes]:
    try:
        part = first
        while part is not None:
            yield part
            part = await unless_gone(request, _next(parts))
    except ClientDisconnect:
        return
    finally:
        running.end()


async def _next(parts: AsyncIterator[bytes]) -> bytes | None:
    return await anext(parts, None)


async def _begin(request: Request, form: AnswerForm) -> RunningQuery:
    database = browse_of(request).site.settings.database
    spreadsheet = request.query_params.get("spreadsheet") == "1"
    asked = QueryRequest(database, _query_of(request), form, spreadsheet)
    return await unless_gone(request, _processes(request).begin(asked))


def _query_of(request: Request) -> str:
    """Return the query of the address, with the line ends that its writer typed. Raises NightjarError."""
    sql = request.query_params.get("q", "").replace("\r\n", "\n")
    if len(sql) > MOST_CHARACTERS:
        raise NightjarError(
            f"The query has {len(sql):,} characters, and an address holds {MOST_CHARACTERS:,}. Use 'nightjar sql'."
        )
    return sql


def _comes_from_elsewhere(request: Request) -> bool:
    """Return whether a page of another site leads here: it may choose a query, but not run it."""
    return request.headers.get("sec-fetch-site") == "cross-site"


def _processes(request: Request) -> QueryProcesses:
    processes = request.app.state.query_processes
    assert isinstance(processes, QueryProcesses)
    return processes


ROUTES = [
    Route(links.SQL, sql_page),
    Route(f"{links.SQL}.csv", csv_file),
    Route(f"{links.SQL}.parquet", parquet_file),
]
