"""Videos for the browser's player, and single frames."""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from io import BufferedReader

import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from deployments.browse.context import browse_of
from deployments.browse.videos import requested_number, requested_video
from models.types import NightjarError
from storage.sql.browse.damage import has_undecodable_frames
from storage.video.regular_file import open_regular
from tasks.browse.links import media_path
from tasks.browse.media import MediaGoneError
from tasks.browse.ranges import ByteRange, is_known, range_still_holds, requested_range
from tasks.browse.stills import StillName, open_still
from tasks.browse.transcode import MediaState, MediaVideo, Preparation, ReadyFile
from tasks.browse.turns import BusyError

CHUNK_BYTES = 1 << 18
QUICK_S = 0.8  # a plain file is ready within this time, so that its page need not ask twice
STATUS = {"preparing": 202, "failed": 422, "gone": 410}
REVALIDATED = "private, no-cache"
KEPT = "private, max-age=3600"


def preparation_of(request: Request) -> Preparation:
    """Return the work on videos of the application that answers a request."""
    found = request.app.state.preparation
    assert isinstance(found, Preparation)
    return found


def media(request: Request) -> Response:
    """Return the video for a player: all of it or a range, or its state while it is being prepared."""
    video = _named(request)
    state = preparation_of(request).state(video, start=request.method == "GET", wait_s=QUICK_S)
    if state.state != "ready":
        return _state_response(video, state, STATUS[state.state])
    with ExitStack() as stack:
        ready = stack.enter_context(preparation_of(request).open(video))
        file, _ = stack.enter_context(open_regular(ready.path))
        response = file_response(request, ready, file)
        response.closes = stack.pop_all()
    return response


def media_state(request: Request) -> Response:
    """Return the state of a video as JSON. `?start=1` begins the preparation."""
    video = _named(request)
    start = request.query_params.get("start") == "1"
    return _state_response(video, preparation_of(request).state(video, start=start, wait_s=QUICK_S * start), 200)


def still(request: Request) -> Response:
    """Return a frame as a JPEG."""
    video, digits = requested_video(request), request.path_params["frame"]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10 and int(digits) < video.frames):
        raise HTTPException(404)
    named, width = StillName(video, int(digits)), requested_number(request, "width")
    try:
        with open_still(browse_of(request).site, named, width) as path:
            return Response(path.read_bytes(), media_type="image/jpeg", headers={"Cache-Control": KEPT})
    except BusyError as error:
        return PlainTextResponse(str(error), 503, {"Retry-After": "2"})
    except NightjarError as error:
        return PlainTextResponse(str(error), 410 if isinstance(error, MediaGoneError) else 422)


def _named(request: Request) -> MediaVideo:
    """Return the video. It is converted on request, and where damaged pictures would stop a browser."""
    video = requested_video(request)
    convert = request.query_params.get("convert") == "1"
    damaged = has_undecodable_frames(browse_of(request).site.engine, video.video_id)
    return MediaVideo(video, convert or damaged)


def _state_response(video: MediaVideo, state: MediaState, status: int) -> JSONResponse:
    url = media_path(video.sha256, convert=1 if video.convert else None) if state.state == "ready" else None
    return JSONResponse({**state._asdict(), "done": round(state.done, 3), "url": url}, status)


class FileResponse(StreamingResponse):
    """Bytes of an open file. closes: what is closed at the end, however the client leaves"""

    def __init__(
        self, file: BufferedReader, part: ByteRange | None, status: int, headers: dict[str, str], media_type: str
    ) -> None:
        super().__init__(_chunks(file, part or ByteRange(0, 0)), status, headers, media_type)
        self.closes = ExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.closes.close()


def file_response(request: Request, ready: ReadyFile, file: BufferedReader) -> FileResponse:
    """Answer a request for a file: whole, a range, or that the client has it. file: open at `ready.path`"""
    etag = f'"{ready.etag}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": REVALIDATED}
    if is_known(request.headers.get("if-none-match"), etag):
        return FileResponse(file, None, 304, headers, ready.media_type)
    whole, size = ByteRange(0, ready.size_bytes), ready.size_bytes
    if request.method == "HEAD":
        return FileResponse(file, None, 200, headers | {"Content-Length": str(size)}, ready.media_type)
    holds = range_still_holds(request.headers.get("if-range"), etag)
    part = requested_range(request.headers.get("range"), size) if holds else None
    if part == "unsatisfiable":
        nothing = {"Content-Range": f"bytes */{size}", "Content-Length": "0"}
        return FileResponse(file, None, 416, headers | nothing, ready.media_type)
    if part is None:
        return FileResponse(file, whole, 200, headers | {"Content-Length": str(size)}, ready.media_type)
    shown = f"bytes {part.start}-{part.stop - 1}/{size}"
    sent = {"Content-Range": shown, "Content-Length": str(part.stop - part.start)}
    return FileResponse(file, part, 206, headers | sent, ready.media_type)


async def _chunks(file: BufferedReader, part: ByteRange) -> AsyncIterator[bytes]:
    """Yield the bytes. Raises RuntimeError where the file has become shorter: the connection then ends early."""
    position = part.start
    while position < part.stop:
        count = min(CHUNK_BYTES, part.stop - position)
        chunk = await anyio.to_thread.run_sync(_read_at, file, position, count)
        if not chunk:
            raise RuntimeError("A video became shorter while it was sent.")
        position += len(chunk)
        yield chunk


def _read_at(file: BufferedReader, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)


ROUTES = [
    Route("/media/{video}", media, methods=["GET"]),
    Route("/media/{video}/state", media_state, methods=["GET"]),
    Route("/still/{video}/{frame}.jpg", still, methods=["GET"]),
]
