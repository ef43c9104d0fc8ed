"""Report of a finished batch: on the terminal, and as artifacts in the Prefect UI. Counts nothing itself."""

import base64
import logging
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from storage.ledger.account import WholeVideo, read_refused, read_whole_videos
from storage.ledger.batches import SegmentCounts
from storage.objects.places import StoreError
from tasks.batch.account import Account, count_lines, crowd_table, device_table, video_table
from tasks.batch.listing import ArchiveListing
from tasks.batch.pictures import Pictures
from tasks.batch.shown_model import views_line
from tasks.runs.policy import TASK, not_traversed
from tasks.site.site import Site
from tasks.text.log_lines import print_line
from tasks.text.markdown import cell, code, markdown_table, table_rows
from tasks.text.wording import day_and_clock, kind

log = logging.getLogger(__name__)

UI_PICTURE_WIDTH = 800  # an artifact is stored in Prefect's database: keep it small
TABLE_VIDEOS = 200
MARKDOWN_VIDEOS = 50
MARKDOWN_REASONS = 20


@not_traversed
@dataclass(frozen=True)
class BatchReport:
    """Report of one batch. wall_s: duration of the whole run; chart: PNG bytes, empty without one"""

    batch_id: int
    status: str
    archive: str
    model: str
    version_id: str
    views: str
    listing: ArchiveListing
    counts: SegmentCounts
    pictures: Pictures
    videos: list[dict[str, Any]]
    refused: list[dict[str, Any]]
    account: Account
    chart: bytes
    chart_url: str
    wall_s: float

    def lines(self) -> dict[str, str]:
        """Format the account, label -> text."""
        listing = self.listing
        files = f"{listing.listed:,} listed, {listing.new:,} new or changed, {listing.refused:,} in quarantine"
        if listing.ignored:
            files += f", {listing.ignored:,} others ignored (see 'nightjar videos --ignored')"
        if listing.gone:
            files += f", {listing.gone:,} no longer present"
        if listing.growing:
            files += f", {len(listing.growing):,} still being written and left for the next run"
        if listing.unreachable:
            files += f", {len(listing.unreachable):,} removed or changed during the run and left for the next run"
        if listing.unread:
            files += f", {len(listing.unread):,} not readable in this run"
        found, counted = self.account.found_lines(), count_lines(self.counts)
        return {**found, "files": files, **counted, **time_lines(self.account), "views": self.views}


def time_lines(account: Account) -> dict[str, str]:
    """Format duration and estimate; empty if there was nothing to do."""
    if not account.counts.expected:
        return {}
    return {"time": f"{account.time_line()}, {account.frames_per_s:,.0f} frames/s overall"}


def describe_videos(site: Site, account: Account) -> list[dict[str, Any]]:
    """Return one row per video of the batch, the first TABLE_VIDEOS by name."""
    found = "labels" if account.batch.task == "classification" else "people"
    rows = read_whole_videos(site.engine, account.batch.batch_id, TABLE_VIDEOS)
    return [_video_row(row, found) for row in rows]


def _video_row(row: WholeVideo, found: str) -> dict[str, Any]:
    """Return the results, then the work. found: column name of the number of rows"""
    return {
        "video": row.video,
        found: row.people,
        "seconds": round(row.duration_s, 1),
        "frames": row.frames,
        "done": row.frames_done,
        "undecodable": row.frames_undecodable,
        "in quarantine": row.segments_quarantined,
    }


def describe_quarantine(site: Site, archive: str) -> list[dict[str, Any]]:
    """Return one row per quarantined file or segment of this archive."""
    return [row._asdict() for row in read_refused(site.engine, archive)]


def draw_chart(site: Site, account: Account) -> tuple[bytes, str]:
    """Draw the batch by device. Returns PNG bytes and their address in the artifact store; empty if nothing was done.

    If the store is unavailable, the address is empty and the batch still succeeds.
    """
    if not len(account.spans.lane):
        return b"", ""
    chart = cv2.imencode(".png", account.chart())[1].tobytes()
    try:
        site.artifacts.put_bytes(account.chart_key(), chart)
    except StoreError as error:
        log.warning("The chart was not stored and is in the report only: %s", error)
        return chart, ""
    return chart, site.artifacts.url(account.chart_key())


@task(name="publish report", **TASK)
def publish_report(report: BatchReport) -> None:
    """Publish the account as a markdown artifact with its picture, and the videos as a table artifact."""
    title = cell(f"batch {report.batch_id}, {report.model}: {report.status}")
    videos, refused = table_rows(report.videos), table_rows(report.refused[:TABLE_VIDEOS])
    create_table_artifact(videos or [{"video": "none"}], key="batch-videos", description=title)
    if refused:
        create_table_artifact(refused, key="batch-quarantine", description=title)
    create_markdown_artifact(_markdown(report, title), key="batch-report", description=title)


