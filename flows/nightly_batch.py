"""Flow nightly-batch: whatever is new in a video archive becomes rows in SQL."""

import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from models.manifest import Manifest
from models.types import NightjarError
from storage.ledger import batches
from storage.objects.archive import canonical
from storage.sandbox.parent import Sandbox
from storage.sql import catalogue
from tasks.batch.account import read_account
from tasks.batch.check import check_model_on
from tasks.batch.estimate import foretell
from tasks.batch.listing import Listing, read_archive
from tasks.batch.local import run_segments
from tasks.batch.night import Night
from tasks.batch.pictures import Pictures, draw_pictures
from tasks.batch.report import BatchReport, describe_quarantine, describe_videos, draw_chart, publish_report
from tasks.batch.shown_model import views_line
from tasks.batch.spec import NightSpec
from tasks.fleet.parent import run_fleet
from tasks.model.store import take_model
from tasks.runs.cancelling import AGAIN, cancellable, is_cancel, undisturbed
from tasks.runs.edge_runs import prefect_is_away
from tasks.runs.forms import form
from tasks.runs.names import named_after
from tasks.runs.policy import FLOW
from tasks.segment.result_files import ResultReader
from tasks.site.owner import is_dead, this_owner
from tasks.site.scratch import tidy
from tasks.site.settings import read_settings
from tasks.site.site import Site, open_site
from tasks.waiting.patience import Patience

log = logging.getLogger(__name__)

# Prefect's client waits twice as long each time, in silence: with five tries a minute, and then this night says it.
CLIENT_RETRIES = 5


class BatchIncomplete(NightjarError):
    """The batch came to its end, and something that it expected is not in the database."""


DESCRIPTION = """\
Look at every new video of an archive with a model, and write what it sees into the database.

- Videos that were done before are not done again. A run that was interrupted is continued by the next one.
- The result is under *Artifacts*: **batch-report** has the account, pictures and charts, **batch-videos** the
  figures of each video that it had to do with, **batch-quarantine** what could not be processed and why.
- The run fails if anything that it expected is missing at the end. Run it again to continue.
"""


@flow(
    name="nightly-batch",
    flow_run_name=named_after(lambda given: f"{given['model']} on {given['archive']}"),
    description=DESCRIPTION,
    **FLOW,
)
@cancellable
@form(NightSpec)
def nightly_batch(spec: NightSpec) -> BatchReport:
    """List the archive, read what is new, run the model on it, load the results, account for every frame.

    Finished segments are not repeated: the next run continues an interrupted one, and a run over an archive
    that did not change does nothing. Raises NightjarError; BatchIncomplete when anything is missing at the end.
    """
    begun = time.monotonic()
    limit_s = read_settings().outage_s
    patience, calling = Patience(limit_s), Patience(limit_s, prefect_is_away)
    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: CLIENT_RETRIES}),
        open_site(patience) as site,
        Sandbox(site.settings.decoder_memory_bytes) as sandbox,
        ResultReader() as results,
    ):
        check = partial(check_model_on, site, spec)
        patience(check)
        taken = patience(partial(take_model, site, spec.model, spec.frames_per_second))
        tools = _Tools(site, sandbox, results, patience)
        night = patience(partial(_begin, tools, spec, *taken))
        try:
            listing = calling(partial(read_archive, night, spec.segment_s))
            done = calling(partial(_do_segments, night, listing, spec))
            pictures = Pictures()
            if done or spec.overlay == "all":
                pictures = calling(partial(patience, partial(draw_pictures, night, listing.entries, spec.overlay)))
        except BaseException as error:
            with undisturbed(), suppress(NightjarError):  # the database may be what failed
                _close(site, night.batch_id, error)
            raise
        report = patience(partial(_account, night, spec.model, listing, pictures, begun))
        given_up = patience(partial(batches.given_up, site.engine, night.batch_id))
    calling(partial(publish_report, report))
    if report.status != "completed":
        raise BatchIncomplete(_what_is_missing(report, given_up))
    return report


