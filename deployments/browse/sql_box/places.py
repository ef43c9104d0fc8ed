"""/open: leads from what a row says about its video to the player at that place."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from deployments.browse.context import browse_of
from deployments.browse.pages import render
from storage.sql.browse.places import NamedVideo, peak_videos, video_of_id, videos_of_hash, videos_of_name
from storage.sql.database import Database
from tasks.browse import links

MOST_ID = 2**31
PASSED_ON = ("track", "model", "recording")


def open_place(request: Request) -> Response:
    """Redirect to a video's page, or list the videos of a name."""
    asked = request.query_params
    engine = browse_of(request).site.engine
    found, frame, second = _named(engine, asked), _number(asked, "frame"), _seconds(asked, "t_s")
    peak_frame, peak_s = _number(asked, "peak_frame"), _seconds(asked, "peak_s")
    if found and (peak_frame is not None or peak_s is not None):
        frame, second = peak_frame, peak_s
        found = _of_peak(engine, found, peak_frame, peak_s)
    where: dict[str, object] = {"frame": frame, "t": None if frame is not None else second}
    where |= {name: _number(asked, name) for name in PASSED_ON}
    if len(found) == 1:
        return RedirectResponse(links.video_path(found[0].sha256, **where))
    places = [(video, links.video_path(video.sha256, **where)) for video in found]
    return render(request, "open.html", 300 if found else 404, name=_words(asked), places=places)


def _named(engine: Database, asked: Mapping[str, str]) -> list[NamedVideo]:
    """Return the videos that the address names, by the most exact of its names."""
    if (video_id := _number(asked, "video_id")) is not None:
        return video_of_id(engine, video_id)
    if "sha256" in asked:
        return videos_of_hash(engine, asked["sha256"].lower())
    return videos_of_name(engine, asked["video"]) if "video" in asked else []


def _of_peak(engine: Database, found: list[NamedVideo], frame: int | None, second: str | None) -> list[NamedVideo]:
    """Return the videos in which the peaks are, of the events that begin in these videos."""
    peak_s = None if second is None else float(second)
    peaks = [peak for video in found for peak in peak_videos(engine, video.video_id, frame, peak_s)]
    return list(dict.fromkeys(peaks)) or found


def _number(asked: Mapping[str, str], name: str) -> int | None:
    text = asked.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 11 and int(text) < MOST_ID else None


def _seconds(asked: Mapping[str, str], name: str) -> str | None:
    """Return seconds with all digits, which decide about the frame; None = no such number."""
    try:
        number = float(asked.get(name, ""))
    except ValueError:
        return None
    return repr(number) if 0 <= number < MOST_ID else None


def _words(asked: Mapping[str, str]) -> str:
    """Return the name that the address gives."""
    return next((asked[name] for name in ("video_id", "sha256", "video") if name in asked), "")


ROUTES = [Route(links.OPEN, open_place)]
