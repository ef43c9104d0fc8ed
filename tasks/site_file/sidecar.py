"""A CSV with the times of files, next to the site file."""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from tasks.site_file.globs import normal
from tasks.site_file.times import NoTimeError, Reading, TimePattern

MOST_BYTES = 256 << 20
_EPOCH_S = re.compile(r"[0-9]{9,10}(\.[0-9]+)?")


class SidecarError(ValueError):
    """A CSV that cannot be used. The message is a sentence with a remedy."""


class SidecarRow(NamedTuple):
    """One file's time, as written, and its camera; "" = the CSV has no such column."""

    time: str
    camera: str


def read_sidecar(path: Path) -> dict[str, SidecarRow]:
    """Read a CSV with the columns file and time, and perhaps camera. Raises SidecarError.

    The result's keys are keys of an archive or names of files, as the CSV has them.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise SidecarError(f"The sidecar {str(path)!r} is larger than {MOST_BYTES >> 20} MiB. Split it.")
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise SidecarError(f"The sidecar {str(path)!r}: {error.strerror}. Correct 'file'.") from error
    except UnicodeDecodeError as error:
        raise SidecarError(f"The sidecar {str(path)!r} is not UTF-8. Save it as UTF-8.") from error
    return dict(_rows(path, text))


def _rows(path: Path, text: str) -> Iterator[tuple[str, SidecarRow]]:
    separator = ";" if text.partition("\n")[0].count(";") else ","
    reader = csv.DictReader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    columns = {(column or "").strip().lower(): column for column in reader.fieldnames or ()}
    if not {"file", "time"} <= columns.keys():
        raise SidecarError(
            f"The sidecar {str(path)!r} has the columns {', '.join(filter(None, columns)) or 'none'}. Name them file "
            "and time, and camera if there are several."
        )
    seen: dict[str, SidecarRow] = {}
    try:
        for row in reader:
            file, time, camera = ((row.get(columns.get(name, "")) or "").strip() for name in ("file", "time", "camera"))
            made = SidecarRow(time, camera)
            if seen.setdefault(normal(file), made) != made:
                raise SidecarError(
                    f"The sidecar {str(path)!r} has two times for {file!r}, the second in line {reader.line_num}. "
                    "Remove one."
                )
    except csv.Error as error:
        raise SidecarError(f"The sidecar {str(path)!r}, line {reader.line_num}: {error}. Correct it.") from error
    yield from seen.items()


def find_row(rows: Mapping[str, SidecarRow], key: str) -> SidecarRow | None:
    """Return the row of a file: by its whole key, else by its name."""
    key = normal(key)
    return rows.get(key) or rows.get(key.rpartition("/")[2])


def read_time(row: SidecarRow, pattern: TimePattern | None) -> Reading:
    """Read a row's time: by the pattern, else ISO 8601 or seconds since 1970. Raises NoTimeError."""
    if pattern is not None:
        return pattern.read(row.time)
    try:
        made = _plain_time(row.time)
    except (ValueError, OverflowError, OSError):
        raise NoTimeError(f"has {row.time!r} in the sidecar, which is no time such as 2026-03-01T22:14:07") from None
    local, instant = (made, None) if made.tzinfo is None else (None, made)
    return Reading(row.time, local, instant, "", {})


def _plain_time(text: str) -> datetime:
    if _EPOCH_S.fullmatch(text):
        return datetime.fromtimestamp(float(text), UTC)
    return datetime.fromisoformat(text)
