"""The page of a search by name."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deployments.browse.context import browse_of
from deployments.browse.pages import render
from storage.sql.browse import search

MOST_FOUND = 50  # of each kind


def search_page(request: Request) -> Response:
    """Return cameras, recordings and videos by name. Query: q"""
    engine = browse_of(request).site.engine
    text = request.query_params.get("q", "")[: search.MOST_CHARACTERS]
    wanted = search.Wanted.of(text)
    by_sha256, named = search.find_by_sha256(engine, wanted, MOST_FOUND), search.find_files(engine, wanted, MOST_FOUND)
    return render(
        request,
        "search.html",
        text=text,
        words=wanted.words,
        cameras=search.find_cameras(engine, wanted, MOST_FOUND),
        recordings=search.find_recordings(engine, wanted, MOST_FOUND),
        files=search.SearchResult(list(dict.fromkeys(by_sha256.rows + named.rows)), by_sha256.more or named.more),
    )


ROUTES = [Route("/search", search_page)]
