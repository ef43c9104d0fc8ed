"""Reading of the site file, with errors that name the key and the nearest known one."""

import logging
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from models.types import NightjarError
from tasks.site.settings import Settings
from tasks.site_file.sidecar import SidecarError, read_sidecar
from tasks.site_file.spec import SiteFile
from tasks.text.wording import nearest

log = logging.getLogger(__name__)

MOST_BYTES = 4 << 20


class SiteFileError(NightjarError):
    """A site file that cannot be used. problems: one sentence or two for each mistake"""

    def __init__(self, path: Path, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(f"The site file {str(path)!r} cannot be used. {' '.join(self.problems)}")


def read_site_file(settings: Settings) -> SiteFile:
    """Read the site file; the defaults where the home has none. Raises SiteFileError."""
    path = settings.site_file_path
    if settings.site_file is None and not path.exists():
        return with_time_zone(SiteFile(), settings)
    return with_time_zone(_with_sidecars(path, parse_site_file(path, _read(path))), settings)


def read_for_night(settings: Settings) -> SiteFile | None:
    """Read the site file for a batch. None, with a warning, if it has mistakes: they never cost a night."""
    try:
        return read_site_file(settings)
    except SiteFileError as error:
        log.warning("Cameras, clocks, zones and rules stay as they are: %s", error)
        return None


def _with_sidecars(path: Path, site_file: SiteFile) -> SiteFile:
    """Read the CSV files that the cameras name. Their paths begin at the site file's folder."""
    files = {start.file for camera in site_file.cameras for start in camera.start if start.file is not None}
    try:
        return site_file.with_sidecars({file: read_sidecar(path.parent / file) for file in sorted(files)})
    except SidecarError as error:
        raise SiteFileError(path, [str(error)]) from error


def with_time_zone(site_file: SiteFile, settings: Settings) -> SiteFile:
    """Return the site file with the setting's time zone where it has none."""
    if site_file.site.time_zone is not None:
        return site_file
    site = site_file.site.model_copy(update={"time_zone": settings.zone.key})
    return site_file.model_copy(update={"site": site})


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SiteFileError(path, [f"{error.strerror}. Correct NIGHTJAR_SITE_FILE."]) from error
    if len(content) > MOST_BYTES:
        raise SiteFileError(path, [f"It is larger than {MOST_BYTES >> 20} MiB. Correct NIGHTJAR_SITE_FILE."])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SiteFileError(path, [f"Line {line} is not UTF-8. Save the file as UTF-8."]) from error


def parse_site_file(path: Path, text: str) -> SiteFile:
    """Parse the text of a site file. path: for errors. Raises SiteFileError with all mistakes."""
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SiteFileError(path, [f"It is not TOML: {error}. Correct it there."]) from error
    try:
        return SiteFile.model_validate(content)
    except ValidationError as error:
        raise SiteFileError(path, [_problem(each, content) for each in error.errors()]) from error


def _problem(error: ErrorDetails, content: dict[str, Any]) -> str:
    """Describe one mistake: its place, the key, and the repair."""
    *parents, key = error["loc"]
    place = _place(parents, content)
    if error["type"] == "extra_forbidden":
        known = list(_known_keys(parents))
        meant = nearest(str(key), known)
        remedy = f"Did you mean '{meant}'?" if meant else f"Known keys: {', '.join(known)}."
        return f"{place}the key '{key}' is not known. {remedy}"
    if error["type"] == "missing":
        return f"{place}the key '{key}' is missing. Add it."
    said = error["msg"].removeprefix("Value error, ").rstrip(".")
    if error["type"] in ("tuple_type", "model_type") and not parents:
        wanted = f"[[{key}]]" if error["type"] == "tuple_type" else f"[{key}]"
        return f"[{key}]: the section has another form. Write it as {wanted}."
    return f"{_place(error['loc'], content)}{said[:1].lower() if ' ' in said else said[:1]}{said[1:]}."


def _place(loc: Iterable[int | str], content: dict[str, Any]) -> str:
    """Name the place of a mistake: `[site]: `, `[[cameras]] number 2 ('door'), start.pattern: `."""
    section, *rest = [*loc] or [""]
    if not section:
        return ""
    text, number = f"[{section}]", None
    if rest and isinstance(rest[0], int):
        number = int(rest.pop(0))
        text = f"[[{section}]] number {number + 1}{_name_of(content, str(section), number)}"
    at: Any = content.get(str(section))
    keys = "".join(_steps(at if number is None else at[number], rest)).lstrip(".")
    return f"{text}{f', {keys}' if keys else ''}: "


def _steps(at: Any, keys: Iterable[int | str]) -> Iterator[str]:
    """Yield the keys below a section. A single table in place of a list of tables has no number."""
    for key in keys:
        if isinstance(key, str):
            at = at.get(key) if isinstance(at, dict) else None
            yield f".{key}"
        elif isinstance(at, list):
            at = at[key]
            yield f"[{key}]"


def _name_of(content: dict[str, Any], section: str, number: int) -> str:
    """Return the name of an entry in brackets, where it has one."""
    entry = content[section][number]
    names = (entry[key] for key in ("name", "rule") if isinstance(entry, dict) and isinstance(entry.get(key), str))
    return "".join(f" ({name!r})" for name in names)


def _known_keys(loc: Iterable[int | str]) -> Iterator[str]:
    """Yield the keys that may stand at a place."""
    model: type[BaseModel] = SiteFile
    for part in loc:
        if isinstance(part, str):
            model = next(_models(_field(model, part)), model)
    return (field.alias or name for name, field in model.model_fields.items())


def _field(model: type[BaseModel], key: str) -> Any:
    found = (field.annotation for name, field in model.model_fields.items() if key in (field.alias, name))
    return next(found, None)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models inside of an annotation, such as that of `tuple[CameraEntry, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
