"""The page of a camera or folder: a month as a calendar, and the videos of one of its days."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deployments.browse.context import browse_of
from deployments.browse.overview.paging import Paging, asked_page
from deployments.browse.overview.start import asked_month, newest_month
from deployments.browse.pages import render
from storage.sql.browse.cameras import FilmPlace, PlaceFacts, read_place
from storage.sql.browse.day_videos import FilmFindings, read_day, read_without_clock
from storage.sql.browse.presence_days import read_days
from tasks.browse import links
from tasks.browse.months import WEEKDAYS, Month, MonthTable, month_table, parse_day
from tasks.site.site import Site

MOST_VIDEOS = 60  # of a page


@dataclass(frozen=True)
class RecordingFindings:
    """The videos of a recording, or of none, that are on the page."""

    recording_id: int | None
    films: Sequence[FilmFindings]


def calendar_page(request: Request) -> Response:
    """Return the page. Query: camera, or archive and folder; month, day, page"""
    site, place = browse_of(request).site, asked_place(request)
    facts = read_place(site.engine, place)
    if facts is None:
        raise HTTPException(404)
    day, page = _asked_day(request), asked_page(request)
    month = Month.of(day) if day else asked_month(request) or newest_month([facts])
    table = _table(site, facts, month)
    if day is None and request.query_params.get("clock") != "none":
        day = max((cell.day for cell in table.days if cell.videos), default=None)
    films, number = _films(site, facts, day, page)
    return render(
        request,
        "calendar.html",
        facts=facts,
        place=place,
        month=month,
        table=table,
        most_s=max((cell.seen_s for cell in table.days), default=0.0),
        weekdays=WEEKDAYS,
        day=day,
        one_day=timedelta(days=1),
        recordings=_by_recording(films),
        paging=Paging(page, MOST_VIDEOS, number),
        page_of_films=lambda number: _page_path(place, day, number),
    )


def _page_path(place: FilmPlace, day: date | None, page: int) -> str:
    when = {"day": day} if day else {"clock": "none"}
    return links.calendar_path(**place._asdict(), **when, page=page)


def asked_place(request: Request) -> FilmPlace:
    """Return the place of the query. Raises HTTPException 404 without one."""
    query = request.query_params
    if "camera" in query:
        return FilmPlace(_stored(query["camera"]))
    if "archive" in query:
        return FilmPlace(None, _stored(query["archive"]), _stored(query.get("folder", "")))
    raise HTTPException(404)


def _stored(name: str) -> str:
    """Return a name that may be stored. Raises HTTPException 404 for one that cannot."""
    if "\0" in name or (not name.isprintable() and any("\ud800" <= sign <= "\udfff" for sign in name)):
        raise HTTPException(404)
    return name


def _asked_day(request: Request) -> date | None:
    given = request.query_params.get("day")
    if not given:
        return None
    day = parse_day(given)
    if day is None:
        raise HTTPException(404)
    return day


def _table(site: Site, facts: PlaceFacts, month: Month) -> MonthTable:
    days = read_days(site.engine, month.first, month.last, facts.place) if facts.on_clock else {}
    sums = days.get(facts.place, {})
    return month_table(month, sums, max((day.seen_s for day in sums.values()), default=0.0))


def _films(site: Site, facts: PlaceFacts, day: date | None, page: int) -> tuple[list[FilmFindings], int]:
    if day is not None:
        return read_day(site.engine, facts.place, day, MOST_VIDEOS, page * MOST_VIDEOS)
    return read_without_clock(site.engine, facts.place, MOST_VIDEOS, page * MOST_VIDEOS)


def _by_recording(films: Sequence[FilmFindings]) -> list[RecordingFindings]:
    grouped = groupby(films, lambda each: each.film.recording_id)
    return [RecordingFindings(recording_id, list(some)) for recording_id, some in grouped]


ROUTES = [Route("/calendar", calendar_page)]
