"""Resources that a run holds open: settings, database, artifact store. Checked before anything is started."""

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
from tasks.waiting.patience import Patience


@dataclass(frozen=True)
class Site:
    """One installation: where its rows and its files go."""

    settings: Settings
    engine: Database
    artifacts: Artifacts

    def archive(self, location: str) -> Archive:
        """Open an archive. Raises StoreError if the folder or bucket does not exist."""
        return archive_at(self.settings, location)


@contextmanager
def open_site(patience: Patience | None = None) -> Iterator[Site]:
    """Open the site of the settings: migrate its database, and prove its store by a put, a read back and a compare.

    patience: with database and store, where they are away; None: none
    Raises SettingsError, DatabaseError or StoreError.
    """
    settings = read_settings()
    keep_private(settings)
    keep_log_lines_whole()
    site = patience(lambda: _open(settings)) if patience else _open(settings)
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
def reopen_site(patience: Patience | None = None) -> Iterator[Site]:
    """Open the site for a task of a flow that has opened it: neither migrates nor tests it again.

    patience: with a database that is away; None: none
    Raises DatabaseError.
    """
    settings = read_settings()
    open_it = partial(open_database, settings.database)
    engine = patience(open_it) if patience else open_it()
    try:
        yield Site(settings, engine, artifact_store(settings))
    finally:
        engine.dispose()
