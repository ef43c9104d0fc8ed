"""The zones of the site file, for people: as a list, on a picture, and as a page to draw them on."""

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import cv2

from models.drawing.people import draw_caption
from models.drawing.zones import draw_zones
from models.types import CameraZone
from storage.private import make_file
from tasks.site.site import Site
from tasks.site_file.load import read_site_file
from tasks.site_file.spec import SiteFile
from tasks.site_file.zones import zones_of
from tasks.zones.page import drawing_page
from tasks.zones.still import Still, read_still


class ListedZone(NamedTuple):
    """One entry of the site file. valid_from: in the camera's time zone, None = from the beginning; points: as JSON"""

    camera: str
    zone: str
    kind: str
    shape: str
    corners: int
    valid_from: str | None
    points: str


def listed_zones(site_file: SiteFile, camera: str | None = None) -> list[ListedZone]:
    """Return the zones of the site file in its order; of one camera only, if it is given."""
    entries = [zone for zone in site_file.zones if camera in (None, zone.camera)]
    return [
        ListedZone(
            zone.camera,
            zone.name,
            zone.kind,
            zone.shape,
            len(zone.points),
            None if zone.from_ is None else zone.from_.isoformat(" "),
            json.dumps(zone.points),
        )
        for zone in entries
    ]


def write_zone_picture(site: Site, name: str, at_s: float | None, output: Path | None) -> tuple[str, str]:
    """Draw the zones that hold on a frame. Return the picture's address and a remark, "" without one.

    name: a camera or a video; at_s: second of the video, None = its middle; output: None = into the artifact store
    """
    site_file = read_site_file(site.settings)
    still = read_still(site, name, at_s)
    zones = zones_at(zones_of(site_file.zones, still.camera, still.time_zone), still.at)
    draw_caption(draw_zones(still.picture, zones), f"{still.video}   {still.t_s:.2f} s")
    png = cv2.imencode(".png", still.picture)[1].tobytes()
    remark = "" if zones else f"There are no zones. Run 'nightjar zones draw {name}'."
    return _write(site, still, png, ".png", output), remark


def write_drawing_page(site: Site, name: str, at_s: float | None, output: Path | None) -> str:
    """Write the page on which a camera's zones are drawn, and return its address. Parameters as above."""
    site_file = read_site_file(site.settings)
    still = read_still(site, name, at_s)
    mine = [zone for zone in site_file.zones if zone.camera == still.camera]
    page = drawing_page(still, mine, site.settings.site_file_path)
    return _write(site, still, page.encode(), ".html", output)


def zones_at(zones: Iterable[CameraZone], moment: datetime | None) -> list[CameraZone]:
    """Return the zones that hold at a time; None = not known: those that have no end."""
    if moment is None:
        return [zone for zone in zones if zone.valid_to is None]
    return [
        zone
        for zone in zones
        if (zone.valid_from is None or zone.valid_from <= moment) and (zone.valid_to is None or moment < zone.valid_to)
    ]


def _write(site: Site, still: Still, content: bytes, suffix: str, output: Path | None) -> str:
    """Store a picture or a page, readable by its owner only. Return its address."""
    if output is None:
        key = f"zones/{still.video_sha256}-{still.frame:08d}-{hashlib.sha256(content).hexdigest()[:12]}{suffix}"
        site.artifacts.put_bytes(key, content)
        return site.artifacts.url(key)
    make_file(output)
    output.write_bytes(content)
    return str(output)
