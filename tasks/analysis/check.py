"""Checks of a run of analyses before it starts. No Prefect, so that commands check before they start a server."""

from datetime import datetime

from models.types import NightjarError
from tasks.analysis.spec import AnalyzeSpec
from tasks.analysis.wanted import wanted_params
from tasks.site.site import Site
from tasks.site.stored_videos import find_stored_video
from tasks.site_file.load import read_site_file


def check_analysis(site: Site, spec: AnalyzeSpec) -> None:
    """Raise NightjarError for a day, a video, parameters or a site file that cannot be used."""
    read_site_file(site.settings)
    read_day(site, spec.since)
    if spec.video:
        find_stored_video(site, spec.video)
    try:
        wanted_params(site.engine, spec.params)
    except ValueError as error:
        raise NightjarError(str(error)) from error


def read_day(site: Site, day: str) -> datetime | None:
    """Return the start of a day in the site's time zone; None for an empty text. Raises NightjarError."""
    if not day:
        return None
    try:
        return datetime.fromisoformat(day).replace(tzinfo=site.settings.zone)
    except ValueError as error:
        raise NightjarError(f"{day} is not a day. Give one such as 2026-11-23.") from error
