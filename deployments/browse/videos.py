"""The video and the numbers that a request names."""

from starlette.exceptions import HTTPException
from starlette.requests import Request

from deployments.browse.context import browse_of
from storage.sql.browse.videos import LARGEST_INTEGER, StoredVideo, stored_video


def requested_video(request: Request) -> StoredVideo:
    """Return the video of a route `/…/{video}…`, in the recording of `?recording=` or its first one.

    Raises HTTPException 404 if there is none, or if several begin with these digits.
    """
    recording = requested_number(request, "recording")
    found = stored_video(browse_of(request).site.engine, request.path_params["video"], recording)
    if found is None:
        raise HTTPException(404)
    return found


def requested_number(request: Request, name: str) -> int | None:
    """Return a whole number of the query, such as `?track=3`; None without one.

    Raises HTTPException 404 for anything that cannot be the number of a row or frame.
    """
    given = request.query_params.get(name)
    return whole_number(given) if given else None


def whole_number(given: str) -> int:
    """Return the number of a row or frame. Raises HTTPException 404 for anything else."""
    if not (given.isascii() and given.isdigit() and len(given) <= 10 and int(given) <= LARGEST_INTEGER):
        raise HTTPException(404)
    return int(given)
