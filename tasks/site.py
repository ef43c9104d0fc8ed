"""What a run holds open: settings, database, artifact store. Proved to work before anything is started."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from storage.archive import Archive, open_archive
from storage.artifacts import Artifacts, open_artifacts, prove
from storage.database import Engine, migrate, open_database
from storage.s3 import S3Options
from tasks.settings import Settings, read_settings


@dataclass(frozen=True)
class Site:
    """One installation: where its rows and its files go."""

    settings: Settings
    engine: Engine
    artifacts: Artifacts

    def archive(self, location: str) -> Archive:
        """Raises StoreError where there is no such folder or bucket."""
        return open_archive(location, s3_options(self.settings), self.settings.video_cache, self.settings.cache_bytes)


@contextmanager
def open_site() -> Iterator[Site]:
    """The site that the settings name: database migrated, store proved by a put, a read back and a compare.

    Raises SettingsError, DatabaseError or StoreError.
    """
    settings = read_settings()
    engine = open_database(settings.database)
    try:
        migrate(engine)
        artifacts = open_artifacts(settings.artifacts_location, s3_options(settings))
        prove(artifacts)
        yield Site(settings, engine, artifacts)
    finally:
        engine.dispose()


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
