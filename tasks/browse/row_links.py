"""Addresses of rows: the video and the place in it that the columns of an answer name.

A row links to the first group of columns below that it has. A frame is exact, so it comes before seconds. The columns
of seconds are seconds of their video in every view, but in some tables seconds of the recording: those have no links by
seconds.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tasks.browse import links

Row = Sequence[Any]
MOST_FRAMES = 2**31
SHA256 = re.compile("[0-9a-f]{64}")
# Tables with times on the clock of their recording, as words of a statement.
RECORDING_CLOCK = re.compile(r"\b(event_rows|visits|crossings|recording_videos)\b", re.IGNORECASE)


class PlaceColumn(NamedTuple):
    """Columns that name a place in a video.

    videos: columns that name the video, of which the first known one counts
    column: the place; parameter: of the address, a frame or seconds
    """

    videos: Mapping[str, str]
    column: str
    parameter: str


_OWN = {"video_id": "video_id", "sha256": "sha256", "video": "video"}
_PEAK = {"peak_video_id": "video_id"}
_LAST = {"last_video": "video"}
PLACES = (
    PlaceColumn(_OWN, "frame", "frame"),
    PlaceColumn(_OWN, "t_s", "t_s"),
    PlaceColumn(_PEAK, "peak_frame", "frame"),
    PlaceColumn(_PEAK, "peak_s", "t_s"),
    PlaceColumn(_OWN, "peak_frame", "peak_frame"),
    PlaceColumn(_OWN, "peak_s", "peak_s"),
    PlaceColumn(_OWN, "from_s", "t_s"),
    PlaceColumn(_OWN, "first_frame", "frame"),
    PlaceColumn(_OWN, "first_s", "t_s"),
    PlaceColumn(_OWN, "entered_s", "t_s"),
    PlaceColumn(_OWN, "at_s", "t_s"),
    PlaceColumn(_OWN, "start_frame", "frame"),
    PlaceColumn(_OWN, "second", "t_s"),
    PlaceColumn(_LAST, "last_frame", "frame"),
    PlaceColumn(_LAST, "last_s", "t_s"),
    *(PlaceColumn(videos, "", "") for videos in (_OWN, _PEAK, _LAST)),  # the video as a whole
)
FRAMES = {"frame", "peak_frame"}
# Other parts of an address. A column without a number is left out.
ALSO = {"track": "track", "model_version_id": "model", "recording_id": "recording"}
CELLS: dict[str, Callable[[Any], str]] = {
    "event_key": lambda key: links.events_path(event=key),
    "batch_id": links.night_path,
    "recording_id": links.recording_path,
}


class RowLinks:
    """Links of the rows of one answer."""

    def __init__(self, columns: Sequence[str], sql: str) -> None:
        """Note where the columns are. sql: the statement, for tables whose seconds are of another clock"""
        self._columns = [name.lower() for name in columns]
        by_recording = RECORDING_CLOCK.search(sql) is not None
        self._places = [place for place in PLACES if not (by_recording and _is_doubtful(place))]

    def of_row(self, row: Row) -> str | None:
        """Return the path that opens the row's place in its video; None = it names no video."""
        values = self._values(row)
        for place in self._places:
            where = _where(place, values)
            if where is not None:
                return links.open_path(**where, **_also(values))
        return None

    def of_cell(self, column: int, value: Any) -> str | None:
        """Return the path to what a cell names: an event, a night, a recording."""
        path = CELLS.get(self._columns[column])
        if path is None or value is None or isinstance(value, bool | float):
            return None
        wanted = str if self._columns[column] == "event_key" else int
        return path(value) if isinstance(value, wanted) else None

    def _values(self, row: Row) -> dict[str, Any]:
        """Map names to values. A name with several values is left out: they may be of different videos."""
        values: dict[str, Any] = {}
        doubtful = set()
        for name, value in zip(self._columns, row, strict=True):
            if values.setdefault(name, value) != value:
                doubtful.add(name)
        return {name: value for name, value in values.items() if name not in doubtful}


def _is_doubtful(place: PlaceColumn) -> bool:
    """Return whether a place by seconds, or by a frame of a recording's own count, may be meant for a recording."""
    return place.column not in ("frame", "t_s", "peak_frame", "")


def _where(place: PlaceColumn, values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return parameters of the address; None where the row does not name this place."""
    video = next(
        (
            {parameter: values[column]}
            for column, parameter in place.videos.items()
            if _names_video(parameter, values.get(column), values)
        ),
        None,
    )
    if video is None or not place.column:
        return video
    number = _frame(values.get(place.column)) if place.parameter in FRAMES else _seconds(values.get(place.column))
    return None if number is None else {**video, place.parameter: number}


def _names_video(parameter: str, value: Any, values: Mapping[str, Any]) -> bool:
    if parameter == "video_id":
        return _frame(value) is not None
    if parameter == "sha256":  # pictures have hashes, too
        return isinstance(value, str) and SHA256.fullmatch(value) is not None and "picture" not in values
    return isinstance(value, str) and value != ""


def _frame(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_FRAMES else None


def _seconds(value: Any) -> str | None:
    """Return seconds with all digits: a rounded time may be that of the frame before."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return repr(float(value)) if math.isfinite(value) and 0 <= value < MOST_FRAMES else None


def _also(values: Mapping[str, Any]) -> dict[str, int]:
    found = {parameter: _frame(values.get(column)) for column, parameter in ALSO.items()}
    return {parameter: number for parameter, number in found.items() if number is not None}
