"""Flow nightly-batch: rows in SQL for everything that is new in a video archive."""

import logging
import time
from contextlib import suppress
from functools import partial

from prefect import flow
from prefect.runtime import flow_run
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from models.types import NightjarError
from storage.ledger import batches
from storage.ledger.batches import SegmentCounts
from tasks.analysis.night import analysing, tracks_line
from tasks.batch.batch_tasks import analyse_people_task, draw_pictures_task, publish_report_task, read_archive_task
from tasks.batch.check import check_model_on
from tasks.batch.estimate import log_estimate
from tasks.batch.listing import ArchiveListing
from tasks.batch.local import run_segments_task
from tasks.batch.night import NightKey
from tasks.batch.pictures import Pictures
from tasks.batch.report import BatchReport
from tasks.batch.spec import NightSpec
from tasks.batch.steps import Outcome, abandon_batch, account_batch, begin_batch, refuse_incomplete
from tasks.fleet.parent import run_fleet_task
from tasks.model.store import take_model
from tasks.notify.start import telling, telling_meanwhile
from tasks.runs.cancelling import cancellable, is_cancel, signals_ignored
from tasks.runs.edge_runs import prefect_is_away
from tasks.runs.forms import form
from tasks.runs.names import named_after
from tasks.runs.policy import FLOW
from tasks.site.settings import read_settings
from tasks.site.site import Site, open_site
from tasks.waiting.retry import OutageRetry

log = logging.getLogger(__name__)

# Prefect's client doubles its silent wait with each retry. Five of them take a minute, and then this flow reports it.
CLIENT_RETRIES = 5


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
    client = temporary_settings({PREFECT_CLIENT_MAX_RETRIES: CLIENT_RETRIES})
    with client, open_site(retry) as site, telling(site.engine, site.settings):
        check = partial(check_model_on, site, spec)
        retry(check)
        taken = retry(partial(take_model, site, spec.model, spec.frames_per_second))
        key = retry(partial(begin_batch, site, spec, taken, flow_run.get_id()))
        try:
            listing = calling(partial(read_archive_task, key, spec.segment_s))
            counts = retry(partial(_expect, site, key, listing))
            if counts.missing:
                retry(partial(log_estimate, site, key, counts, spec.dispatch, spec.runtime.device))
                news = telling_meanwhile(site.engine, site.settings)
                with analysing(key.model_version_id, key.manifest.task), news:
                    calling(partial(_do_segments, key, listing, spec))
            analysed = calling(partial(analyse_people_task, key))
            done = retry(lambda: batches.count_segments(site.engine, key.batch_id)).done
            pictures = Pictures()
            if done or spec.overlay == "all":
                pictures = calling(partial(retry, partial(draw_pictures_task, key, listing.entries, spec.overlay)))
        except BaseException as error:
            with signals_ignored(), suppress(NightjarError):  # the database may be what failed
                abandon_batch(site, key.batch_id, error, cancelled=is_cancel(error))
            raise
        report = retry(
            partial(account_batch, site, key, spec.model, Outcome(listing, pictures, tracks_line(analysed)), begun)
        )
        given_up = retry(partial(batches.given_up, site.engine, key.batch_id))
    calling(partial(publish_report_task, report))
    refuse_incomplete(report, given_up)
    return report


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


if __name__ == "__main__":
    nightly_batch.serve()
