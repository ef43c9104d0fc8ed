"""The data behind the pages of a video and of a recording: JSON, and rows as bytes.

Every answer has an ETag. Rows of a selection that carry its stamp in their address never change, and the browser keeps
them; all others are asked for again, and answered by 304 as long as nothing has changed.
"""

import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deployments.browse.context import browse_of
from deployments.browse.videos import requested_number, requested_video, whole_number
from models.types import Classifications, Rows
from storage.sql.analyses.pose_chunks import read_frames
from storage.sql.analyses.shown_tracks import tracks_in
from storage.sql.browse.player.scope import Scope, Versions
from storage.sql.browse.player.series import SERIES_COLUMNS, extent_of, read_series
from storage.sql.browse.player.versions import Selection, analyses_of, model_named, models_of, rows_stamp, select_rows
from storage.sql.browse.recordings import RecordingFile, files_near, start_in_recording, stored_recording
from storage.sql.browse.videos import StoredVideo
from storage.sql.catalogue import read_geometry
from storage.sql.database import Database
from storage.sql.result_rows import read_labels
from storage.video.geometry import DisplayGeometry, moved
from tasks.browse.frame_times import probed_video, shown_geometry
from tasks.browse.links import SHA_DIGITS, video_path
from tasks.browse.player.pieces import encode_labels, encode_poses, encode_series, piece_frames, series_frames
from tasks.browse.player.timeline import Shown, lanes_of, recording_lanes, recording_scope, video_lanes

MOST_COLUMNS = 8  # of a series
MOST_AT_S = 1e9
BYTES = "application/octet-stream"
ASK_AGAIN = "private, no-cache"
FOR_EVER = "private, max-age=31536000, immutable"
UNCOMPRESSED = {"Content-Encoding": "identity"}  # the middleware would spend 20 ms on numbers that hardly shrink


def versions(request: Request) -> Response:
    """Return the model versions and analyses of a video, for a choice."""
    video, engine = requested_video(request), browse_of(request).site.engine
    models = [each._asdict() for each in models_of(engine, video.video_id)]
    analyses = [each._asdict() for each in analyses_of(engine, video.video_id, video.recording_id)]
    return _json(request, {"models": models, "analyses": analyses})


def timeline(request: Request) -> Response:
    """Return the lanes of a video."""
    video, site = requested_video(request), browse_of(request).site
    selection = _selection(request, video)
    start_s = 0.0
    if video.recording_id is not None:
        start_s = start_in_recording(site.engine, video.recording_id, video.video_id)
    scope = Scope(video.video_id, video.recording_id, start_s, start_s + video.duration_s)
    lanes = lanes_of(site.engine, scope, _shown(site.engine, video, selection))
    geometry = shown_geometry(site, video)
    about: dict[str, Any] = {"duration_s": video.duration_s, "frames": video.frames}
    about |= {"recording_id": video.recording_id, "time_zone": video.time_zone, "start_at": _instant(video.start_at)}
    about |= {"width": geometry.size[0], "height": geometry.size[1], **_named(selection)}
    about["stamp"] = None if selection is None else _stamp(site.engine, selection, geometry)
    listed = video_lanes(lanes, video.video_id, video.sha256, video.recording_id)
    return _json(request, {**about, "cut": lanes.cut, "lanes": listed})


def times(request: Request) -> Response:
    """Return the time of every frame, float64 seconds on a player's clock."""
    _, index = probed_video(browse_of(request).site, requested_video(request))
    return _answer(request, index.timestamps_s.astype("<f8").tobytes(), BYTES)


def piece(request: Request) -> Response:
    """Return the rows of a part of a video, in pixels of the frames as they are read now."""
    video, site = requested_video(request), browse_of(request).site
    selection = _needed(_selection(request, video))
    start, stop = piece_frames(whole_number(request.path_params["number"]), video.frames)
    if start == stop:
        raise HTTPException(404)
    geometry = shown_geometry(site, video)

    def encoded() -> bytes:
        rows = _moved_rows(site.engine, selection, (start, stop), geometry)
        if isinstance(rows, Classifications):
            return encode_labels(start, stop, rows)
        return encode_poses(start, stop, rows, tracks_in(site.engine, selection.analysis_id, rows))

    return _rows(request, _stamp(site.engine, selection, geometry), f"piece {start}", encoded)


