"""Store converted models by version hash, register them in SQL, and fetch the model of a batch."""

import dataclasses
import shutil
from pathlib import Path

from models.manifest import MANIFEST_FILE, Manifest
from storage.objects.artifacts import put_folder
from storage.sql import catalogue
from tasks.model.cache import FILES, fetch_model, model_prefix
from tasks.model.early_checks import refuse_other_rate
from tasks.model.names import require_model
from tasks.model.stored import version_of
from tasks.site.scratch import scratch_folder
from tasks.site.site import Site


def store_model(site: Site, folder: Path, manifest: Manifest) -> int:
    """Store the IR under its version's hash and register it in SQL. A second call changes nothing."""
    put_folder(site.artifacts, model_prefix(manifest.version_id), folder, FILES)
    return catalogue.register_model(site.engine, version_of(manifest))


def take_model(site: Site, name: str, frames_per_second: float | None = None) -> tuple[int, Path, Manifest]:
    """Fetch the model of this name or hash: its id, its verified local folder and its manifest.

    frames_per_second: use a version that processes this many frames per second, with rows and segments of its own.
        It is created at its first use
    Raises NightjarError if there is no such model, or if it already has another rate.
    """
    model_version_id, version = require_model(site, name)
    folder, manifest = fetch_model(site.artifacts, version.version_sha256, site.settings.model_cache)
    refuse_other_rate(manifest, name, frames_per_second)
    if frames_per_second in (None, manifest.frames_per_second):
        return model_version_id, folder, manifest
    return _sampling(site, folder, dataclasses.replace(manifest, frames_per_second=frames_per_second))


def _sampling(site: Site, folder: Path, manifest: Manifest) -> tuple[int, Path, Manifest]:
    """Store the same IR with another manifest."""
    with scratch_folder("model") as scratch:
        for name in FILES:
            shutil.copyfile(folder / name, scratch / name)
        (scratch / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
        model_version_id = store_model(site, scratch, manifest)
    return model_version_id, *fetch_model(site.artifacts, manifest.version_id, site.settings.model_cache)
