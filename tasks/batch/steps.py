"""First and last steps of a batch, in the ledger. No Prefect: a batch without work needs no run."""

import time
from dataclasses import dataclass
from pathlib import Path

from models.manifest import Manifest
from models.types import NightjarError
from storage.ledger import batches
from storage.objects.archive import canonical
from storage.sql import catalogue
from tasks.batch.account import read_account
from tasks.batch.listing import ArchiveListing
from tasks.batch.night import NightKey
from tasks.batch.pictures import Pictures
from tasks.batch.report import BatchReport, describe_quarantine, describe_videos, draw_chart
from tasks.batch.shown_model import views_line
from tasks.batch.spec import NightSpec
from tasks.browse.links import pages_of
from tasks.runs.run_state import RESUME_HINT
from tasks.site.owner import is_dead, this_owner
from tasks.site.scratch import clean_up
from tasks.site.site import Site


class BatchIncomplete(NightjarError):
    """The batch has ended, and something that it expected is not in the database."""


@dataclass(frozen=True)
class Outcome:
    """Outcome of a batch that the ledger does not hold. tracks: one line about the analyses"""

    listing: ArchiveListing
    pictures: Pictures
    tracks: str


def begin_batch(
    site: Site, spec: NightSpec, taken: tuple[int, Path, Manifest], flow_run_id: str | None = None
) -> NightKey:
    """Record the batch in the database. Segments of dead runs are freed first.

    taken: the model, as take_model returns it
    """
    model_version_id, folder, manifest = taken
    location = canonical(spec.archive)
    if not catalogue.knows_archive(site.engine, location):
        # A mistyped name leaves no batch; a known archive with a missing disk leaves a crashed one.
        site.archive(location).check()
    batches.release_dead(site.engine, is_dead)
    clean_up(site.settings)
    catalogue.show_when_complete(site.engine, manifest.task, model_version_id)
    batch_id = batches.start_batch(site.engine, location, model_version_id, spec.dispatch, this_owner(), flow_run_id)
    return NightKey(location, batch_id, model_version_id, folder, manifest)


def abandon_batch(site: Site, batch_id: int, error: BaseException, *, cancelled: bool) -> None:
    """Close the account of a batch that was cancelled or failed."""
    if cancelled:
        batches.cancel_batch(site.engine, batch_id, f"cancelled. {RESUME_HINT}")
    else:
        batches.finish_batch(site.engine, batch_id, str(error) or type(error).__name__)


def account_batch(site: Site, key: NightKey, model: str, outcome: Outcome, begun: float) -> BatchReport:
    """Close the account of a batch and report it. begun: time.monotonic() at its start"""
    engine = site.engine
    status = batches.finish_batch(engine, key.batch_id, unread=len(outcome.listing.unread))
    catalogue.show_when_complete(engine, key.manifest.task, key.model_version_id)
    account = read_account(engine, key.batch_id, site.settings.zone)
    chart, chart_url = draw_chart(site, account)
    return BatchReport(
        batch_id=key.batch_id,
        status=status,
        archive=key.location,
        model=model,
        version_id=key.manifest.version_id,
        views=views_line(engine, account.batch),
        listing=outcome.listing,
        counts=account.counts,
        pages=pages_of(site.settings),
        pictures=outcome.pictures,
        tracks=outcome.tracks,
        videos=describe_videos(site, account),
        refused=describe_quarantine(site, key.location),
        account=account,
        chart=chart,
        chart_url=chart_url,
        wall_s=time.monotonic() - begun,
    )


def refuse_incomplete(report: BatchReport, given_up: int) -> None:
    """Raise BatchIncomplete if anything is missing. given_up: segments whose attempts all failed"""
    if report.status == "completed":
        return
    counts, unread = report.counts, len(report.listing.unread)
    lacking = [
        f"{counts.missing} of {counts.expected} segments ({counts.frames_missing} frames) are missing"
        if counts.missing
        else "",
        f"{given_up} of {counts.expected} segments were given up after several attempts" if given_up else "",
        f"{unread} files could not be read" if unread else "",
    ]
    raise BatchIncomplete(
        f"Batch {report.batch_id} is incomplete: {'; '.join(filter(None, lacking))}. "
        "See 'nightjar quarantine' and the log above for the reasons, and run the batch again to continue."
    )