def series(request: Request) -> Response:
    """Return columns of a track's motion."""
    video, site = requested_video(request), browse_of(request).site
    selection, columns = _needed(_selection(request, video)), _columns(request)
    track, analysis_id = requested_number(request, "track"), selection.analysis_id
    if track is None or analysis_id is None:
        raise HTTPException(404)
    stamp = _stamp(site.engine, selection, shown_geometry(site, video))
    extent = extent_of(site.engine, analysis_id, track)
    if extent is None:
        raise HTTPException(404)
    frames = series_frames(extent)

    def encoded() -> bytes:
        return encode_series(read_series(site.engine, analysis_id, track, columns, frames), frames, len(columns))

    return _rows(request, stamp, f"series {track} {','.join(columns)}", encoded)


def recording(request: Request) -> Response:
    """Return the files and lanes of a recording, around `?at=` if it has very many files."""
    engine = browse_of(request).site.engine
    found = stored_recording(engine, whole_number(request.path_params["recording"]))
    if found is None:
        raise HTTPException(404)
    files = files_near(engine, found.recording_id, _seconds(request, "at"))
    scope = recording_scope(found.recording_id, files)
    lanes = lanes_of(engine, scope, _shown_in_recording(request))
    about: dict[str, Any] = {"recording": found.recording_id, "camera": found.camera, "time_zone": found.time_zone}
    about |= {"start_at": _instant(found.start_at), "duration_s": found.duration_s, "files_total": found.files}
    listed = [_file(file, found.recording_id) for file in files]
    window = {"from_s": scope.start_s, "to_s": scope.stop_s, "files": listed, "cut": lanes.cut}
    return _json(request, about | window | {"lanes": recording_lanes(lanes, found, files, scope.start_s)})


def _selection(request: Request, video: StoredVideo) -> Selection | None:
    """Return the rows that `?model=` and `?analysis=` name. Raises HTTPException 404 for a model without this video."""
    model, analysis = requested_number(request, "model"), requested_number(request, "analysis")
    found = select_rows(browse_of(request).site.engine, (video.video_id, video.recording_id), model, analysis)
    if found is None and model is not None:
        raise HTTPException(404)
    return found


def _needed(selection: Selection | None) -> Selection:
    if selection is None:
        raise HTTPException(404)
    return selection


def _named(selection: Selection | None) -> dict[str, Any]:
    if selection is None:
        return {"model": None, "analysis": None, "task": None}
    analysis = None if selection.analysis_id is None else selection.analysis_version_id
    return {"model": selection.model_version_id, "analysis": analysis, "task": selection.task}


def _shown(engine: Database, video: StoredVideo, selection: Selection | None) -> Shown:
    """Return the versions of a video's lanes: the chosen model, and the shown one of the other task."""
    if selection is None:
        return Shown(None, None, None)
    main, other_task = _versions(selection), _other(selection.task)
    place = (video.video_id, video.recording_id)
    other = select_rows(engine, place, None, selection.analysis_version_id, other_task)
    return _by_task(main, other and _versions(other))


def _shown_in_recording(request: Request) -> Shown:
    """Return the versions of a recording's lanes. Raises HTTPException 404 for an unknown model."""
    engine = browse_of(request).site.engine
    model, analysis = requested_number(request, "model"), requested_number(request, "analysis")
    main = model_named(engine, model, analysis)
    if main is None:
        if model is not None:
            raise HTTPException(404)
        return Shown(None, None, None)
    return _by_task(main, model_named(engine, None, analysis, _other(main.task)))


def _versions(selection: Selection) -> Versions:
    return Versions(selection.task, selection.model_version_id, selection.analysis_version_id)


