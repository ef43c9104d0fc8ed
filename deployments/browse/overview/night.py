"""The page of a batch: its account, devices, videos and quarantine."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deployments.browse.context import browse_of
from deployments.browse.overview.paging import Paging, asked_page
from deployments.browse.pages import render
from storage.ledger.account import read_devices, read_losses
from storage.sql.browse import nights as rows
from tasks.browse.nights import by_reason, one_night

MOST_VIDEOS = 100  # of a page
MOST_REFUSALS = 1000
SHOWN_REFUSALS = 20  # of one reason
MOST_DEVICES = 200
LARGEST_ID = 2**31 - 1


def night_page(request: Request) -> Response:
    """Return the page of a batch. Query: page (of its videos)"""
    browse, batch_id = browse_of(request), int(request.path_params["batch_id"])
    engine = browse.site.engine
    shown = one_night(engine, batch_id) if batch_id <= LARGEST_ID else None
    if shown is None:
        raise HTTPException(404)
    page = asked_page(request)
    videos, all_videos = rows.read_night_videos(engine, batch_id, MOST_VIDEOS, page * MOST_VIDEOS)
    before, after = rows.read_neighbours(engine, batch_id)
    return render(
        request,
        "night.html",
        shown=shown,
        night=shown.night,
        zone=browse.site.settings.zone,
        devices=read_devices(engine, batch_id)[:MOST_DEVICES],
        losses=read_losses(engine, batch_id)[:MOST_DEVICES],
        reasons=by_reason(rows.read_refusals(engine, shown.night, MOST_REFUSALS)),
        shown_refusals=SHOWN_REFUSALS,
        videos=videos,
        paging=Paging(page, MOST_VIDEOS, all_videos),
        page_of_night=lambda number: f"{request.url.path}?page={number}",
        before=before,
        after=after,
    )


ROUTES = [Route("/night/{batch_id:int}", night_page)]
