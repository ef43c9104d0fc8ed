"""Stores of the settings. No SQL: edge workers import this."""

from pathlib import Path

from storage.objects.archive import Archive, open_archive
from storage.objects.artifacts import PROOF, Artifacts, open_artifacts
from storage.objects.places import parse_place
from storage.objects.s3 import S3Options
from storage.private import be_private, tighten
from tasks.site.settings import Settings

# Files and folders that Nightjar creates in its home, and at the top of its artifact store.
DATABASE = ("nightjar.db", "nightjar.db-wal", "nightjar.db-shm", "nightjar.db-journal")
HOME = {*DATABASE, "artifacts", "browse.lock", "cache", "demo", "locks", "prefect", "spool", "training"}
ARTIFACTS = {"assignments", "batches", "evaluations", "events", "models", "overlays", "results", "training", PROOF}


def keep_private(settings: Settings) -> None:
    """Restrict this process's files to their owner, and those that an older version left readable by others."""
    be_private()
    tighten(settings.home.resolve(), HOME)
    place = parse_place(settings.artifacts_location)
    if isinstance(place, Path):
        tighten(place, ARTIFACTS)


def artifact_store(settings: Settings) -> Artifacts:
    """Return the artifact store. Reads and writes nothing yet."""
    return open_artifacts(settings.artifacts_location, s3_options(settings))


def archive_at(settings: Settings, location: str) -> Archive:
    """Open an archive. Raises StoreError if the folder or bucket does not exist."""
    return open_archive(location, s3_options(settings), settings.video_cache, settings.cache_bytes)


def s3_options(settings: Settings) -> S3Options:
    secret = settings.s3_secret_access_key
    return S3Options(
        endpoint_url=settings.s3_endpoint_url,
        region=settings.s3_region,
        access_key=settings.s3_access_key_id,
        secret_key=secret.get_secret_value() if secret else None,
        path_style=bool(settings.s3_endpoint_url) if settings.s3_path_style is None else settings.s3_path_style,
        verify_tls=str(settings.s3_ca_bundle) if settings.s3_ca_bundle else settings.s3_verify_tls,
        checksum_mode=settings.s3_checksum_mode,
    )
