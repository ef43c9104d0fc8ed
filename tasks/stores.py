"""The stores that the settings name. No SQL: edge workers import this."""

from storage.archive import Archive, open_archive
from storage.artifacts import Artifacts, open_artifacts
from storage.s3 import S3Options
from tasks.settings import Settings


def artifact_store(settings: Settings) -> Artifacts:
    """Touches nothing yet."""
    return open_artifacts(settings.artifacts_location, s3_options(settings))


def archive_at(settings: Settings, location: str) -> Archive:
    """Raises StoreError where there is no such folder or bucket."""
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
