"""A description of the site file, and of the place that it gives each file of an archive, in 80 columns."""

import textwrap
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from models.text import visible
from tasks.site_file.clock import ArchivedFile, Place, resolve_all
from tasks.site_file.spec import SiteFile
from tasks.text.wording import count, nearest

WIDTH = 80
MOST_GROUPS = 40  # of one archive
EXAMPLES = 2
INDENT = "  "


class _Group(NamedTuple):
    """Files with the same camera and the same source of their clocks, or the same reason for none."""

    camera: str | None
    source: str


def describe_site_file(site_file: SiteFile, path: Path | None) -> Iterator[str]:
    """Yield lines about the site file itself. path: None = there is none"""
    if path is None:
        yield from _wrapped(
            "There is no site file. docs/site.md shows one, and NIGHTJAR_SITE_FILE names another place."
        )
    else:
        yield from _wrapped(f"{path} is valid.")
    parts = [
        f"Times are shown in {site_file.site.time_zone}.",
        f"Files of a camera that are closer than {site_file.site.recording_gap_s:g} s are one recording.",
        f"Entries: {len(site_file.cameras)} of [[cameras]], {len(site_file.zones)} of [[zones]], "
        f"{len(site_file.rules)} of [[rules]].",
    ]
    yield from _wrapped(" ".join(parts))


def describe_mistakes(path: Path, problems: Sequence[str]) -> Iterator[str]:
    """Yield lines about the mistakes of a site file."""
    yield from _wrapped(f"{path} cannot be used:")
    for problem in problems:
        yield from _wrapped(f"- {problem}")


def describe_files(site_file: SiteFile, files: Sequence[ArchivedFile]) -> Iterator[str]:
    """Yield lines about each archive's files, grouped by camera and clock, with examples; last come warnings."""
    places = resolve_all(site_file, files)
    archives: dict[str, dict[_Group, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, (file, place) in enumerate(zip(files, places, strict=True)):
        archives[file.archive][_group_of(place)].append(number)
    for archive, groups in archives.items():
        yield ""
        yield from _wrapped(f"{archive}: {count(sum(map(len, groups.values())), 'file')}")
        ordered = sorted(groups.items(), key=lambda item: (item[0].camera is None, item[0].camera or "", -len(item[1])))
        for group, numbers in ordered[:MOST_GROUPS]:
            yield from _describe_group(group, [(files[number], places[number]) for number in numbers])
        if len(ordered) > MOST_GROUPS:
            yield f"{INDENT}and {count(len(ordered) - MOST_GROUPS, 'more group')}"
    warnings = [*_unused(site_file, files), *_unknown_cameras(site_file, places)] if files else []
    if warnings:
        yield ""
    for warning in warnings:
        yield from _wrapped(f"Warning: {warning}")


def _group_of(place: Place) -> _Group:
    return _Group(place.camera, place.clock or f"no clock: {place.no_clock}")


def _describe_group(group: _Group, files: Sequence[tuple[ArchivedFile, Place]]) -> Iterator[str]:
    camera = "no camera" if group.camera is None else f"camera {group.camera!r}"
    source = group.source if group.source.startswith("no clock") else f"clock from {_words(group.source)}"
    yield from _wrapped(f"{camera}, {count(len(files), 'file')}, {source}", INDENT)
    for file, place in files[:EXAMPLES]:
        yield from _example(file, place)


def _words(source: str) -> str:
    return {"creation_time": "the container's creation time", "sidecar": "a sidecar"}.get(source, f"the {source}")


def _example(file: ArchivedFile, place: Place) -> Iterator[str]:
    """Yield an example's key and its time, in one line where they fit."""
    indent = INDENT * 2
    time = ""
    if place.start_at is not None:
        time = f"{place.start_at.astimezone(ZoneInfo(place.time_zone or 'UTC')):%Y-%m-%d %H:%M:%S %Z}"
    room = WIDTH - len(indent)
    key = _shortened(visible(file.key), room)
    if len(key) + len(time) + 2 <= room:
        yield f"{indent}{key}  {time}".rstrip()
    else:
        yield f"{indent}{key}"
        if time:
            yield f"{indent}{INDENT}{time}"


def _shortened(text: str, room: int) -> str:
    """Cut the middle out of a text that is too long: its end tells more than its middle."""
    if len(text) <= room:
        return text
    head = room // 3
    return f"{text[:head]}…{text[len(text) - (room - head - 1) :]}"


def _unused(site_file: SiteFile, files: Sequence[ArchivedFile]) -> Iterator[str]:
    """Yield a warning per entry of [[cameras]] to which no file belongs."""
    used = {_entry_of(site_file, file) for file in files}
    for number, camera in enumerate(site_file.cameras):
        if number not in used:
            globs = ", ".join(map(repr, camera.files))
            yield f"no file belongs to entry {number + 1} of [[cameras]] ({camera.name!r}, files = {globs})."


def _entry_of(site_file: SiteFile, file: ArchivedFile) -> int | None:
    entries = enumerate(site_file.cameras)
    return next((number for number, camera in entries if camera.match(file.archive, file.key) is not None), None)


def _unknown_cameras(site_file: SiteFile, places: Sequence[Place]) -> Iterator[str]:
    """Yield a warning per camera that a zone or a rule names, and that has no file and no entry."""
    known = {place.camera for place in places if place.camera} | {camera.name for camera in site_file.cameras}
    named = [(f"zone {zone.name!r}", zone.camera) for zone in site_file.zones]
    named += [(f"rule {rule.rule!r}", camera) for rule in site_file.rules for camera in rule.cameras]
    for what, camera in named:
        if camera not in known:
            meant = nearest(camera, known)
            yield f"the {what} is for the camera {camera!r}, which has no files." + (
                f" Did you mean {meant!r}?" if meant else ""
            )


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        visible(text),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + INDENT,
        break_on_hyphens=False,
    )
