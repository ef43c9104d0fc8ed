"""Addresses of the pages of `nightjar browse`: for the pages themselves, and for commands, reports and messages.

A video is named by its sha256, as names change and numbers depend on the database.
"""

import fcntl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from tasks.site.settings import Settings

DEFAULT_PORT = 4270
SHA_DIGITS = 16  # of an address: enough for any archive, and short enough for a terminal
START, EVENTS, SQL, MODELS = "/", "/events", "/sql", "/models"
OPEN = "/open"


def video_path(sha256: str, **where: object) -> str:
    """Return the path of a video's page. where: t (seconds), frame, track, model, analysis, beside, recording, event;
    those that are None are left out"""
    return _with_query(f"/video/{sha256[:SHA_DIGITS]}", where)


def recording_path(recording_id: int, **where: object) -> str:
    """Return the path of a recording's page. where: at (seconds from its begin), model, analysis"""
    return _with_query(f"/recording/{recording_id:d}", where)


def still_path(sha256: str, frame: int) -> str:
    """Return the path of a frame as a picture, without anything drawn."""
    return f"/still/{sha256[:SHA_DIGITS]}/{frame:d}.jpg"


def media_path(sha256: str, **how: object) -> str:
    """Return the path of a video's bytes for a player. how: convert (1 = even if browsers should play it as it is)"""
    return _with_query(f"/media/{sha256[:SHA_DIGITS]}", how)


def events_path(**filters: object) -> str:
    """Return the path of the events page. filters: rule, camera, since, until, mark, event"""
    return _with_query(EVENTS, filters)


def sql_path(sql: str | None = None) -> str:
    """Return the path of the page of queries, with this text in its box."""
    return _with_query(SQL, {"q": sql})


def open_path(**where: object) -> str:
    """Return the path that leads on to a video's page, for rows that have no hash.

    where: video_id, sha256 or video (its name); frame, t_s, peak_frame, peak_s; track, model, recording
    """
    return _with_query(OPEN, where)


def night_path(batch_id: int) -> str:
    """Return the path of a night's page."""
    return f"/night/{batch_id:d}"


def training_path(training_run_id: int) -> str:
    """Return the path of a fine-tuning's page."""
    return f"/training/{training_run_id:d}"


def calendar_path(**where: object) -> str:
    """Return the path of the calendar of a camera or folder. where: camera, or archive and folder; month (2026-11),
    day (2026-11-24), page"""
    return _with_query("/calendar", where)


def search_path(**query: object) -> str:
    """Return the path of the page of a search. query: q"""
    return _with_query("/search", query)


def evaluation_path(evaluation_id: int) -> str:
    """Return the path of an evaluation's page."""
    return f"/evaluation/{evaluation_id:d}"


@dataclass(frozen=True)
class Pages:
    """Place of a site's pages, for people outside of them.

    url: without a slash at its end; hint: how to make the addresses open, "" if they do
    """

    url: str
    hint: str = ""

    def at(self, path: str) -> str:
        """Return the whole address of a page."""
        return f"{self.url}{path}"

    def line(self, path: str) -> str:
        """Return the address of a page, followed by the hint."""
        return f"{self.at(path)} ({self.hint})" if self.hint else self.at(path)


def pages_of(settings: Settings) -> Pages:
    """Return the place of the pages: NIGHTJAR_BROWSE_URL, or where they are served, or where they would be."""
    if settings.browse_url:
        return Pages(settings.browse_url.rstrip("/"))
    if running := running_pages(settings):
        return Pages(running)
    return Pages(f"http://127.0.0.1:{DEFAULT_PORT}", "run 'nightjar browse'")


def browse_lock(settings: Settings) -> Path:
    """Return the file that a running `nightjar browse` of this home locks, and in which it keeps its address."""
    return settings.home.resolve() / "browse.lock"


def running_pages(settings: Settings) -> str | None:
    """Return the address of the `nightjar browse` that runs in this home; None if none runs.

    The lock ends with its process. The address in the file may outlast it.
    """
    try:
        with browse_lock(settings).open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().strip() or None
    except (OSError, UnicodeDecodeError):
        pass
    return None


def _with_query(path: str, query: dict[str, object]) -> str:
    given = {name: _text(value) for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given, quote_via=quote)}" if given else path


def _text(value: object) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
