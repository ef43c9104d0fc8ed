"""Prefect tasks that fetch, convert and store models: names and policies over plain functions."""

from pathlib import Path

from prefect import task

from models.conversion.spec import ConvertSpec
from models.manifest import Manifest
from tasks.model.convert import convert_source, fetch_with_progress
from tasks.model.store import store_model
from tasks.runs.policy import TASK
from tasks.site.site import reopen_site


@task(name="fetch source", **TASK)
def fetch_source_task(spec: ConvertSpec) -> tuple[Path, str]:
    """Fetch the source of a model. Raises NightjarError if it cannot be fetched."""
    return fetch_with_progress(spec)


convert_source_task = task(name="convert to IR", **TASK)(convert_source)


@task(name="store model", **TASK)
def store_model_task(folder: Path, manifest: Manifest) -> int:
    """Store and register a converted model. Returns its id."""
    with reopen_site() as site:
        return store_model(site, folder, manifest)
