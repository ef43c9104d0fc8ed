"""The page of events, with a picture of each peak, and marks of them as right or wrong."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, get_args
from urllib.parse import parse_qs, urlencode
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from deployments.browse.context import browse_of
from deployments.browse.pages import render
from models.types import NightjarError
from storage.sql.browse.events import (
    MARKS,
    PAGE_EVENTS,
    EventChoice,
    ShownEvent,
    count_events,
    event_choices,
    events_page,
)
from storage.sql.browse.marks import NOTE_CHARACTERS, Mark, RulePrecision, rule_precisions, set_mark
from storage.sql.schema.events import SEVERITIES
from tasks.analysis.check import read_day
from tasks.browse import links
from tasks.browse.drawn_people import DrawnPerson, drawn_person
from tasks.site.site import Site

MOST_BODY_BYTES = 32_768
LARGEST_NUMBER = 2**31 - 1
LARGEST_PAGE = 1_000_000
EVENT_KEY = re.compile(r"[\w.-]{1,128}")
STILL_WIDTH = 640
FILTERS = ("rule", "camera", "severity", "since", "until", "track", "mark", "event")
MARK_NAMES = (*get_args(Mark), "none")
MARKING_IS_OFF = "Marking is off. Stop the pages, and start them with 'nightjar browse --marks'."


class EventCard(NamedTuple):
    """An event as its card shows it.

    when: begin in the camera's time zone, or the second of the video
    zone_name: of the time, empty without one
    still: path of the peak's picture
    person: whose event it is, None where no row of the peak has its track; others: the other people of the peak
    play, peak: paths of the player at the begin and at the peak
    """

    event: ShownEvent
    when: str
    zone_name: str
    still: str
    person: DrawnPerson | None
    others: list[DrawnPerson]
    play: str
    peak: str


def page_of_events(request: Request) -> Response:
    """Return the page of events for the filters of the address."""
    browse = browse_of(request)
    site, asked = browse.site, request.query_params
    choice = read_choice(site, asked)
    number = _whole(asked.get("page", ""), LARGEST_PAGE) or 1
    total = count_events(site.engine, choice)
    pages = max(1, -(-total // PAGE_EVENTS))
    events = events_page(site.engine, choice, min(number, pages))
    given = {name: asked[name] for name in FILTERS if asked.get(name)}
    if "camera" in asked:
        given["camera"] = asked["camera"]
    return render(
        request,
        "events.html",
        cards=[card_of(event) for event in events],
        total=total,
        page=min(number, pages),
        pages=pages,
        given=given,
        address=urlencode(given),
        choices=event_choices(site.engine),
        mark_choices=list(MARKS),
        zone=site.settings.zone.key,
        precisions=[precision_texts(found) for found in rule_precisions(site.engine)],
        can_mark=browse.marks is not None,
        note_characters=NOTE_CHARACTERS,
    )


def read_choice(site: Site, asked: Mapping[str, str]) -> EventChoice:
    """Return the filters of an address. Raises NightjarError for a day that is none."""
    try:
        since, until = (_utc(read_day(site, asked.get(name, ""))) for name in ("since", "until"))
        until = until and _end_of(until)
    except OverflowError:
        raise NightjarError("A day is beyond the calendar. Give one such as 2026-11-23.") from None
    severity, mark = asked.get("severity"), asked.get("mark")
    return EventChoice(
        rule=asked.get("rule") or None,
        camera=None if asked.get("camera", "*") == "*" else asked["camera"],
        severity=severity if severity in SEVERITIES else None,
        since=since,
        until=until,
        track=_whole(asked.get("track", ""), LARGEST_NUMBER),
        mark=mark if mark in MARKS else None,
        event=asked.get("event") or None,
    )


def _utc(day: datetime | None) -> datetime | None:
    """Return a day that exists in UTC, too. Raises OverflowError."""
    return day and day.astimezone(UTC).astimezone(day.tzinfo)


def _end_of(day: datetime) -> datetime:
    """Return the end of a day; a time of the day is an end itself. In the zone's own days, which may have 23 hours."""
    return day + timedelta(days=1) if day == day.replace(hour=0, minute=0, second=0, microsecond=0) else day


