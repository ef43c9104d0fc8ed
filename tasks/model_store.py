"""Converted models into the artifact store, by their version's hash, and into SQL."""

from pathlib import Path

from prefect import task

from models.manifest import BIN_FILE, Manifest
from models.types import ModelVersion
from storage import catalogue
from storage.artifacts import put_folder
from tasks.model_cache import FILES, model_prefix
from tasks.policy import TASK
from tasks.site import Site


@task(name="store model", **TASK)
def store_model(site: Site, folder: Path, manifest: Manifest) -> int:
    """Put the IR under its version's hash and write it down in SQL. Again: changes nothing."""
    put_folder(site.artifacts, model_prefix(manifest.version_id), folder, FILES)
    version = ModelVersion(
        version_sha256=manifest.version_id,
        name=manifest.name,
        task=manifest.task,
        ir_sha256=manifest.ir_sha256[BIN_FILE],
        source_location=manifest.source.location,
        source_sha256=manifest.source.sha256,
        source_format=manifest.source.format,
        precision=manifest.precision,
        manifest=manifest.to_json(),
    )
    return catalogue.register_model(site.engine, version)
