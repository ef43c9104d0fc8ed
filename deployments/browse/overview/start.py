"""The first page: the last nights, and the cameras and folders with their calendars."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deployments.browse.context import browse_of
from deployments.browse.pages import render
from storage.sql.browse.cameras import PlaceFacts, read_places
from storage.sql.browse.day_videos import FilmFindings, read_without_clock
from storage.sql.browse.presence_days import read_days
from tasks.browse import nights
from tasks.browse.months import WEEKDAYS, Month, MonthTable, month_table
from tasks.site.site import Site

MOST_NIGHTS = 10
MOST_FILMS = 12
MOST_CALENDARS = 24  # cameras and folders beyond these have a row of a table each


@dataclass(frozen=True)
class PlaceMonth:
    """A place with its sums of a month."""

    facts: PlaceFacts
    table: MonthTable

    @property
    def videos(self) -> int:
        """Number of videos with a day in the month, some of which may be in two days."""
        return sum(cell.videos for cell in self.table.days)


def start_page(request: Request) -> Response:
    """Return the first page. Query: month (2026-11)"""
    site = browse_of(request).site
    places = sorted(read_places(site.engine), key=_order)
    month = asked_month(request) or newest_month(places)
    sums = read_days(site.engine, month.first, month.last) if any(each.on_clock for each in places) else {}
    most_s = max((day.seen_s for days in sums.values() for day in days.values()), default=0.0)
    listed = [PlaceMonth(facts, month_table(month, sums.get(facts.place, {}), most_s)) for facts in places]
    last = nights.last_nights(site.engine, MOST_NIGHTS)
    return render(
        request,
        "start.html",
        nights=last,
        unfinished=[each for each in last if each.is_running or (each.is_interrupted and each is last[0])],
        zone=site.settings.zone,
        month=month,
        most_s=most_s,
        weekdays=WEEKDAYS,
        calendars=[each for each in listed if each.facts.on_clock][:MOST_CALENDARS],
        others=_others(listed),
        films=_first_films(site, listed),
    )


def _first_films(site: Site, listed: Sequence[PlaceMonth]) -> list[FilmFindings]:
    """Return some videos of the first place, if no place has a calendar."""
    if not listed or any(each.facts.on_clock for each in listed):
        return []
    return read_without_clock(site.engine, listed[0].facts.place, MOST_FILMS)[0]


def _others(listed: Sequence[PlaceMonth]) -> list[PlaceMonth]:
    """Return the places without a calendar."""
    without = [each for each in listed if not each.facts.on_clock]
    return [each for each in listed if each.facts.on_clock][MOST_CALENDARS:] + without


def _order(facts: PlaceFacts) -> tuple[object, ...]:
    """Order cameras before folders, by name, with numbers in names as numbers."""
    place = facts.place
    return place.camera is None, natural(place.camera or place.folder or ""), place.archive or ""


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Return a key that orders `cam2` before `cam10`."""
    parts = re.findall(r"\d{1,18}|\D+|\d+", name.casefold(), re.ASCII)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def asked_month(request: Request) -> Month | None:
    """Return the month of the query; None without one. Raises HTTPException 404 for another text."""
    given = request.query_params.get("month")
    if not given:
        return None
    month = Month.parse(given)
    if month is None:
        raise HTTPException(404)
    return month


def newest_month(places: Sequence[PlaceFacts]) -> Month:
    """Return the month of the newest video, by its camera, or this month if no video has a clock."""
    newest = max((each.newest_s for each in places if each.newest_s is not None), default=None)
    return Month.of(datetime.now(UTC) if newest is None else datetime.fromtimestamp(newest, UTC))


ROUTES = [Route("/", start_page)]
