"""A batch over an archive in which nothing has changed: the same account as the flow's, without Prefect."""

import time
from contextlib import suppress

from models.types import NightjarError
from storage.ledger import batches
from storage.objects.archive import canonical
from storage.sql import catalogue
from storage.sql.events.runs import are_events_missing
from tasks.analysis.places import headers_to_read, place_files
from tasks.analysis.recordings import arrange
from tasks.analysis.wanted import ANALYSED_TASK, NO_TRACKS, NOTHING_NEW, is_analysis_due
from tasks.batch.check import check_night
from tasks.batch.listing import ComparedArchive, compare_archive, record_seen
from tasks.batch.night import ArchiveSource
from tasks.batch.pictures import Pictures
from tasks.batch.report import BatchReport
from tasks.batch.spec import NightSpec
from tasks.batch.steps import Outcome, abandon_batch, account_batch, begin_batch, refuse_incomplete
from tasks.model.store import take_model
from tasks.site.site import Site
from tasks.site_file.load import read_site_file
from tasks.site_file.spec import SiteFile

# More files take longer to list than Prefect to start, and the flow would list them again.
MOST_FILES = 20_000


def run_unchanged(site: Site, spec: NightSpec) -> BatchReport | None:
    """Run a batch that has nothing to do, and return its report; None, without a batch: the flow has to run it.

    Raises NightjarError as the flow does, before a batch is recorded or with the batch's end.
    """
    begun = time.monotonic()
    check_night(site, spec)
    location = canonical(spec.archive)
    if spec.overlay == "all" or catalogue.count_files(site.engine, location) > MOST_FILES:
        return None
    taken = take_model(site, spec.model, spec.frames_per_second)
    source = ArchiveSource(site.engine, site.archive(location), location)
    site_file = read_site_file(site.settings)
    place_files(site.engine, site_file, location)
    arrange(site.engine, site_file.site.recording_gap_s)  # other recordings have to be analysed
    compared = compare_archive(source, taken[0])
    if not has_nothing_to_do(source, compared, taken[0], site_file):
        return None
    key = begin_batch(site, spec, taken)
    try:
        listing = record_seen(source, compared)
        batches.expect_segments(site.engine, key.batch_id, listing.entries, listing.listed, listing.refused)
        tracks = NOTHING_NEW if key.manifest.task == ANALYSED_TASK else NO_TRACKS
        report = account_batch(site, key, spec.model, Outcome(listing, Pictures(), tracks), begun)
    except BaseException as error:
        with suppress(NightjarError):  # the database may be what failed
            abandon_batch(site, key.batch_id, error, cancelled=isinstance(error, KeyboardInterrupt))
        raise
    refuse_incomplete(report, batches.given_up(site.engine, key.batch_id))
    return report


def has_nothing_to_do(
    source: ArchiveSource, compared: ComparedArchive, model_version_id: int, site_file: SiteFile
) -> bool:
    """Return True if every file is as it was, its segments are settled, people are followed and events are made."""
    if compared.unread or is_analysis_due(source.engine, model_version_id) or are_events_missing(source.engine):
        return False
    if headers_to_read(source.engine, site_file, source.location) & compared.listing.entries.keys():
        return False
    return not batches.unfinished_videos(source.engine, model_version_id) & set(compared.listing.entries)
