"""Videos by the names that users give."""

from pathlib import Path

from models.types import NightjarError
from storage.sql import catalogue
from storage.sql.catalogue import ArchivedVideo
from tasks.site.site import Site
from tasks.text.wording import nearest


def find_stored_video(site: Site, name: str) -> ArchivedVideo:
    """Find a video, also one whose file was removed. Raises NightjarError if there is none, or if there are several."""
    found = catalogue.find_videos(site.engine, name)
    if not found and Path(name).exists():
        found = catalogue.find_videos(site.engine, str(Path(name).resolve()))
    if not found:
        meant = nearest(name, catalogue.video_keys(site.engine))
        hint = f"Did you mean {meant!r}?" if meant else "Run 'nightjar videos' for a list of names."
        raise NightjarError(f"No run has read a video {name!r}. {hint}")
    present = [each for each in found if each.gone_at is None] or found
    if len({each.video_id for each in present}) > 1:
        paths = ", ".join(f"{each.archive}/{each.key}" for each in present[:4])
        raise NightjarError(f"{name!r} matches {len(present)} files: {paths}. Give the whole path.")
    return present[0]
