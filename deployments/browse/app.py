"""The application: its routes, and its answers to errors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from deployments.browse import data, events, media, models, pictures, video
from deployments.browse.context import Browse
from deployments.browse.overview import days, night, search, start
from deployments.browse.pages import render
from deployments.browse.security import Guard
from deployments.browse.sql_box import page as sql_page
from deployments.browse.sql_box import places as sql_places
from deployments.browse.sql_box.process import QueryProcesses
from models.types import NightjarError
from tasks.browse.transcode import Preparation
from tasks.waiting.retry import may_recover

STATIC = Path(__file__).with_name("static")


def create_app(browse: Browse) -> Starlette:
    """Return the application that shows a site."""
    routes = [
        *start.ROUTES,
        *night.ROUTES,
        *days.ROUTES,
        *search.ROUTES,
        *sql_page.ROUTES,
        *sql_places.ROUTES,
        *events.ROUTES,
        *data.ROUTES,
        *video.ROUTES,
        *models.ROUTES,
        *pictures.ROUTES,
        *media.ROUTES,
        Mount("/static", StaticFiles(directory=STATIC)),
        Route("/favicon.ico", _favicon),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Guard), Middleware(GZipMiddleware, minimum_size=2000)],
        exception_handlers={HTTPException: _http_error, NightjarError: _user_error, Exception: _unexpected},
        lifespan=_lifespan,
    )
    app.state.browse = browse
    app.state.query_processes = QueryProcesses()
    app.state.preparation = Preparation(browse.site)
    return app


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    """End the conversion of videos with the server."""
    yield
    await anyio.to_thread.run_sync(app.state.preparation.close)


def _favicon(request: Request) -> Response:
    return Response((STATIC / "favicon.svg").read_bytes(), media_type="image/svg+xml")


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = "There is no such page." if error.status_code == 404 else error.detail
    return _answer(request, error.status_code, message)


def _user_error(request: Request, error: Exception) -> Response:
    """Show an error that the user can repair: 503 for a server that may answer later, such as a stopped database."""
    return _answer(request, 503 if may_recover(error) else 400, str(error))


def _unexpected(request: Request, error: Exception) -> Response:
    """Show that something went wrong; the traceback is in the server's log."""
    return _answer(request, 500, "Something went wrong. The log of 'nightjar browse' has more.")


def _answer(request: Request, status: int, message: str) -> Response:
    """Tell an error: as JSON to a script, else as a page."""
    if request.url.path.startswith("/api/"):
        return JSONResponse({"error": message}, status)
    return render(request, "error.html", status, message=message)
