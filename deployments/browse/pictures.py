"""Pictures of the artifact store: those that a training or an evaluation of the database has.

No part of an address is a part of a key: numbers of rows are looked up, and the key is built from hashes of the
database. The store is not trusted: what is not a JPEG or PNG of a sane size is not sent.
"""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deployments.browse.context import browse_of
from models.datasets.picture import picture_header
from storage.objects.places import ObjectError
from storage.sql.browse.models import find_evaluation
from storage.sql.browse.trainings import find_training_key
from storage.sql.trainings import read_pictures
from tasks.site.artifact_keys import TRAINING_PICTURES, evaluation_sheet_key, failure_key, training_picture_key
from tasks.training.failures import MOST_KEPT, failed

MOST_BYTES = 32 << 20
MOST_SIDE_PX = 16_384
LARGEST_INTEGER = (1 << 31) - 1  # of a key in PostgreSQL
MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png"}


def failure_picture(request: Request) -> Response:
    """Return the small copy of a training's failure, by its number from 1."""
    training_run_id, number = row_number(request, "run"), row_number(request, "number")
    engine = browse_of(request).site.engine
    found = find_training_key(engine, training_run_id)
    if found is None or found.threshold is None or found.status != "completed" or not 0 < number <= MOST_KEPT:
        raise HTTPException(404)
    wrong = failed(read_pictures(engine, training_run_id, "test"), found.threshold)
    if number > len(wrong):
        raise HTTPException(404)
    chosen = wrong[number - 1]
    return _picture(request, failure_key(found.run_key, chosen.sha256, chosen.box))


def training_picture(request: Request) -> Response:
    """Return a chart or a contact sheet of a training."""
    name = request.path_params["name"]
    found = find_training_key(browse_of(request).site.engine, row_number(request, "run"))
    if found is None or name not in TRAINING_PICTURES:
        raise HTTPException(404)
    return _picture(request, training_picture_key(found.run_key, name))


def evaluation_picture(request: Request) -> Response:
    """Return the contact sheet of an evaluation's best and worst images."""
    found = find_evaluation(browse_of(request).site.engine, row_number(request, "evaluation"))
    if found is None:
        raise HTTPException(404)
    return _picture(request, evaluation_sheet_key(found.version_sha256, found.figures.protocol_sha256))


def row_number(request: Request, name: str) -> int:
    """Return a number of the path. Raises HTTPException for anything that cannot be the key of a row."""
    given = request.path_params[name]
    if not (given.isascii() and given.isdigit() and len(given) <= 10 and int(given) <= LARGEST_INTEGER):
        raise HTTPException(404)
    return int(given)


def _picture(request: Request, key: str) -> Response:
    artifacts = browse_of(request).site.artifacts
    try:
        content = artifacts.get_bytes(key, MOST_BYTES)
    except ObjectError:
        raise HTTPException(404, "The artifact store does not have this picture.") from None
    return Response(content, media_type=media_type(content))


def media_type(content: bytes) -> str:
    """Return the type of a picture. Raises HTTPException for anything but a JPEG or PNG of a sane size."""
    try:
        kind, width, height = picture_header(content)
    except (ValueError, IndexError):
        kind, width, height = "", 0, 0
    if kind not in MEDIA_TYPES or not (0 < width <= MOST_SIDE_PX and 0 < height <= MOST_SIDE_PX):
        raise HTTPException(404, "The artifact store has something else than a picture here.")
    return MEDIA_TYPES[kind]


ROUTES = [
    Route("/training/{run}/failures/{number}.jpg", failure_picture),
    Route("/training/{run}/{name}.png", training_picture),
    Route("/evaluation/{evaluation}/images.png", evaluation_picture),
]
