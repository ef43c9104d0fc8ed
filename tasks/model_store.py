"""Converted models in the artifact store, by their version's hash."""

import shutil
from pathlib import Path

from prefect import task

from models.manifest import BIN_FILE, MANIFEST_FILE, XML_FILE, Manifest, verify_ir
from models.types import ModelVersion, NightjarError
from storage import catalogue
from storage.artifacts import Artifacts, get_folder, put_folder
from tasks.policy import TASK
from tasks.site import Site

FILES = (XML_FILE, BIN_FILE, MANIFEST_FILE)


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


def fetch_model(artifacts: Artifacts, version_id: str, cache: Path) -> tuple[Path, Manifest]:
    """A model's folder on this machine, verified against its manifest and its hash. Raises NightjarError."""
    folder = get_folder(artifacts, model_prefix(version_id), FILES, cache)
    try:
        return folder, _verified(folder, version_id)
    except NightjarError:
        shutil.rmtree(folder)  # perhaps only this machine's copy is damaged
    folder = get_folder(artifacts, model_prefix(version_id), FILES, cache)
    return folder, _verified(folder, version_id)


def _verified(folder: Path, version_id: str) -> Manifest:
    manifest = Manifest.from_json((folder / MANIFEST_FILE).read_text())
    if manifest.version_id != version_id:
        raise NightjarError(
            f"the stored manifest of {manifest.name} is of version {manifest.version_id[:12]}…, "
            f"expected {version_id[:12]}…: run 'nightjar convert {manifest.name}' again"
        )
    verify_ir(folder, manifest)
    return manifest


def model_prefix(version_id: str) -> str:
    return f"models/{version_id}"
