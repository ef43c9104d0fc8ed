"""Models of the artifact store that are missing in the database, such as a new database for an older store."""

import re
from collections.abc import Iterator

from models.manifest import MANIFEST_FILE, Manifest
from models.types import ModelVersion, NightjarError
from storage.objects.artifacts import Artifacts
from storage.objects.places import ObjectError
from storage.sql import catalogue
from tasks.site.site import Site

MANIFEST_KEY = re.compile(rf"models/([0-9a-f]{{64}})/{re.escape(MANIFEST_FILE)}")
MANIFEST_LIMIT_BYTES = 1 << 20


def version_of(manifest: Manifest) -> ModelVersion:
    """Return the model as registered in SQL."""
    return ModelVersion(
        version_sha256=manifest.version_id,
        name=manifest.name,
        task=manifest.task,
        ir_sha256=manifest.ir_digest,
        source_location=manifest.source.location,
        source_sha256=manifest.source.sha256,
        source_format=manifest.source.format,
        precision=manifest.precision,
        manifest=manifest.to_json(),
        frames_per_second=manifest.frames_per_second,
    )


def register_stored_model(site: Site, name: str) -> None:
    """Register the stored model with this name or start of its hash. Without such a model, do nothing.

    Raises NightjarError if several versions have the name, as the store does not know the newest.
    """
    meant = {manifest.version_id: manifest for manifest in _manifests(site.artifacts) if _is_meant(manifest, name)}
    if len(meant) > 1:
        hashes = ", ".join(sorted(version_id[:12] for version_id in meant))
        raise NightjarError(
            f"The database knows no model {name!r}, and the store has {len(meant)} versions of it: {hashes}. "
            "Give one of these hashes as the name."
        )
    for manifest in meant.values():
        catalogue.register_model(site.engine, version_of(manifest))


def _is_meant(manifest: Manifest, name: str) -> bool:
    if catalogue.HASH_START.fullmatch(name) and manifest.version_id.startswith(name):
        return True
    return manifest.name == name and manifest.frames_per_second is None


def _manifests(artifacts: Artifacts) -> Iterator[Manifest]:
    for key in artifacts.list("models/"):
        found = MANIFEST_KEY.fullmatch(key)
        manifest = _read_manifest(artifacts, key) if found else None
        if found and manifest and manifest.version_id == found[1]:
            yield manifest


def _read_manifest(artifacts: Artifacts, key: str) -> Manifest | None:
    """Read a manifest; None if it is damaged, which only a new conversion repairs."""
    try:
        text = artifacts.get_bytes(key, MANIFEST_LIMIT_BYTES).decode()
    except (ObjectError, UnicodeDecodeError):
        return None
    try:
        return Manifest.from_json(text)
    except NightjarError:
        return None
