"""Output formats for rows: a table that fits the terminal, CSV, JSON or Parquet."""

import csv
import json
import math
import re
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Literal, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from models.errors import NightjarError
from models.text import visible
from tasks.text.log_lines import print_line
from tasks.text.wording import count, duration

Row = Sequence[Any]
Rows = Iterable[Row]
Form = Literal["table", "csv", "json", "parquet"]

TABLE_ROWS = 1000
ROWS_AT_ONCE = 10_000  # converted to columns together
UNCUT = 100_000  # columns: no cell is cut in a pipe or a file
_FORMULA = re.compile(r"^(?=[\t\r\n])|(?:^|(?<=[;\t\r\n]))[ \"]*(?=[=+\-@＝＋－＠])")  # full-width signs included


@dataclass(frozen=True)
class Format:
    """Output format of an answer.

    wide: show all columns of a listing
    spreadsheet: escape CSV texts that a spreadsheet would read as formulas
    """

    form: Form = "table"
    wide: bool = False
    spreadsheet: bool = False


@dataclass(frozen=True)
class Column:
    """A column of a listing's narrow table.

    heading: or its lines
    show: formats a value
    flexible: the column is folded where space is short
    """

    heading: str | tuple[str, ...]
    show: Callable[[Any], str] | None = None
    flexible: bool = False


def write_text(columns: Sequence[str], rows: Rows, chosen: Format, file: TextIO) -> None:
    """Write the answer to a query."""
    if chosen.form == "csv":
        _write_csv(columns, rows, chosen.spreadsheet, file)
    elif chosen.form == "json":
        _write_json(columns, rows, file)
    else:
        print_table({name: Column(name, flexible=True) for name in columns}, rows, file)


def write_listing(columns: Sequence[str], rows: Rows, narrow: Mapping[str, Column], chosen: Format) -> None:
    """Print a listing: its narrow columns in a table, all columns with `wide` and in every other format."""
    if chosen.form != "table" or chosen.wide:
        write_text(columns, rows, chosen, sys.stdout)
        return
    places = [columns.index(name) for name in narrow]
    print_table(narrow, ([row[place] for place in places] for row in rows), sys.stdout)


def print_table(columns: Mapping[str, Column], rows: Rows, file: TextIO | None = None) -> None:
    """Print the first TABLE_ROWS rows as a table, and the number of all rows."""
    file, rest = file or sys.stdout, iter(rows)
    first = list(islice(rest, TABLE_ROWS))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for place, column in enumerate(columns.values()):
        numeric = any(isinstance(row[place], int | float | Decimal) for row in first)
        justify: Literal["left", "right"] = "right" if numeric else "left"
        lines = (column.heading,) if isinstance(column.heading, str) else column.heading
        heading = Text("\n".join(map(visible, lines)))
        table.add_column(heading, justify=justify, no_wrap=not column.flexible, overflow="fold")
    for row in first:
        table.add_row(*(_cell(value, column.show) for value, column in zip(row, columns.values(), strict=True)))
    Console(file=file, width=None if file.isatty() else UNCUT, highlight=False).print(table)
    number = len(first) + sum(1 for _ in rest)
    shown = f"the first {TABLE_ROWS:,} of " if number > TABLE_ROWS else ""
    print_line(f"{shown}{count(number, 'row')}", file)


def print_text(text: str) -> None:
    """Print a sentence: in lines of whole words on a terminal, in one line to a pipe or a file."""
    width = Console(file=sys.stdout).width if sys.stdout.isatty() else UNCUT
    for line in textwrap.wrap(visible(text), width, break_on_hyphens=False):
        print_line(line)


def _cell(value: Any, show: Callable[[Any], str] | None) -> Text:
    """Format a value without interpreting markup: a name may contain brackets."""
    if value is None:
        return Text("")
    if show is not None:
        return Text(visible(show(value)))
    if isinstance(value, float):
        return Text(f"{value:.6g}")
    return Text(visible(value.isoformat(" ", "seconds") if isinstance(value, datetime) else str(plain(value))))


def _write_csv(columns: Sequence[str], rows: Rows, spreadsheet: bool, file: TextIO) -> None:
    """Write CSV: escaped control characters on a terminal, unchanged texts in a pipe or a file."""
    shown = _defused if spreadsheet else plain
    writer = csv.writer(_PlainLines(file))
    for row in chain([columns], rows):
        writer.writerow([_on_terminal(shown(value)) if file.isatty() else shown(value) for value in row])


def _on_terminal(value: Any) -> Any:
    return visible(value) if isinstance(value, str) else value


