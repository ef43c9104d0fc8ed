"""One query in a process of its own: `nightjar sql` with its answer on standard output.

A process of its own, as the limits of a query belong to a process: its address space, and signals, which end a
statement. It is started ahead and waits for its request, so that a user does not wait for its imports. It ends with
its server, whose end of its standard input closes then.
"""

import io
import json
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from threading import Thread
from typing import Any, BinaryIO

from deployments.answers import Format, Rows, plain, write_parquet_to, write_text
from deployments.browse.sql_box.request import FAILED, QueryFailed, QueryRequest
from models.types import ErrorWithRemedy, NightjarError
from storage.private import be_private
from storage.sql.browse.read_only import reopen_read_only
from storage.sql.query import query

IDLE_S = 900.0  # without a request; the server starts another process then
END_S = 2.0  # for a statement to end after an interrupt
PAGE_ROWS = 1000
PAGE_CELLS = 100_000
PAGE_CHARACTERS = 8_000_000
CELL_CHARACTERS = 2000


def main() -> int:
    """Run the query of the request on standard input. Returns the exit status."""
    be_private()
    line = _read_line()
    if not line:
        return 0
    Thread(target=_end_with_server, daemon=True).start()
    try:
        answer(QueryRequest.from_line(line), sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except NightjarError as error:
        sys.stderr.write(_failure(error).to_line())
        return FAILED
    return 0


def answer(request: QueryRequest, output: BinaryIO) -> None:
    """Write the answer to a query. Raises NightjarError."""
    engine = reopen_read_only(request.database)
    try:
        columns, rows = query(engine, request.sql, request.limits)
        _write(columns, rows, request, output)
    finally:
        engine.dispose()


def _write(columns: Sequence[str], rows: Rows, request: QueryRequest, output: BinaryIO) -> None:
    if request.form == "rows":
        output.write(json.dumps(first_rows(columns, rows)).encode())
    elif request.form == "parquet":
        write_parquet_to(columns, rows, output)
    else:
        text = io.TextIOWrapper(output, encoding="utf-8", newline="", write_through=False)
        try:
            write_text(columns, rows, Format("csv", spreadsheet=request.spreadsheet), text)
            text.flush()
        finally:
            text.detach()


def first_rows(columns: Sequence[str], rows: Rows) -> dict[str, Any]:
    """Return the rows that the page shows: `columns`, `rows`, and `more` = there are others.

    A value is a number, a truth value, null or a text, of which the page shows the first CELL_CHARACTERS.
    """
    most = max(1, min(PAGE_ROWS, PAGE_CELLS // max(len(columns), 1)))
    shown: list[list[Any]] = []
    left, rest = PAGE_CHARACTERS, iter(rows)
    for row in islice(rest, most):
        shown.append(list(map(_shown, row)))
        left -= sum(len(cell) for cell in shown[-1] if isinstance(cell, str))
        if left < 0:
            break
    return {"columns": list(columns), "rows": shown, "more": next(rest, None) is not None}


def _shown(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(" ", "milliseconds")
    value = plain(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    cut = len(text) - CELL_CHARACTERS
    return text if cut <= 0 else f"{text[:CELL_CHARACTERS]} … and {cut:,} more characters"


def _failure(error: NightjarError) -> QueryFailed:
    if isinstance(error, ErrorWithRemedy):
        return QueryFailed(error.happened, error.remedy)
    return QueryFailed(str(error), "Change the query.")


def _read_line() -> bytes:
    """Return the request, empty if none comes. Read without a buffer, which a thread could hold at the end."""
    if not select.select([0], [], [], IDLE_S)[0]:
        return b""
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 1 << 16)
        if not part:
            return b""
        line += part
    return line


def _end_with_server() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGINT)  # PostgreSQL's statement is cancelled, too
    time.sleep(END_S)
    os._exit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.exit(main())
    except (KeyboardInterrupt, BrokenPipeError):
        os._exit(1)  # nobody reads the rest
