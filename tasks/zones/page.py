"""The page on which people draw zones: one file that works offline and loads nothing."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2

from tasks.site_file.zones import ZoneEntry
from tasks.zones.still import Still

TEMPLATE = Path(__file__).with_name("page.html")
_JPEG_QUALITY = 88
_INLINE = {"script-src": r"<script>(.*?)</script>", "style-src": r"<style>(.*?)</style>"}


def drawing_page(still: Still, zones: Iterable[ZoneEntry], site_file: Path) -> str:
    """Return the page with a still and the zones of its camera. Names are data, and never become markup."""
    data = {
        "title": f"Zones of {still.camera or still.video}",
        "camera": still.camera or "",
        "site_file": str(site_file),
        "width": still.picture.shape[1],
        "height": still.picture.shape[0],
        "still": _data_uri(still),
        "zones": [_described(zone) for zone in zones],
    }
    template = TEMPLATE.read_text(encoding="utf-8")
    page = template.replace("CONTENT_SECURITY_POLICY", html.escape(_policy(template)), 1)
    return page.replace("PAGE_DATA", html.escape(json.dumps(data)), 1)


def _described(zone: ZoneEntry) -> dict[str, Any]:
    begins = "" if zone.from_ is None else zone.from_.isoformat()
    return {"name": zone.name, "kind": zone.kind, "shape": zone.shape, "points": zone.points, "from": begins}


def _data_uri(still: Still) -> str:
    encoded = cv2.imencode(".jpg", still.picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"


def _policy(template: str) -> str:
    """Return a policy that allows the page's own script and style, pictures in the page, and nothing else."""
    rules = ["default-src 'none'", "img-src data:", "base-uri 'none'", "form-action 'none'"]
    for directive, pattern in _INLINE.items():
        (content,) = re.findall(pattern, template, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        rules.append(f"{directive} 'sha256-{digest}'")
    return "; ".join(rules)
