"""Files from outside, read within bounds on place, size and nesting: JSON, XML, archives. Knows no model format."""

import json
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any
from xml.parsers import expat

from models.errors import ConversionError

MAX_JSON_BYTES = 64 << 20  # the largest published TF.js graph is 3 MB
MAX_MODEL_BYTES = 2 << 30  # protobuf's own limit; ResNet50 is 100 MB
MAX_NESTING = 200  # Keras's configurations of nested models stay below 60
MAX_MEMBERS = 2_000
SHOWN_CHARACTERS = 200  # of a name from outside


def read_bounded(path: Path, limit_bytes: int = MAX_MODEL_BYTES) -> bytes:
    """Read a file. Raises ConversionError where it is larger than the limit."""
    check_size(path, limit_bytes)
    return path.read_bytes()


def check_size(path: Path, limit_bytes: int = MAX_MODEL_BYTES) -> None:
    """Raise ConversionError where the file is larger than the limit."""
    found = path.stat().st_size
    if found > limit_bytes:
        raise ConversionError(
            f"{path.name} has {found:,} bytes, more than the {limit_bytes:,} that such a file may have. Give the "
            "model's own file."
        )


def inside(file: Path, name: object) -> Path:
    """Return the path of a file that a model's file names, next to it or in a folder below.

    Raises ConversionError for a name that leads elsewhere, also through a linked folder, and for a missing file.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise ConversionError(
            f"{file.name} names the file {str(name)[:SHOWN_CHARACTERS]!r}, which is not inside its folder. Do not use "
            "this source."
        )
    path = PurePosixPath(name.replace("\\", "/"))
    found, folder = file.parent / path, file.parent.resolve()
    if "://" in name or path.is_absolute() or ".." in path.parts or path.parts == ():
        raise ConversionError(
            f"{file.name} names the file {name[:SHOWN_CHARACTERS]!r}, which is not inside its folder. Do not use this "
            "source, or fetch that file, put it next to the model and name it without its address."
        )
    shown = name if len(name) <= SHOWN_CHARACTERS else f"{name[:SHOWN_CHARACTERS]}…"
    try:
        inside_folder, there = found.parent.resolve().is_relative_to(folder), found.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # a part of 300 bytes, a ring of links, half a character
        raise ConversionError(
            f"{file.name} names a file that cannot exist, {shown!r}. Do not use this source."
        ) from error
    if not inside_folder:
        raise ConversionError(
            f"{file.name} names {shown!r}, whose folder is a link to elsewhere. Do not use this source."
        )
    if not there:
        raise ConversionError(
            f"{file.name} names {shown!r}, which does not exist. Fetch all its files into one folder."
        )
    return found


def parse_json(content: bytes, name: str) -> Any:
    """Parse JSON of any Unicode encoding, with or without a byte order mark. name: for the message

    Raises ConversionError where it is too large, nested too deep, or no JSON.
    """
    if len(content) > MAX_JSON_BYTES:
        raise ConversionError(
            f"{name} has {len(content):,} bytes of JSON, more than {MAX_JSON_BYTES:,}. Give a model's file."
        )
    try:
        value = json.loads(content)
    except ValueError as error:
        raise ConversionError(f"{name} is not JSON ({error}). Fetch it again.") from error
    except RecursionError as error:
        raise ConversionError(f"{name} is nested too deep for a model. Do not use this source.") from error
    _check_nesting(value, name)
    return value


def _check_nesting(value: Any, name: str) -> None:
    level = [value]
    for _ in range(MAX_NESTING):
        level = [item for outer in level for item in _items(outer)]
        if not level:
            return
    raise ConversionError(
        f"{name} is nested deeper than {MAX_NESTING} levels, which no model is. Do not use this source."
    )


def _items(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def check_archive(path: Path) -> None:
    """Raise ConversionError where a zip file unpacks to too much, or names a file outside of itself.

    The sizes are those that the archive declares; Python's zipfile reads no more than that of any member.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    unpacked = sum(member.file_size for member in members)
    if len(members) > MAX_MEMBERS or unpacked > MAX_MODEL_BYTES:
        raise ConversionError(
            f"{path.name} unpacks to {unpacked:,} bytes in {len(members):,} files, more than a model has. "
            "Do not use this source."
        )
    for member in members:
        if member.filename.startswith("/") or ".." in Path(member.filename).parts:
            raise ConversionError(
                f"{path.name} contains the name {member.filename!r}, which leads out of it. Do not use this source."
            )


def read_member(path: Path, name: str) -> Any:
    """Read the JSON of one member of a zip file. Raises KeyError where there is none, and as parse_json does."""
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo(name).file_size > MAX_JSON_BYTES:
            raise ConversionError(
                f"{name} in {path.name} has more than {MAX_JSON_BYTES:,} bytes. Do not use this source."
            )
        return parse_json(archive.read(name), f"{name} in {path.name}")


class _FirstElementSeen(Exception):
    """Ends the parsing after the first element."""


def root_element(path: Path) -> str | None:
    """Name of the first element of an XML file of any encoding, None where it is none."""
    found: list[str] = []

    def begin(name: str, _: dict[str, str]) -> None:
        found.append(name)
        raise _FirstElementSeen

    parser = expat.ParserCreate()
    parser.StartElementHandler = begin
    try:
        with path.open("rb") as file:
            parser.Parse(file.read(1 << 16), False)
    except (_FirstElementSeen, expat.ExpatError):
        pass
    return found[0] if found else None


def check_xml(path: Path) -> None:
    """Raise ConversionError where an XML file, of any encoding, has a document type or is nested too deep.

    A document type can define entities that read files or grow without end.
    """
    depth = 0

    def refuse(*_: object) -> None:
        raise ConversionError(f"{path.name} defines a document type, which no IR does. Do not use this source.")

    def begin(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_NESTING:
            raise ConversionError(f"{path.name} is nested deeper than {MAX_NESTING} levels. Do not use this source.")

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    try:
        parser.Parse(read_bounded(path), True)
    except expat.ExpatError as error:
        raise ConversionError(f"{path.name} is damaged XML ({error}). Fetch it again.") from error