@dataclass(frozen=True)
class _PlainLines:
    """Lines that end in a newline only, so that `| tail -n 1` prints the number alone.

    The CSV writer keeps its own line end: without it, a carriage return inside a text would not be quoted.
    """

    file: TextIO

    def write(self, line: str) -> int:
        return self.file.write(line.removesuffix("\r\n") + "\n")


def _defused(value: Any) -> Any:
    """Prefix an apostrophe to a text that a spreadsheet would compute as a formula.

    In languages with decimal commas a semicolon starts a new cell, too.
    """
    shown = plain(value)
    return _FORMULA.sub(r"\g<0>'", shown) if isinstance(shown, str) else shown


def _write_json(columns: Sequence[str], rows: Rows, file: TextIO) -> None:
    """Write one object per line, while the rows arrive."""
    separator = "["
    for row in rows:
        named = dict(zip(columns, map(plain, row), strict=True))
        file.write(f"{separator}\n {_readable(json.dumps(named))}")
        separator = ","
    file.write("[]\n" if separator == "[" else "\n]\n")


_ESCAPES = re.compile(r"\\\\|(?:\\u[0-9a-f]{4})+")


def _readable(text: str) -> str:
    """Return the JSON with letters of all languages unescaped. Terminal control characters stay escaped."""

    def shown(found: re.Match[str]) -> str:
        if found[0] == "\\\\":
            return found[0]
        letters = str(json.loads(f'"{found[0]}"'))
        return "".join(sign if visible(sign) == sign else json.dumps(sign)[1:-1] for sign in letters)

    return _ESCAPES.sub(shown, text)


def plain(value: Any) -> Any:
    """Convert a value for CSV and JSON: times to ISO 8601, bytes to hexadecimal digits, NaN and infinity to null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return [plain(item) for item in value] if isinstance(value, list | tuple) else str(value)


def write_parquet(columns: Sequence[str], rows: Rows, output: Path) -> None:
    """Write all rows to a Parquet file and print their number."""
    with output.open("wb") as file:
        number = write_parquet_to(columns, rows, file)
    print_line(f"{output}: {count(number, 'row')}")


def write_parquet_to(columns: Sequence[str], rows: Rows, output: BinaryIO) -> int:
    """Write all rows as Parquet to a stream, in bounded memory. Returns their number.

    Raises NightjarError for a column with values of several types.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with tempfile.TemporaryFile() as spill:
        schemas = [pa.schema([(name, pa.null()) for name in columns])]
        for part in _parts(columns, rows):
            with pa.ipc.new_stream(spill, part.schema) as stream:
                stream.write_table(part)
            schemas.append(part.schema)
        try:  # the last row may give a column its type, as integers become floating-point numbers
            schema = pa.unify_schemas(schemas, promote_options="permissive")
        except pa.ArrowTypeError as error:
            raise _mixed(error) from error
        spill.seek(0)
        number = 0
        with pq.ParquetWriter(pa.PythonFile(output, mode="w"), schema) as writer:
            for _ in schemas[1:]:
                part = pa.ipc.open_stream(spill).read_all()
                writer.write_table(pa.concat_tables([schema.empty_table(), part], promote_options="permissive"))
                number += part.num_rows
        return number


def _parts(columns: Sequence[str], rows: Rows) -> Iterator[Any]:
    """Yield tables of some rows each."""
    import pyarrow as pa

    rest = iter(rows)
    while some := list(islice(rest, ROWS_AT_ONCE)):
        try:
            yield pa.table(dict(zip(columns, map(list, zip(*some, strict=True)), strict=True)))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise _mixed(error) from error


def _mixed(error: Exception) -> NightjarError:
    return NightjarError(
        f"A column has values of several types, and one of Parquet has one ({str(error).splitlines()[0]}). Convert it, "
        "such as by CAST(column AS text), or choose CSV."
    )


def minute(instant: Any) -> str:
    """Format a time from either database in UTC: `2026-11-27 20:08`."""
    found = datetime.fromisoformat(instant) if isinstance(instant, str) else instant
    return f"{found.astimezone(UTC):%Y-%m-%d %H:%M}"


def whole(number: Any) -> str:
    return f"{number:,}"


def share(number: Any) -> str:
    """Format a value from 0 to 1, such as AP."""
    return f"{number:.3f}"


def three_digits(number: Any) -> str:
    """Format a speed or a time: 1,234; 123; 12.3; 1.23."""
    return f"{number:,.0f}" if number >= 99.95 else f"{number:.1f}" if number >= 9.995 else f"{number:.2f}"


def seconds(number: Any) -> str:
    return duration(float(number))


def tenths(number: Any) -> str:
    return f"{number:.1f}"


def hundredths(number: Any) -> str:
    return f"{number:.2f}"
