"""Report of a finished batch: on the terminal, and as Markdown for the Prefect UI. Counts nothing itself."""

import base64
import logging
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from storage.ledger.account import WholeVideo, read_refused, read_whole_videos
from storage.ledger.batches import SegmentCounts
from storage.objects.places import StoreError
from tasks.batch.account import (
    Account,
    count_lines,
    crowd_table,
    device_table,
    video_table,
    visit_cells,
    visit_lines,
    visit_table,
)
from tasks.batch.listing import ArchiveListing
from tasks.batch.pictures import Pictures
from tasks.batch.shown_model import views_line
from tasks.browse import links
from tasks.browse.links import Pages, pages_of
from tasks.runs.traversal import not_traversed
from tasks.site.site import Site
from tasks.text.log_lines import print_line
from tasks.text.markdown import Link, cell, code, link, markdown_table
from tasks.text.wording import day_and_clock, kind

log = logging.getLogger(__name__)

UI_PICTURE_WIDTH = 800  # an artifact is stored in Prefect's database: keep it small
TABLE_VIDEOS = 200
MARKDOWN_VIDEOS = 50
MARKDOWN_REASONS = 20


@not_traversed
@dataclass(frozen=True)
class BatchReport:
    """Report of one batch.

    pages: place of the pages to which the report links
    tracks: outcome of the analyses; wall_s: duration of the whole run; chart: PNG bytes, empty without one
    """

    batch_id: int
    status: str
    archive: str
    model: str
    version_id: str
    views: str
    listing: ArchiveListing
    counts: SegmentCounts
    pages: Pages
    pictures: Pictures
    tracks: str
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
        visits = {**visit_lines(self.account), "tracks": self.tracks}
        return {**found, **visits, "files": files, **counted, **time_lines(self.account), "views": self.views}


def time_lines(account: Account) -> dict[str, str]:
    """Format duration and estimate; empty if there was nothing to do."""
    if not account.counts.expected:
        return {}
    return {"time": f"{account.time_line()}, {account.frames_per_s:,.0f} frames/s overall"}


def describe_videos(site: Site, account: Account) -> list[dict[str, Any]]:
    """Return one row per video of the batch, the first TABLE_VIDEOS by name."""
    found = "labels" if account.batch.task == "classification" else "people"
    rows = read_whole_videos(site.engine, account.batch.batch_id, TABLE_VIDEOS)
    return [_video_row(row, found, visit_cells(account, row.video)) for row in rows]


def _video_row(row: WholeVideo, found: str, visits: dict[str, Any]) -> dict[str, Any]:
    """Return the results, then the work: seven columns at most, which fit Prefect's page.

    found: column name of the number of rows
    """
    lacking = {"undecodable": row.frames_undecodable, "segments in quarantine": row.segments_quarantined}
    return {
        "video": row.video,
        **visits,
        found: row.people,
        "frames": row.frames,
        "done": row.frames_done,
        "not done": ", ".join(f"{number:,} {reason}" for reason, number in lacking.items() if number),
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


def report_markdown(report: BatchReport, title: str) -> str:
    """Format the account with its pictures and tables."""
    lines = "\n".join(f"| {label} | {cell(text)} |" for label, text in report.lines().items())
    parts = [
        f"# {title}",
        f"Archive {code(report.archive)}, model version `{report.version_id}`.",
        f"| account | |\n|---|---|\n{lines}",
        _page_links(report),
    ]
    if report.pictures.sheet:
        parts.append(f"![a frame of each video, with the results drawn in]({data_url(report.pictures.sheet)})")
        parts.append(_frame_links(report))
    if len(report.account.crowds) > 1:
        parts.append(f"## Most people\n\n{markdown_table(_linked_crowds(report))}")
    if visits := visit_table(report.account):
        parts.append(
            f"## People seen\n\n{markdown_table(linked(visits[:MARKDOWN_VIDEOS], report.account, report.pages))}"
        )
    if report.refused:
        parts.append(f"## In quarantine\n\n{markdown_table(quarantine_table(report.refused)[:MARKDOWN_REASONS])}")
    if report.chart:
        parts.append(f"![frames per second during the batch, by device]({data_url(report.chart)})")
    parts += _tables(report.account, report.pages)
    if report.pictures.overlays:
        parts.append("\n".join(f"- {code(key)}: {code(url)}" for key, url in report.pictures.overlays.items()))
    return "\n\n".join(parts)


def _page_links(report: BatchReport) -> str:
    pages = {"This night": links.night_path(report.batch_id), "events": links.EVENTS, "query": links.SQL}
    shown = ", ".join(link(name, report.pages.at(path)) for name, path in pages.items())
    return f"{shown}. The links open Nightjar's pages, which `nightjar up` and `nightjar browse` serve."


def _frame_links(report: BatchReport) -> str:
    """List the frames of the picture, each as a link that opens its video there."""
    frames = [(each, links.video_path(each.sha256, frame=each.frame)) for each in report.pictures.frames]
    return "\n".join(f"- {link(f'{each.key}, frame {each.frame:,}', report.pages.at(path))}" for each, path in frames)


def _linked_crowds(report: BatchReport) -> list[dict[str, Any]]:
    """Return the table of crowds, in which each video opens at its fullest second."""
    crowds = zip(crowd_table(report.account), report.account.crowds, strict=True)
    paths = ((row, links.video_path(crowd.sha256, t=crowd.second)) for row, crowd in crowds)
    return [{**row, "video": Link(row["video"], report.pages.at(path))} for row, path in paths]


def linked(rows: list[dict[str, Any]], account: Account, pages: Pages) -> list[dict[str, Any]]:
    """Return rows of videos of the batch in which each name opens the video's page."""
    found = {video.video: pages.at(links.video_path(video.sha256)) for video in account.videos}
    return [{**row, "video": Link(row["video"], found[row["video"]])} for row in rows]


def quarantine_table(refused: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per reason, the most frequent first, with the first file of each."""
    names: dict[str, list[str]] = {}
    for row in refused:
        names.setdefault(row["reason"], []).append(row["key"])
    common = sorted(names.items(), key=lambda item: -len(item[1]))
    return [{"count": len(keys), "for example": keys[0], "reason": reason} for reason, keys in common]


def _tables(account: Account, pages: Pages) -> list[str]:
    """Return the report's tables: devices, losses, videos."""
    parts = []
    if account.devices:
        parts.append(f"## By device\n\n{markdown_table(device_table(account))}")
    if account.losses:
        parts.append("\n".join(f"- lost {cell(line)}" for line in account.lost_lines()[:TABLE_VIDEOS]))
    if account.notes:
        parts.append("\n".join(f"- video {cell(line)}" for line in account.note_lines()))
    if account.videos:
        parts.append(f"## By video\n\n{markdown_table(linked(video_table(account)[:MARKDOWN_VIDEOS], account, pages))}")
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
    lines.append(("page", report.pages.line(links.night_path(report.batch_id))))
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
    lines += [
        *account.found_lines().items(),
        *visit_lines(account).items(),
        *count_lines(account.counts).items(),
        *time_lines(account).items(),
    ]
    lines += [("error", batch.error)] if batch.error else []
    lines += device_lines(account)
    lines += [("video", line) for line in account.note_lines()]
    lines += [("lost", line) for line in account.lost_lines()]
    lines.append(("page", pages_of(site.settings).line(links.night_path(batch.batch_id))))
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