def _markdown(report: BatchReport, title: str) -> str:
    lines = "\n".join(f"| {label} | {cell(text)} |" for label, text in report.lines().items())
    parts = [
        f"# {title}",
        f"Archive {code(report.archive)}, model version `{report.version_id}`.",
        f"| account | |\n|---|---|\n{lines}",
    ]
    if report.pictures.sheet:
        parts.append(f"![a frame of each video, with the results drawn in]({data_url(report.pictures.sheet)})")
    if len(report.account.crowds) > 1:
        parts.append(f"## Most people\n\n{markdown_table(crowd_table(report.account))}")
    if report.refused:
        parts.append(f"## In quarantine\n\n{markdown_table(quarantine_table(report.refused)[:MARKDOWN_REASONS])}")
    if report.chart:
        parts.append(f"![frames per second during the batch, by device]({data_url(report.chart)})")
    parts += _tables(report.account)
    if report.pictures.overlays:
        parts.append("\n".join(f"- {code(key)}: {code(url)}" for key, url in report.pictures.overlays.items()))
    return "\n\n".join(parts)


def quarantine_table(refused: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per reason, the most frequent first, with the first file of each."""
    names: dict[str, list[str]] = {}
    for row in refused:
        names.setdefault(row["reason"], []).append(row["key"])
    common = sorted(names.items(), key=lambda item: -len(item[1]))
    return [{"count": len(keys), "for example": keys[0], "reason": reason} for reason, keys in common]


def _tables(account: Account) -> list[str]:
    """Return the report's tables: devices, losses, videos."""
    parts = []
    if account.devices:
        parts.append(f"## By device\n\n{markdown_table(device_table(account))}")
    if account.losses:
        parts.append("\n".join(f"- lost {cell(line)}" for line in account.lost_lines()[:TABLE_VIDEOS]))
    if account.notes:
        parts.append("\n".join(f"- video {cell(line)}" for line in account.note_lines()))
    if account.videos:
        parts.append(f"## By video\n\n{markdown_table(video_table(account)[:MARKDOWN_VIDEOS])}")
    if len(account.videos) > MARKDOWN_VIDEOS:
        parts.append(f"and {len(account.videos) - MARKDOWN_VIDEOS:,} more. Run `nightjar batches --last` to see all.")
    return parts


def data_url(png: bytes) -> str:
    """Embed the picture, since browsers cannot load files from a disk or a private bucket."""
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    height = round(picture.shape[0] * UI_PICTURE_WIDTH / picture.shape[1])
    small = cv2.resize(picture, (UI_PICTURE_WIDTH, height), interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def print_report(report: BatchReport) -> None:
    """Print the report to a terminal."""
    lines = [("batch", f"{report.batch_id}, {report.status}"), *report.lines().items()]
    lines += device_lines(report.account)
    lines += [("video", line) for line in report.account.note_lines()]
    if report.chart_url:
        lines.append(("chart", report.chart_url))
    if report.pictures.sheet_url:
        lines.append(("picture", report.pictures.sheet_url))
    lines += [("overlay", f"{key}: {url}") for key, url in report.pictures.overlays.items()]
    lines += [("refused", f"{row['key']}: {row['reason']}") for row in report.refused]
    print_lines(lines)


def print_account(site: Site, account: Account) -> None:
    """Print the account of a past batch, from the ledger."""
    batch = account.batch
    times = [day_and_clock(at, account.zone) for at in (batch.started_at, batch.finished_at) if at]
    lines = [
        ("batch", f"{batch.batch_id}, {batch.status}, {batch.dispatch}, {' to '.join(times)}"),
        ("archive", batch.archive),
        ("model", f"{batch.model}, version {batch.version_sha256}"),
    ]
    if batch.files_listed is not None:
        lines.append(("files", f"{batch.files_listed:,} listed, {batch.files_quarantined or 0:,} in quarantine"))
    lines.append(("views", views_line(site.engine, batch)))
    lines += [*account.found_lines().items(), *count_lines(account.counts).items(), *time_lines(account).items()]
    lines += [("error", batch.error)] if batch.error else []
    lines += device_lines(account)
    lines += [("video", line) for line in account.note_lines()]
    lines += [("lost", line) for line in account.lost_lines()]
    if len(account.spans.lane) and site.artifacts.exists(account.chart_key()):
        lines.append(("chart", site.artifacts.url(account.chart_key())))
    print_lines(lines)


def device_lines(account: Account) -> list[tuple[str, str]]:
    """Format one line per device."""
    return [
        ("device", f"{device.worker or ''}/{kind(device.device or '')}: {account.device_line(device)}")
        for device in account.devices
    ]


def print_lines(lines: list[tuple[str, str]]) -> None:
    """Print labelled lines without wrapping, so that paths can be copied."""
    for label, text in lines:
        print_line(f"{label:<10}{text}")
