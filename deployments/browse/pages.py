"""HTML from templates. Every value is text: templates escape it, and none marks a value as safe."""

from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from deployments.browse.context import Browse, browse_of
from models.text import visible
from storage.sql.browse.cameras import FilmPlace
from tasks.browse import links
from tasks.browse.months import MONTHS, WEEKDAYS, short_duration
from tasks.site.settings import flow_run_url
from tasks.text.wording import count, day_and_clock, deviation, duration, rate

TEMPLATES = Path(__file__).with_name("templates")


def instant(value: datetime | str | None) -> str:
    """Format a time of the database, UTC to the second; SQLite gives text."""
    if value is None:
        return ""
    text = value.astimezone(UTC).isoformat(" ", "seconds") if isinstance(value, datetime) else value
    return text.replace("T", " ")[:19]


def local_time(local_s: float) -> str:
    """Format a time on a clock at a camera, of seconds since 1970: `2026-11-24 03:12:09`."""
    return datetime.fromtimestamp(local_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def local_clock(local_s: float) -> str:
    """Format its hour, minute and second: `03:12:09`."""
    return local_time(local_s)[11:]


def at_place(at: datetime, zone: str | None) -> str:
    """Format a time in a camera's time zone, else in UTC."""
    try:
        return day_and_clock(at, ZoneInfo(zone or "UTC"))
    except (ZoneInfoNotFoundError, ValueError):
        return day_and_clock(at, UTC)


def long_day(day: date) -> str:
    """Format a day: `Tuesday, 24 November 2026`."""
    return f"{WEEKDAYS[day.weekday()]}, {day.day} {MONTHS[day.month - 1]} {day.year}"


def percent(share: float) -> str:
    """Format a share of what is done, which is 100 % only at its end: `45 %`."""
    return f"{int(100 * share)} %"


def place_name(place: FilmPlace) -> str:
    """Return the name of a camera or folder; of files beside the folders, the last part of the archive's address."""
    return place.camera or place.folder or (place.archive or "").rstrip("/").rpartition("/")[2]


def parts_of(place: FilmPlace) -> dict[str, str | None]:
    """Return a place as the query of its page."""
    return place._asdict()


_environment = Environment(
    loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_environment.filters.update(visible=visible, duration=duration, instant=instant, rate=rate, deviation=deviation)
_environment.filters.update(at=day_and_clock, at_place=at_place, local_time=local_time, local_clock=local_clock)
_environment.filters.update(short_duration=short_duration, long_day=long_day, percent=percent)
_environment.globals.update(links=links, count=count, place_name=place_name, parts_of=parts_of)


def run_url(browse: Browse, flow_run_id: object) -> str | None:
    """Return the address of a flow run on Prefect's pages; None if it has no id, or no server is known."""
    ui = browse.prefect()
    return flow_run_url(ui, str(flow_run_id)) if ui and flow_run_id else None


def render(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Render templates/NAME. values: those that the template names

    Also known to templates: `here`, the path of the request, and `run_url(flow_run_id)`.
    """
    values = {"here": request.url.path, "run_url": partial(run_url, browse_of(request)), **values}
    return HTMLResponse(_environment.get_template(template).render(values), status)
