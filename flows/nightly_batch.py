"""Flow nightly-batch: rows in SQL for everything that is new in a video archive."""

import logging
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from models.manifest import Manifest
from models.types import NightjarError
from storage.ledger import batches
from storage.ledger.batches import SegmentCounts
from storage.objects.archive import canonical
from storage.sql import catalogue
from tasks.batch.account import read_account
from tasks.batch.check import check_model_on
from tasks.batch.estimate import log_estimate
from tasks.batch.listing import ArchiveListing, read_archive_task
from tasks.batch.local import run_segments_task
from tasks.batch.night import NightKey
from tasks.batch.pictures import Pictures, draw_pictures_task
from tasks.batch.report import BatchReport, describe_quarantine, describe_videos, draw_chart, publish_report
from tasks.batch.shown_model import views_line
from tasks.batch.spec import NightSpec
from tasks.fleet.parent import run_fleet_task
from tasks.model.store import take_model
from tasks.runs.cancelling import RESUME_HINT, cancellable, is_cancel, signals_ignored
from tasks.runs.edge_runs import prefect_is_away
from tasks.runs.forms import form
from tasks.runs.names import named_after
from tasks.runs.policy import FLOW
from tasks.site.owner import is_dead, this_owner
from tasks.site.scratch import clean_up
from tasks.site.settings import read_settings
from tasks.site.site import Site, open_site
from tasks.waiting.retry import OutageRetry

log = logging.getLogger(__name__)

# Prefect's client doubles its silent wait with each retry. Five of them take a minute, and then this flow reports it.
CLIENT_RETRIES = 5


class BatchIncomplete(NightjarError):
    """The batch has ended, and something that it expected is not in the database."""


DESCRIPTION = """\
Run a model on every new video of an archive, and write the results into the database.

- Completed videos are not processed again. The next run continues an interrupted one.
- The result is under *Artifacts*: **batch-report** has the account, pictures and charts, **batch-videos** the
  figures of each video, **batch-quarantine** the files that could not be processed, with the reasons.
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
    """List the archive, read new videos, run the model on them, load the results, account for every frame.

    Finished segments are not repeated: the next run continues an interrupted one, and a run over an unchanged archive
    does nothing. Raises NightjarError; BatchIncomplete when anything is missing at the end.
    """
    begun = time.monotonic()
    limit_s = read_settings().outage_s
    retry, calling = OutageRetry(limit_s), OutageRetry(limit_s, prefect_is_away)
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: CLIENT_RETRIES}), open_site(retry) as site:
        check = partial(check_model_on, site, spec)
        retry(check)
        taken = retry(partial(take_model, site, spec.model, spec.frames_per_second))
        key = retry(partial(_begin, site, spec, *taken))
        try:
            listing = calling(partial(read_archive_task, key, spec.segment_s))
            counts = retry(partial(_expect, site, key, listing))
            if counts.missing:
                retry(partial(log_estimate, site, key, counts, spec.dispatch, spec.runtime.device))
                calling(partial(_do_segments, key, listing, spec))
            done = retry(lambda: batches.count_segments(site.engine, key.batch_id)).done
            pictures = Pictures()
            if done or spec.overlay == "all":
                pictures = calling(partial(retry, partial(draw_pictures_task, key, listing.entries, spec.overlay)))
        except BaseException as error:
            with signals_ignored(), suppress(NightjarError):  # the database may be what failed
                _close(site, key.batch_id, error)
            raise
        report = retry(partial(_account, site, key, spec.model, listing, pictures, begun))
        given_up = retry(partial(batches.given_up, site.engine, key.batch_id))
    calling(partial(publish_report, report))
    if report.status != "completed":
        raise BatchIncomplete(_what_is_missing(report, given_up))
    return report


def _begin(site: Site, spec: NightSpec, model_version_id: int, folder: Path, manifest: Manifest) -> NightKey:
    """Record the batch in the database. Segments of dead runs are freed first."""
    location = canonical(spec.archive)
    if not catalogue.knows_archive(site.engine, location):
        # A mistyped name leaves no batch; a known archive with a missing disk leaves a crashed one.
        site.archive(location).check()
    batches.release_dead(site.engine, is_dead)
    clean_up(site.settings)
    catalogue.show_when_complete(site.engine, manifest.task, model_version_id)
    batch_id = batches.start_batch(
        site.engine, location, model_version_id, spec.dispatch, this_owner(), flow_run.get_id()
    )
    return NightKey(location, batch_id, model_version_id, folder, manifest)


def _expect(site: Site, key: NightKey, listing: ArchiveListing) -> SegmentCounts:
    """Record the segments that the batch has to process. Returns their counts."""
    counts = batches.expect_segments(site.engine, key.batch_id, listing.entries, listing.listed, listing.refused)
    log.info(
        f"Listed {listing.listed} files: {listing.new} new or changed, {listing.refused} in quarantine. "
        f"{counts.missing} segments with {counts.frames_missing} frames are to be processed"
    )
    return counts


def _do_segments(key: NightKey, listing: ArchiveListing, spec: NightSpec) -> None:
    if spec.dispatch == "fleet":
        run_fleet_task(key, listing.entries, spec.runtime)
    else:
        run_segments_task(key, listing.entries, listing.probes, spec.runtime)


def _close(site: Site, batch_id: int, error: BaseException) -> None:
    if is_cancel(error):
        batches.cancel_batch(site.engine, batch_id, f"cancelled. {RESUME_HINT}")
    else:
        batches.finish_batch(site.engine, batch_id, str(error) or type(error).__name__)


def _account(
    site: Site, key: NightKey, model: str, listing: ArchiveListing, pictures: Pictures, begun: float
) -> BatchReport:
    engine = site.engine
    status = batches.finish_batch(engine, key.batch_id, unread=len(listing.unread))
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
        listing=listing,
        counts=account.counts,
        pictures=pictures,
        videos=describe_videos(site, account),
        refused=describe_quarantine(site, key.location),
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
