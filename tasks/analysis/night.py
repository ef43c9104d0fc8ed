"""The analyses of a batch, as soon as all segments of a video are done. Their faults never fail the batch."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from models.types import NightjarError
from tasks.analysis.background import analysing_meanwhile
from tasks.analysis.due import Analysed, analyse_night
from tasks.analysis.events import EventsMade, make_events
from tasks.analysis.wanted import ANALYSED_TASK, NO_TRACKS, NOTHING_NEW
from tasks.site.settings import read_settings
from tasks.site.site import reopen_site
from tasks.site_file.load import read_site_file
from tasks.text.wording import count
from tasks.waiting.retry import OutageRetry

log = logging.getLogger(__name__)


@contextmanager
def analysing(model_version_id: int, task: str) -> Iterator[None]:
    """Analyse the videos of a batch in the background while the body infers them."""
    if task != ANALYSED_TASK:
        yield
        return
    with analysing_meanwhile(model_version_id):
        yield


def analyse_batch(model_version_id: int) -> Analysed:
    """Analyse what is due. A fault of the database is a warning: the poses are committed, and stay due."""
    retry = OutageRetry(read_settings().outage_s)
    try:
        with reopen_site(retry) as site:
            done = retry(partial(analyse_night, site.engine, model_version_id, site.settings.lease_s))
    except NightjarError as error:
        log.warning("The people of this batch are not all followed yet, and the next run continues: %s", error)
        return Analysed(failed={"the rest": str(error)})
    done.events = _events_of_batch(retry)
    return done


def _events_of_batch(retry: OutageRetry) -> EventsMade:
    """Make the missing events. A fault of the database or of the site file is a warning: they stay due."""
    try:
        with reopen_site(retry) as site:
            return retry(partial(make_events, site.engine, read_site_file(site.settings)))
    except NightjarError as error:
        log.warning("The events of this batch are not all made yet, and the next run continues: %s", error)
        return EventsMade(failed={"the rest": str(error)}, shown=False)


def tracks_line(done: Analysed | None) -> str:
    """Describe the analyses of a batch in one line."""
    if done is None:
        return NO_TRACKS
    if done.events is not None and (done.events.events or done.events.failed):
        return f"{_videos_line(done)}; {events_line(done.events)}"
    return _videos_line(done)


def _videos_line(done: Analysed) -> str:
    if not done.videos and not done.failed and done.shown:
        return NOTHING_NEW
    text = f"{count(done.videos, 'video')} analysed"
    if done.failed:
        return f"{text}, but not {', '.join(done.failed)}. Run 'nightjar analyze' to retry"
    return text if done.shown else f"{text}; the views show a former analysis"


def events_line(made: EventsMade) -> str:
    """Describe the events of a batch in one line."""
    text = count(made.events, "event")
    if made.failed:
        return f"{text}, but none of {', '.join(made.failed)}. Run 'nightjar analyze' to retry"
    return text
