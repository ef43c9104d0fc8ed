"""Resources of a run: settings, database, artifact store. They are checked before anything is started."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from storage.objects.archive import Archive
from storage.objects.artifacts import Artifacts, prove
from storage.sql.database import Database, migrate, open_database
from tasks.site.settings import Settings, read_settings
from tasks.site.stores import archive_at, artifact_store, keep_private
from tasks.text.log_lines import keep_log_lines_whole
from tasks.waiting.retry import OutageRetry


@dataclass(frozen=True)
class Site:
    """One installation: its settings, database and artifact store."""

    settings: Settings
    engine: Database
    artifacts: Artifacts

    def archive(self, location: str) -> Archive:
        """Open an archive. Raises StoreError if the folder or bucket does not exist."""
        return archive_at(self.settings, location)


@contextmanager
def open_site(retry: OutageRetry | None = None) -> Iterator[Site]:
    """Open the site of the settings, migrate its database, and test its store by writing and reading a file.

    retry: repeats the opening while database or store are unavailable; None: no repetition
    Raises SettingsError, DatabaseError or StoreError.
    """
    settings = read_settings()
    keep_private(settings)
    keep_log_lines_whole()
    site = retry(lambda: _open(settings)) if retry else _open(settings)
    try:
        yield site
    finally:
        site.engine.dispose()


def _open(settings: Settings) -> Site:
    engine = open_database(settings.database)
    try:
        migrate(engine)
        artifacts = artifact_store(settings)
        prove(artifacts)
    except BaseException:
        engine.dispose()
        raise
    return Site(settings, engine, artifacts)


@contextmanager
def reopen_site(retry: OutageRetry | None = None) -> Iterator[Site]:
    """Open the site for a task, without migration and test, since its flow has opened the site before.

    retry: repeats the opening while the database is unavailable; None: no repetition
    Raises DatabaseError.
    """
    settings = read_settings()
    open_it = partial(open_database, settings.database)
    engine = retry(open_it) if retry else open_it()
    try:
        yield Site(settings, engine, artifact_store(settings))
    finally:
        engine.dispose()
