"""Section [[cameras]]: names of cameras, their files, and the source of each file's clock."""

import re
from functools import cached_property
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from tasks.site_file.globs import NAME, compile_glob, normal
from tasks.site_file.layouts import LAYOUTS, LOCAL
from tasks.site_file.section import Name, OneOrMore, Section, TimeZone, WrittenIn, listed
from tasks.site_file.times import TimePattern, compile_time
from tasks.text.wording import nearest

Source = Literal["name", "path", "creation_time", "sidecar"]
CAMERA = "{camera}"


def _layouts(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in LAYOUTS:
            meant = nearest(name, LAYOUTS)
            remedy = f"Did you mean '{meant}'?" if meant else f"Known layouts: {', '.join(LAYOUTS)}."
            raise ValueError(f"The layout {name!r} is not known. {remedy}")
    return names


def _globs(globs: tuple[str, ...]) -> tuple[str, ...]:
    for glob in globs:
        compile_glob(glob)
    return globs


class Start(Section):
    """One source of a file's clock.

    source: `name` and `path` read `pattern` in the file's name or in its whole key
    is_: the time is that of the first frame, or that of the last one's end
    time_zone: in which the time is written; "local" = the camera's own; None = UTC for `creation_time`, else local
    file: CSV of a sidecar, with the columns file and time, and perhaps camera
    """

    pattern: str | None = None
    source: Source = Field("name", alias="in")
    is_: Literal["start", "end"] = Field("start", alias="is")
    time_zone: WrittenIn | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> "Start":
        if self.source in ("name", "path") and self.pattern is None:
            raise ValueError(
                f"The key 'pattern' is missing for in = '{self.source}'. Add one such as '%Y-%m-%d_%H-%M-%S'."
            )
        if self.source == "creation_time" and self.pattern is not None:
            raise ValueError("A creation time has no pattern. Remove 'pattern', or write in = 'name'.")
        if (self.source == "sidecar") != (self.file is not None):
            raise ValueError("The key 'file' names the CSV of in = 'sidecar'. Give both, or none.")
        if self.pattern is not None:
            compile_time(self.pattern)
        return self

    @cached_property
    def time(self) -> TimePattern | None:
        return None if self.pattern is None else compile_time(self.pattern)

    @property
    def names(self) -> frozenset[str]:
        """The named parts that this source may give."""
        if self.source == "sidecar":
            return frozenset({"camera"})
        return frozenset() if self.time is None else self.time.names

    @property
    def written_in(self) -> str:
        """The time zone of its times: a name, or LOCAL."""
        return self.time_zone or ("UTC" if self.source == "creation_time" else LOCAL)


class CameraEntry(Section):
    """A group of files of one camera, or of one camera per value of the named parts in `name`.

    files: globs over the keys of an archive; archive: only of this one, a glob over its address
    start, layout: sources of the clock, tried in this order
    time_zone: of the place where the camera is; None = the site's
    """

    name: Name = CAMERA
    files: Annotated[OneOrMore, Field(min_length=1), AfterValidator(_globs)] = ("**",)
    archive: str | None = None
    layout: Annotated[OneOrMore, AfterValidator(_layouts)] = ()
    start: Annotated[tuple[Start, ...], BeforeValidator(listed)] = ()
    time_zone: TimeZone | None = None

    @model_validator(mode="after")
    def _named(self) -> "CameraEntry":
        """Refuse a name with parts that nothing gives."""
        given = [frozenset(compile_glob(glob).groupindex) for glob in self.files]
        in_globs = frozenset.intersection(*given)
        in_starts = [start.names for start in self.starts]
        known = in_globs | (frozenset.intersection(*in_starts) if in_starts else frozenset())
        for part in self.name_parts:
            if part not in known:
                what = "The key 'name' is missing" if self.name == CAMERA else f"Nothing gives '{{{part}}}' of the name"
                raise ValueError(
                    f"{what}. Add a name, or write '{{{part}}}' for one part of the path in each glob of 'files' or in "
                    "each pattern."
                )
        return self

    @property
    def name_parts(self) -> list[str]:
        return [found["name"] for found in re.finditer(NAME, self.name)]

    @cached_property
    def starts(self) -> tuple[Start, ...]:
        """All sources of the clock, those of the layouts last."""
        return (*self.start, *(start for layout in self.layout for start in _starts_of(layout)))

    def match(self, archive: str, key: str) -> dict[str, str] | None:
        """Return the named parts of a file that belongs to this entry; None = it does not."""
        if self.archive is not None and not compile_glob(self.archive.rstrip("/")).fullmatch(archive.lstrip("/")):
            return None
        for glob in self.files:
            found = compile_glob(glob).fullmatch(normal(key))
            if found:
                return found.groupdict()
        return None

    def name_of(self, parts: dict[str, str]) -> str | None:
        """Return the name of the camera from the named parts; None = one is missing."""
        if not set(self.name_parts) <= parts.keys():
            return None
        return re.sub(NAME, lambda found: parts[found["name"]], self.name).strip() or None


def _starts_of(layout: str) -> tuple[Start, ...]:
    return tuple(
        Start.model_validate(
            {"in": "path" if time.pattern else "creation_time", "pattern": time.pattern or None, "is": time.is_}
            | {"time_zone": time.time_zone}
        )
        for time in LAYOUTS[layout].times
    )