def _whole(text: str, largest: int) -> int | None:
    return min(int(text), largest) if text.isascii() and text.isdecimal() and len(text) < 20 else None


def card_of(event: ShownEvent) -> EventCard:
    """Return what the card of an event shows."""
    when, zone_name = _when(event)
    drawn = [(person, drawn_person(person.keypoints)) for person in event.people]
    own = [figure for person, figure in drawn if event.track is not None and person.track == event.track]
    whose = {"track": event.track, "event": event.event_key, "recording": event.recording_id}
    return EventCard(
        event=event,
        when=when,
        zone_name=zone_name,
        still=f"{links.still_path(event.peak_sha256, event.peak_frame)}?width={STILL_WIDTH}",
        person=own[0] if own else None,
        others=[figure for _, figure in drawn if figure not in own],
        play=links.video_path(event.sha256, t=repr(max(event.from_s, 0.0)), **whose),
        peak=links.video_path(event.peak_sha256, frame=event.peak_frame, **whose),
    )


def _when(event: ShownEvent) -> tuple[str, str]:
    if event.from_at is None:
        return f"{event.from_s:,.1f} s", ""
    try:
        zone = ZoneInfo(event.time_zone) if event.time_zone else UTC
    except (ZoneInfoNotFoundError, ValueError):
        zone = UTC
    return f"{event.from_at.astimezone(zone):%Y-%m-%d %H:%M:%S}", "UTC" if zone is UTC else str(event.time_zone)


def precision_texts(found: RulePrecision) -> dict[str, str]:
    """Return the cells of a row of the table of precisions."""
    return {
        "rule": found.rule,
        "version": found.rule_version[:8],
        "events": f"{found.events:,}" if found.events else "former version",
        "marked": f"{found.marked:,}",
        "right": f"{found.marked_right:,}",
        "wrong": f"{found.marked_wrong:,}",
        "precision": "" if found.precision is None else f"{found.precision:.0%}",
    }


async def mark_event(request: Request) -> Response:
    """Keep the mark of a form. Answers JSON where it is asked for, else leads back to the page."""
    form = await _form(request)
    return await run_in_threadpool(_mark, request, form)


def _mark(request: Request, form: Mapping[str, str]) -> Response:
    browse, key = browse_of(request), request.path_params["key"]
    if browse.marks is None:
        raise HTTPException(403, MARKING_IS_OFF)
    mark = form.get("mark")
    if mark not in MARK_NAMES or not EVENT_KEY.fullmatch(key):
        raise NightjarError("The form is incomplete. Choose right, wrong or none.")
    note = form.get("note", "").strip() if mark != "none" else ""
    set_mark(browse.marks, key, None if mark == "none" else mark, note)  # type: ignore[arg-type]
    if "application/json" in request.headers.get("accept", ""):
        changed = {"mark": mark, "note": note}
        return JSONResponse(changed | {"precisions": [precision_texts(each) for each in rule_precisions(browse.marks)]})
    return RedirectResponse(f"{links.EVENTS}?{form.get('back', '')}#event-{key}", 303)


async def _form(request: Request) -> dict[str, str]:
    """Return the last value of each field of a small form. Raises HTTPException 413 for a large one."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BODY_BYTES:
            raise HTTPException(413, f"The form has more than {MOST_BODY_BYTES:,} bytes.")
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, errors="replace")
    return {name: values[-1] for name, values in fields.items()}


ROUTES = [
    Route(links.EVENTS, page_of_events),
    Route(f"{links.EVENTS}/{{key}}/mark", mark_event, methods=["POST"]),
]