@dataclass(frozen=True)
class _Tools:
    """Resources of a night, whichever archive and model it is of."""

    site: Site
    sandbox: Sandbox
    results: ResultReader
    patience: Patience


def _begin(tools: _Tools, spec: NightSpec, model_version_id: int, folder: Path, manifest: Manifest) -> Night:
    """The batch's row in the database, and all that the batch needs. What dead runs left behind is freed first."""
    site, location = tools.site, canonical(spec.archive)
    videos = site.archive(location)
    if not catalogue.knows_archive(site.engine, location):
        videos.check()  # a mistyped name leaves no batch; a known archive whose disk is away leaves one that crashed
    batches.release_dead(site.engine, is_dead)
    tidy(site.settings)
    catalogue.show_when_complete(site.engine, manifest.task, model_version_id)
    batch_id = batches.start_batch(
        site.engine, location, model_version_id, spec.dispatch, this_owner(), flow_run.get_id()
    )
    return Night(
        site,
        tools.sandbox,
        location,
        videos,
        batch_id,
        model_version_id,
        folder,
        manifest,
        results=tools.results,
        patience=tools.patience,
    )


def _do_segments(night: Night, listing: Listing, spec: NightSpec) -> int:
    """Number of segments that the batch did."""
    engine, patience = night.site.engine, night.patience
    expect = partial(batches.expect_segments, engine, night.batch_id, listing.entries, listing.listed, listing.refused)
    counts = patience(expect)
    log.info(
        f"{listing.listed} files listed, {listing.new} new or changed, {listing.refused} in quarantine; "
        f"to do: {counts.missing} segments, {counts.frames_missing} frames"
    )
    if counts.missing:
        patience(partial(foretell, night, counts, spec.dispatch, spec.runtime.device))
    if counts.missing and spec.dispatch == "fleet":
        run_fleet(night, listing.entries, spec.runtime.precision)
    elif counts.missing:
        run_segments(night, listing.entries, spec.runtime.device, spec.runtime.precision)
    return patience(lambda: batches.count_segments(engine, night.batch_id)).done


def _close(site: Site, batch_id: int, error: BaseException) -> None:
    if is_cancel(error):
        batches.cancel_batch(site.engine, batch_id, f"cancelled. {AGAIN}")
    else:
        batches.finish_batch(site.engine, batch_id, str(error) or type(error).__name__)


def _account(night: Night, model: str, listing: Listing, pictures: Pictures, begun: float) -> BatchReport:
    engine = night.site.engine
    status = batches.finish_batch(engine, night.batch_id, unread=len(listing.unread))
    catalogue.show_when_complete(engine, night.manifest.task, night.model_version_id)
    account = read_account(engine, night.batch_id, night.site.settings.zone)
    chart, chart_url = draw_chart(night.site, account)
    return BatchReport(
        batch_id=night.batch_id,
        status=status,
        archive=night.location,
        model=model,
        version_id=night.manifest.version_id,
        views=views_line(engine, account.batch),
        listing=listing,
        counts=account.counts,
        pictures=pictures,
        videos=describe_videos(night.site, account),
        refused=describe_quarantine(night.site, night.location),
        account=account,
        chart=chart,
        chart_url=chart_url,
        wall_s=time.monotonic() - begun,
    )


def _what_is_missing(report: BatchReport, given_up: int) -> str:
    counts, unread = report.counts, len(report.listing.unread)
    lacking = [
        f"{counts.missing} of {counts.expected} segments ({counts.frames_missing} frames) are missing"
        if counts.missing
        else "",
        f"{given_up} of {counts.expected} segments were given up after several attempts" if given_up else "",
        f"{unread} files could not be read" if unread else "",
    ]
    return (
        f"Batch {report.batch_id} is incomplete: {'; '.join(filter(None, lacking))}. "
        "See 'nightjar quarantine' and the log above for the reasons, and run the batch again to continue."
    )


if __name__ == "__main__":
    nightly_batch.serve()
