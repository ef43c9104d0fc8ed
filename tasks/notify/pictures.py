"""Pictures of events: the frame of the peak with the people drawn in, as a small JPEG in the artifact store."""

import hashlib
import logging
import time
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from models.types import NightjarError
from storage.ledger.news import NewEvent
from storage.objects.artifacts import Artifacts
from tasks.batch.overlays import draw_frame
from tasks.site.site import Site

log = logging.getLogger(__name__)

DRAWING_S = 60.0  # for all events of a round: a message without its picture is better than a late one
MOST_BYTES = 200_000  # of a JPEG: services refuse large ones, and mail grows it by a third
WIDTHS = (960, 640, 480, 320)
QUALITY = 80


def picture_key(event: NewEvent) -> str:
    """Return the picture's key in the artifact store. An event's key is text from the database, so it is hashed."""
    return f"events/{hashlib.sha256(event.event_key.encode()).hexdigest()}.jpg"


def draw_events(site: Site, events: Sequence[NewEvent], limit_s: float = DRAWING_S) -> dict[str, str]:
    """Draw the peaks of events that have no picture yet. Returns event_key -> key of its picture.

    An event whose video cannot be opened or drawn has none; neither have those beyond the time limit.
    """
    begun = time.monotonic()
    found: dict[str, str] = {}
    for event in events:
        if time.monotonic() - begun > limit_s:
            log.warning("The other events are sent without a picture, as drawing takes too long")
            break
        try:
            found[event.event_key] = _draw_event(site, event)
        except NightjarError as error:
            log.warning("An event is sent without its picture: %s", error)
    return found


def _draw_event(site: Site, event: NewEvent) -> str:
    key = picture_key(event)
    if not site.artifacts.exists(key):
        _store(site.artifacts, key, draw_frame(site, event.peak_sha256, event.peak_frame))
    return key


def _store(artifacts: Artifacts, key: str, picture: NDArray[np.uint8]) -> None:
    artifacts.put_bytes(key, small_jpeg(picture))


def small_jpeg(picture: NDArray[np.uint8]) -> bytes:
    """Encode a picture (height, width, 3) BGR in MOST_BYTES at most, smaller if it needs more."""
    jpeg = b""
    for width in WIDTHS:
        scale = min(1.0, width / picture.shape[1])
        size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
        resized = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        jpeg = cv2.imencode(".jpg", resized, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
        if len(jpeg) <= MOST_BYTES:
            return jpeg
    return jpeg if len(jpeg) <= MOST_BYTES else b""
