"""Prefect tasks of a batch: names and policies over plain functions, each with resources of its own."""

from collections.abc import Mapping

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from storage.objects.archive import Entry
from tasks.analysis.due import Analysed
from tasks.analysis.night import analyse_batch
from tasks.analysis.wanted import ANALYSED_TASK
from tasks.batch.listing import ArchiveListing, read_archive
from tasks.batch.night import NightKey, open_night
from tasks.batch.pictures import Pictures, draw_pictures
from tasks.batch.report import TABLE_VIDEOS, BatchReport, linked, report_markdown
from tasks.batch.spec import Overlay
from tasks.runs.policy import TASK
from tasks.text.markdown import cell, table_rows


@task(name="read archive", **TASK)
def read_archive_task(key: NightKey, segment_s: float) -> ArchiveListing:
    """Read the archive of this batch. Raises as read_archive does."""
    with open_night(key) as night:
        return read_archive(night, segment_s)


@task(name="follow people", **TASK)
def analyse_people_task(key: NightKey) -> Analysed | None:
    """Analyse the videos of this batch that are not analysed yet. None for a classifier."""
    return analyse_batch(key.model_version_id) if key.manifest.task == ANALYSED_TASK else None


@task(name="draw pictures", **TASK)
def draw_pictures_task(key: NightKey, entries: Mapping[int, Entry], overlay: Overlay) -> Pictures:
    """Draw the pictures of this batch. Videos that cannot be drawn are skipped."""
    with open_night(key) as night:
        return draw_pictures(night, entries, overlay)


@task(name="publish report", **TASK)
def publish_report_task(report: BatchReport) -> None:
    """Publish the account as a markdown artifact with its picture, and the videos as a table artifact."""
    title = cell(f"batch {report.batch_id}, {report.model}: {report.status}")
    videos, refused = (
        table_rows(linked(report.videos, report.account, report.pages)),
        table_rows(report.refused[:TABLE_VIDEOS]),
    )
    create_table_artifact(videos or [{"video": "none"}], key="batch-videos", description=title)
    if refused:
        create_table_artifact(refused, key="batch-quarantine", description=title)
    create_markdown_artifact(report_markdown(report, title), key="batch-report", description=title)
