"""Pages of a video and of a recording: player, timeline and charts. Their scripts fetch rows and pictures."""

import json
from collections.abc import Iterator

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deployments.browse.context import browse_of
from deployments.browse.pages import instant, render
from deployments.browse.videos import requested_video, whole_number
from models.decoders.skeleton import DRAWN_EDGES
from models.types import KEYPOINT_NAMES
from storage.sql.browse.player.series import SERIES_COLUMNS
from storage.sql.browse.recordings import StoredRecording, start_in_recording, stored_recording
from tasks.browse.links import SHA_DIGITS
from tasks.text.wording import count, duration


def video_page(request: Request) -> Response:
    """Return the page of a video."""
    video, engine = requested_video(request), browse_of(request).site.engine
    start_s = 0.0
    if video.recording_id is not None:
        start_s = start_in_recording(engine, video.recording_id, video.video_id)
    return render(
        request,
        "video.html",
        video=video,
        v=video.sha256[:SHA_DIGITS],
        start_at=video.start_at.isoformat() if video.start_at else "",
        start_s=start_s,
        edges=json.dumps(DRAWN_EDGES),
        keypoints=json.dumps(KEYPOINT_NAMES),
        columns=json.dumps(SERIES_COLUMNS),
    )


def recording_page(request: Request) -> Response:
    """Return the page of a recording."""
    recording_id = whole_number(request.path_params["recording"])
    found = stored_recording(browse_of(request).site.engine, recording_id)
    if found is None:
        raise HTTPException(404)
    title = f"Camera {found.camera}" if found.camera else f"Recording {recording_id}"
    return render(request, "recording.html", recording_id=recording_id, title=title, facts=list(_facts(found)))


def _facts(recording: StoredRecording) -> Iterator[str]:
    if recording.start_at:
        yield f"From {instant(recording.start_at)} UTC"
    yield count(recording.files, "file")
    yield duration(recording.duration_s)


ROUTES = [Route("/video/{video}", video_page), Route("/recording/{recording}", recording_page)]
