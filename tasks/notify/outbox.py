"""Passing news to the outbox: events, and the outcome of batches, in the transaction that marks them."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from storage.ledger import news
from storage.ledger.account import read_batch, read_counts, read_refused
from storage.ledger.messages import Message, queue
from storage.ledger.news import EndedBatch, NewEvent
from storage.sql.catalogue import name_of
from storage.sql.database import writing
from storage.sql.schema.events import SEVERITIES
from tasks.browse import links
from tasks.browse.links import pages_of
from tasks.notify import texts
from tasks.notify.addresses import Address
from tasks.notify.pictures import draw_events
from tasks.notify.texts import NightFacts
from tasks.site.settings import flow_run_url, prefect_ui_url
from tasks.site.site import Site
from tasks.site_file.load import SiteFileError, read_site_file
from tasks.site_file.notify import Notify

# Of one severity in one night. A shaken camera must not bury the one message that matters, nor fill a mailbox.
MOST_EVENTS = 20


def queue_news(site: Site, addresses: Sequence[Address]) -> None:
    """Pass all events and batches to the outbox that are not in it yet."""
    if not addresses:
        news.mark_everything(site.engine)
        return
    chosen = _section(site)
    queue_events(site, addresses, chosen)
    queue_nights(site, addresses, chosen)


def _section(site: Site) -> Notify:
    """Return the choice of messages: the default one if the site file cannot be read, as a fall must still be told."""
    try:
        return read_site_file(site.settings).notify
    except SiteFileError:
        return Notify()


def queue_events(site: Site, addresses: Sequence[Address], chosen: Notify) -> int:
    """Pass the events of videos to the outbox whose events are not told yet. Returns the number of new messages."""
    video_ids = news.unnotified_videos(site.engine)
    if not video_ids:
        return 0
    severities = SEVERITIES[SEVERITIES.index(chosen.severity) :]
    found = news.events_of_videos(site.engine, video_ids, severities)
    told, others = _within_bounds(found, _told_in_night(site))
    pictures = draw_events(site, told)
    messages = [_event_message(site, event, pictures) for event in told]
    night = news.newest_batch_key(site.engine)
    messages += [_more_message(site, severity, some, night) for severity, some in others.items()]
    with writing(site.engine) as connection:
        number = queue(connection, [each.sha256 for each in addresses], messages)
        news.mark_videos(connection, video_ids)
    return number


def _told_in_night(site: Site) -> Mapping[str, int]:
    """Return severity -> number of events that were sent one by one since the newest batch began."""
    contents = map(json.loads, news.notified_since_batch(site.engine))
    return Counter(content["severity"] for content in contents if not content.get("more"))


def _within_bounds(
    events: Sequence[NewEvent], before: Mapping[str, int]
) -> tuple[list[NewEvent], dict[str, list[NewEvent]]]:
    """Return the events that are sent one by one, and severity -> the others, if any."""
    told: list[NewEvent] = []
    others: dict[str, list[NewEvent]] = {}
    numbers = Counter(before)
    for event in events:
        numbers[event.severity] += 1
        if numbers[event.severity] <= MOST_EVENTS:
            told.append(event)
        else:
            others.setdefault(event.severity, []).append(event)
    return told, others


def _event_message(site: Site, event: NewEvent, pictures: Mapping[str, str]) -> Message:
    page = pages_of(site.settings).line(links.events_path(event=event.event_key))
    content = {
        "title": texts.event_title(event),
        "text": texts.event_text(event, name_of(site.engine, event.peak_video_id), page),
        "severity": event.severity,
        "picture": pictures.get(event.event_key),
    }
    return Message("event", event.event_key, content)


def _more_message(site: Site, severity: str, others: Sequence[NewEvent], night: str) -> Message:
    content = {
        "title": f"{severity.capitalize()}: many events",
        "text": texts.more_events_text(severity, MOST_EVENTS, others, pages_of(site.settings).line(links.EVENTS)),
        "severity": severity,
        "more": True,
    }
    return Message("event", f"more {severity} {night}", content)


def queue_nights(site: Site, addresses: Sequence[Address], chosen: Notify) -> int:
    """Pass the outcome of ended batches to the outbox. Returns the number of new messages."""
    number = 0
    for batch in news.unnotified_batches(site.engine):
        messages = [_night_message(site, batch)] if chosen.night else []
        with writing(site.engine) as connection:
            number += queue(connection, [each.sha256 for each in addresses], messages)
            news.mark_batch(connection, batch.batch_id)
    return number


def _night_message(site: Site, batch: EndedBatch) -> Message:
    zone, events = site.settings.zone, news.events_of_batch(site.engine, batch.batch_id)
    night = NightFacts(
        batch=batch,
        counts=read_counts(site.engine, batch.batch_id),
        files_listed=read_batch(site.engine, batch.batch_id).files_listed or 0,
        refused=read_refused(site.engine, batch.archive),
        events=events,
        links=_links(site, batch),
    )
    first = texts.worst(events)
    pictures = draw_events(site, [first]) if first else {}
    content = {
        "title": texts.night_title(night, zone),
        "text": texts.night_text(night, zone),
        "severity": night.severity,
        "picture": next(iter(pictures.values()), None),
    }
    return Message("night", batch.batch_key, content)


def _links(site: Site, batch: EndedBatch) -> list[str]:
    """Return the addresses of the night's page, and of its run on Prefect's pages."""
    page = f"page: {pages_of(site.settings).line(links.night_path(batch.batch_id))}"
    ui = prefect_ui_url()
    return [page, f"run: {flow_run_url(ui, batch.flow_run_id)}"] if ui and batch.flow_run_id else [page]
