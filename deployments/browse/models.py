"""Pages of models, trainings and evaluations."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deployments.browse.context import browse_of
from deployments.browse.pages import render
from deployments.browse.pictures import row_number
from deployments.browse.videos import requested_number
from models.errors import NightjarError
from models.evaluation.reference import advice, read_reference
from models.manifest import Manifest
from storage.objects.artifacts import Artifacts
from storage.objects.places import StoreError
from storage.sql.benchmarks import newest_speeds
from storage.sql.browse import models, trainings
from storage.sql.browse.models import StoredModel
from storage.sql.database import Database
from storage.sql.evaluations import comparable_accuracy
from storage.sql.trainings import read_pictures, read_trainings
from tasks.benchmark.side_by_side import protocol_line, side_by_side
from tasks.browse import trainings as training_pages
from tasks.browse.model_figures import all_figures, is_comparable, plots
from tasks.browse.trainings import Run
from tasks.site.artifact_keys import evaluation_sheet_key, failure_key, training_picture_key

if TYPE_CHECKING:  # slow to import, and only a comparison needs it
    from tasks.training.compare import Comparison

NOT_SOURCES = ("counts", "notes", "machine")  # of the JSON that tells the origin of a training's pictures


class Kept(NamedTuple):
    """Pictures of a page that the artifact store has. fault: why it cannot be asked, "" = it was"""

    names: frozenset[str] = frozenset()
    fault: str = ""


def models_page(request: Request) -> Response:
    """Return the page of all models, trainings, evaluations and benchmarks."""
    engine = browse_of(request).site.engine
    accuracy, reference = comparable_accuracy(engine), read_reference()
    figures = all_figures(reference, side_by_side(newest_speeds(engine), accuracy))
    versions = models.list_models(engine)
    return render(
        request,
        "models.html",
        figures=figures,
        plots=plots(figures),
        reference=reference,
        advice=advice(),
        comparable=is_comparable(reference, accuracy),
        accuracy_lines=list(protocol_line(accuracy)),
        versions=versions,
        manifests={version.model_version_id: _manifest(version) for version in versions},
        trainings=trainings.list_trainings(engine),
        evaluations=models.list_evaluations(engine),
        benchmarks=models.list_benchmarks(engine),
    )


def _manifest(version: StoredModel) -> Manifest | None:
    """Return a version's manifest; None for one of another version of this code."""
    try:
        return Manifest.from_json(version.manifest)
    except NightjarError:
        return None


def training_page(request: Request) -> Response:
    """Return the page of a training. Query: `beside`, the number of another one; `failure`, the number of a picture."""
    browse = browse_of(request)
    engine = browse.site.engine
    run = _run(engine, row_number(request, "run"))
    beside = _beside(engine, request, run.number)
    runs = [run] if beside is None else [run, beside]
    failures = training_pages.shown_failures(run, beside)
    data = training_pages.stored_json(run.row["data"])
    return render(
        request,
        "training.html",
        run=run,
        row=run.row,
        beside=beside,
        compared=_compared(engine, runs),
        charts=training_pages.charts(runs),
        confusion=training_pages.confusion_rows(run.row),
        failures=failures,
        more_failures=len(run.failures) - len(failures),
        kept=_kept_of(browse.site.artifacts, run),
        chosen=min(max(1, requested_number(request, "failure") or 1), max(1, len(failures))),
        params=training_pages.listed(training_pages.stored_json(run.row["params"])),
        sources=training_pages.listed({name: each for name, each in data.items() if name not in NOT_SOURCES}),
        data=data,
        others=[other for other in trainings.list_trainings(engine) if other.training_run_id != run.number],
    )


def _run(engine: Database, number: int) -> Run:
    """Read a training. Raises HTTPException where there is none."""
    if trainings.find_training_key(engine, number) is None:
        raise HTTPException(404, f"There is no training {number}.")
    [row] = read_trainings(engine, [number])
    return Run(row, trainings.read_steps(engine, number), read_pictures(engine, number, "test"))


def _beside(engine: Database, request: Request, number: int) -> Run | None:
    other = requested_number(request, "beside")
    return None if other is None or other == number else _run(engine, other)


def _compared(engine: Database, runs: list[Run]) -> "Comparison | None":
    if len(runs) < 2:
        return None
    from tasks.training.compare import compare_figures

    return compare_figures(engine, [dict(run.row) for run in runs])


def _kept_of(artifacts: Artifacts, run: Run) -> Kept:
    """Return the pictures of a training that are stored. Trainings of earlier versions have contact sheets only."""
    key = run.row["run_key"]
    keys = {name: training_picture_key(key, name) for name in ("failures", "near_misses")}
    first = ((row.sha256, row.box) for row in run.failures[:1])
    return _kept(artifacts, [*keys.items(), *(("each", failure_key(key, *picture)) for picture in first)])


def _kept(artifacts: Artifacts, keys: Iterable[tuple[str, str]]) -> Kept:
    try:
        return Kept(frozenset(name for name, key in keys if artifacts.exists(key)))
    except StoreError as error:
        return Kept(fault=str(error))


def evaluation_page(request: Request) -> Response:
    """Return the page of an evaluation, with the other ones of its model."""
    browse = browse_of(request)
    number = row_number(request, "evaluation")
    found = models.find_evaluation(browse.site.engine, number)
    if found is None:
        raise HTTPException(404, f"There is no evaluation {number}.")
    key = evaluation_sheet_key(found.version_sha256, found.figures.protocol_sha256)
    return render(
        request,
        "evaluation.html",
        evaluation=found,
        others=[
            each
            for each in models.evaluations_of(browse.site.engine, found.model_version_id)
            if each.evaluation_id != number
        ],
        protocol=training_pages.listed(training_pages.stored_json(found.figures.protocol)),
        kept=_kept(browse.site.artifacts, [("images", key)]),
    )


ROUTES = [
    Route("/models", models_page),
    Route("/training/{run}", training_page),
    Route("/evaluation/{evaluation}", evaluation_page),
]