def _other(task: str) -> str:
    return "classification" if task == "pose" else "pose"


def _by_task(main: Versions, other: Versions | None) -> Shown:
    return Shown(main, main, other) if main.task == "pose" else Shown(main, other, main)


def _moved_rows(engine: Database, selection: Selection, frames: tuple[int, int], geometry: DisplayGeometry) -> Rows:
    read = read_labels if selection.task == "classification" else read_frames
    rows: Rows = read(engine, selection.video_id, selection.model_version_id, *frames)
    return moved(rows, read_geometry(engine, selection.video_id), geometry)


def _columns(request: Request) -> list[str]:
    """Return the columns of a series, each of SERIES_COLUMNS and once. Raises HTTPException 400."""
    names = request.query_params.get("columns", "").split(",")
    if not set(names) <= set(SERIES_COLUMNS) or len(set(names)) < len(names) or len(names) > MOST_COLUMNS:
        raise HTTPException(400, f"Give 1 to {MOST_COLUMNS} different columns of track_motion.")
    return names


def _seconds(request: Request, name: str) -> float:
    """Return a number of seconds of the query, 0 without one. Raises HTTPException 404 for anything else."""
    try:
        value = float(request.query_params.get(name) or 0)
    except ValueError:
        raise HTTPException(404) from None
    if not 0 <= value <= MOST_AT_S:
        raise HTTPException(404)
    return value


def _file(file: RecordingFile, recording_id: int) -> dict[str, Any]:
    return {
        "video": file.sha256[:SHA_DIGITS],
        "name": file.name,
        "url": video_path(file.sha256, recording=recording_id),
        "position": file.position,
        "start_s": file.start_s,
        "duration_s": file.duration_s,
        "frames": file.frames,
        "start_at": _instant(file.start_at),
        "gone": file.gone_at is not None,
    }


def _instant(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _stamp(engine: Database, selection: Selection, geometry: DisplayGeometry) -> str:
    """Return a name for the rows of a selection as they are shown. Read it before the rows."""
    return _hash(f"{rows_stamp(engine, selection)} {geometry!r}".encode())


def _rows(request: Request, stamp: str, about: str, encoded: Callable[[], bytes]) -> Response:
    """Return rows, which are read only if the browser does not have those of this stamp."""
    etag = _hash(f"{stamp} {about}".encode())
    keep = FOR_EVER if request.query_params.get("stamp") == stamp else ASK_AGAIN
    if _is_known(request, etag):
        return Response(status_code=304, headers=_headers(etag, keep))
    return Response(encoded(), media_type=BYTES, headers=_headers(etag, keep) | UNCOMPRESSED)


def _json(request: Request, value: dict[str, Any]) -> Response:
    return _answer(request, json.dumps(value, ensure_ascii=False, allow_nan=False).encode(), "application/json")


def _answer(request: Request, content: bytes, media_type: str) -> Response:
    """Return content whose ETag is its hash."""
    etag = _hash(content)
    if _is_known(request, etag):
        return Response(status_code=304, headers=_headers(etag, ASK_AGAIN))
    extra = UNCOMPRESSED if media_type == BYTES else {}
    return Response(content, media_type=media_type, headers=_headers(etag, ASK_AGAIN) | extra)


def _is_known(request: Request, etag: str) -> bool:
    """Return whether the browser has this content. A proxy that compresses answers weakens ETags to `W/"…"`."""
    known = request.headers.get("if-none-match", "")
    return f'"{etag}"' in {each.strip().removeprefix("W/") for each in known.split(",")}


def _headers(etag: str, keep: str) -> dict[str, str]:
    return {"ETag": f'"{etag}"', "Cache-Control": keep}


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


ROUTES = [
    Route("/api/video/{video}/versions", versions),
    Route("/api/video/{video}/timeline", timeline),
    Route("/api/video/{video}/times", times),
    Route("/api/video/{video}/pieces/{number}", piece),
    Route("/api/video/{video}/series", series),
    Route("/api/recording/{recording}", recording),
]
