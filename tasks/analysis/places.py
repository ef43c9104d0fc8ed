"""Cameras and clocks of the archives' files, from the site file into the database. Nothing is inferred again."""

import logging

from storage.objects.archive import canonical
from storage.sql.analyses.places import ClockFacts, StoredPlace, read_places, write_places
from storage.sql.database import Database, storable
from tasks.site.site import Site
from tasks.site_file.clock import NOT_READ, ArchivedFile, Place, resolve, resolve_all
from tasks.site_file.spec import SiteFile

log = logging.getLogger(__name__)


def place_files(engine: Database, site_file: SiteFile, archive: str | None = None) -> None:
    """Bring camera and clock of all files, or of one archive's, to what the site file says. Writes only changes."""
    known = read_places(engine, archive)
    found = resolve_all(site_file, [archived_file(facts) for facts, _ in known])
    changed = [
        (facts.archive, facts.key, place)
        for (facts, stored), place in zip(known, map(_stored, found), strict=True)
        if place != stored
    ]
    write_places(engine, changed)
    if changed:
        log.info("Cameras and clocks: %s of %s files changed", len(changed), len(known))


def files_to_check(site: Site, location: str | None) -> list[ArchivedFile]:
    """Return the files of all known archives, or those that one archive lists now, without a change to the database.

    location: of an archive, which may be new. Raises StoreError.
    """
    archive = None if location is None else canonical(location)
    stored = [archived_file(facts) for facts, _ in read_places(site.engine, archive)]
    if archive is None:
        return stored
    known = {file.key: file for file in stored}
    keys = [entry.key for entry in site.archive(archive).list()]
    return [known.get(storable(key)) or ArchivedFile(key, archive, creation_time_read=False) for key in keys]


def archived_file(facts: ClockFacts) -> ArchivedFile:
    """Return what decides the clock of a file. A file that is no video lacks a creation time, which is known."""
    return ArchivedFile(
        key=facts.key,
        archive=facts.archive,
        duration_s=facts.duration_s,
        creation_time=facts.creation_time,
        creation_time_read=facts.creation_time_read or facts.video_id is None,
        content=facts.video_id,
    )


def _stored(place: Place) -> StoredPlace:
    """Return a place as the database returns it."""
    camera, reason = (text and storable(text) for text in (place.camera, place.no_clock))
    return StoredPlace(camera, place.start_at, place.time_zone, place.clock, reason)


def headers_to_read(engine: Database, site_file: SiteFile, archive: str) -> set[int]:
    """Return the videos whose clock needs a creation time that an earlier version did not read."""
    if not any(start.source == "creation_time" for camera in site_file.cameras for start in camera.starts):
        return set()
    return {
        facts.video_id
        for facts, _ in read_places(engine, archive)
        if facts.video_id is not None and not facts.creation_time_read
        if resolve(site_file, archived_file(facts)).no_clock == NOT_READ
    }
