"""What a batch says when it is done: on the terminal, and as artifacts in the Prefect UI. Counts nothing itself."""

import base64
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from storage import query as database
from storage.ledger import SegmentCounts
from tasks.catalogue import Listing
from tasks.pictures import Pictures
from tasks.policy import TASK
from tasks.site import Site

UI_PICTURE_WIDTH = 800  # an artifact's data lies in Prefect's database: keep it small
TABLE_VIDEOS = 200


@dataclass(frozen=True)
class BatchReport:
    """The account of one batch. wall_s: of the whole batch, frames_per_s: of its frames in that time"""

    batch_id: int
    status: str
    archive: str
    model: str
    version_id: str
    listing: Listing
    counts: SegmentCounts
    pictures: Pictures
    videos: list[dict[str, Any]]
    refused: list[dict[str, Any]]
    wall_s: float

    @property
    def frames_per_s(self) -> float:
        return self.counts.frames_done / self.wall_s

    def lines(self) -> dict[str, str]:
        """The account in words, label -> text."""
        counts, listing = self.counts, self.listing
        files = f"{listing.listed:,} listed, {listing.new:,} new or changed, {listing.refused:,} in quarantine"
        if listing.ignored:
            files += f", {listing.ignored:,} others ignored"
        if listing.unreachable:
            files += f", {len(listing.unreachable):,} not readable now"
        if not counts.expected:
            return {"files": files, "segments": "nothing new: everything is in the database"}
        return {
            "files": files,
            "segments": f"{counts.expected:,} expected, {counts.done:,} loaded, {counts.quarantined:,} in quarantine, "
            f"{counts.missing:,} missing",
            "frames": f"{counts.frames_expected:,} expected, {counts.frames_done:,} loaded, "
            f"{counts.frames_undecodable:,} undecodable, {counts.frames_quarantined:,} in quarantine, "
            f"{counts.frames_missing:,} missing",
            "people": f"{counts.people:,} rows, one a person a frame",
            "speed": f"{self.frames_per_s:,.0f} frames/s, {self.wall_s:.1f} s in all",
        }


def describe_videos(site: Site, listing: Listing) -> list[dict[str, Any]]:
    """A row a video of this archive, as video_summary has it."""
    columns, rows = database.query(
        site.engine,
        "SELECT video_id, video, frames, round(CAST(duration_s AS numeric), 1) AS duration_s, frames_done,"
        " frames_undecodable, segments_quarantined, people FROM video_summary ORDER BY video",
    )
    found = [dict(zip(columns, row, strict=True)) for row in rows]
    return [{**row, "duration_s": float(row["duration_s"])} for row in found if row.pop("video_id") in listing.entries]


def describe_quarantine(site: Site, archive: str) -> list[dict[str, Any]]:
    """A row for each thing of this archive that could not be processed."""
    columns, rows = database.query(site.engine, "SELECT archive, key, start_frame, stop_frame, reason FROM quarantine")
    found = [dict(zip(columns, row, strict=True)) for row in rows]
    return [row for row in found if row.pop("archive") == archive]


@task(name="publish report", **TASK)
def publish_report(report: BatchReport) -> None:
    """The account as a markdown artifact with the picture in it, and the videos as a table artifact."""
    title = f"batch {report.batch_id}, {report.model}: {report.status}"
    create_table_artifact(report.videos[:TABLE_VIDEOS] or [{"video": "none"}], key="batch-videos", description=title)
    if report.refused:
        create_table_artifact(report.refused[:TABLE_VIDEOS], key="batch-quarantine", description=title)
    create_markdown_artifact(_markdown(report, title), key="batch-report", description=title)


def _markdown(report: BatchReport, title: str) -> str:
    account = "\n".join(f"| {label} | {text} |" for label, text in report.lines().items())
    parts = [
        f"# {title}",
        f"Archive `{report.archive}`, model version `{report.version_id}`.",
        f"| account | |\n|---|---|\n{account}",
    ]
    if report.pictures.sheet:
        parts.append(f"![the frames with the most people]({_data_url(report.pictures.sheet)})")
    if report.pictures.overlays:
        parts.append("\n".join(f"- `{key}`: {url}" for key, url in report.pictures.overlays.items()))
    return "\n\n".join(parts)


def _data_url(png: bytes) -> str:
    """The picture itself, since a browser may load no file from a disk or a private bucket."""
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    height = round(picture.shape[0] * UI_PICTURE_WIDTH / picture.shape[1])
    small = cv2.resize(picture, (UI_PICTURE_WIDTH, height), interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def print_report(report: BatchReport) -> None:
    """The same for a terminal."""
    lines = [("batch", f"{report.batch_id}, {report.status}"), *report.lines().items()]
    if report.pictures.sheet_url:
        lines.append(("picture", report.pictures.sheet_url))
    lines += [("overlay", f"{key}: {url}") for key, url in report.pictures.overlays.items()]
    lines += [("refused", f"{row['key']!r}: {row['reason']}") for row in report.refused]
    for label, text in lines:
        print(f"{label:<10}{text}")  # unwrapped: a path that is broken in two cannot be copied
