"""Local cache of converted models, fetched by version hash and verified. No SQL: edge workers import this."""

import shutil
from pathlib import Path

from models.manifest import BIN_FILE, MANIFEST_FILE, XML_FILE, Manifest, verify_ir
from models.types import NightjarError
from storage.objects.artifacts import Artifacts, get_folder

FILES = (XML_FILE, BIN_FILE, MANIFEST_FILE)


def fetch_model(artifacts: Artifacts, version_id: str, cache: Path) -> tuple[Path, Manifest]:
    """Fetch a model to this machine, verified against its manifest and its hash. Raises NightjarError."""
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
            f"The stored manifest of {manifest.name} has version {manifest.version_id[:12]}…, its folder "
            f"{version_id[:12]}…. Run 'nightjar convert {manifest.name}' again."
        )
    verify_ir(folder, manifest)
    return manifest


def model_prefix(version_id: str) -> str:
    return f"models/{version_id}"
