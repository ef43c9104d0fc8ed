"""Base of the site file's sections, and the types that several of them use."""

from typing import Annotated, Any, TypeAlias
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints

from tasks.site.settings import PRINTABLE


class Section(BaseModel):
    """A table of the site file. Unknown keys are errors; a value never changes after it was read."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, str_max_length=10_000, validate_default=True
    )


def listed(value: Any) -> Any:
    """Return a single value as a list of one."""
    return [value] if isinstance(value, str | dict) else value


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"The time zone {name!r} does not exist. Give one such as Europe/Berlin or UTC.")
    return name


def _known_zone_or_local(name: str) -> str:
    return name if name == "local" else _known_zone(name)


Name: TypeAlias = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=PRINTABLE)
]
"""A name of a camera, a zone or a rule, as people write it."""

OneOrMore: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(listed)]
"""A text, or a list of texts."""

TimeZone: TypeAlias = Annotated[str, AfterValidator(_known_zone)]
"""A name of the tz database, such as Europe/Berlin."""

WrittenIn: TypeAlias = Annotated[str, AfterValidator(_known_zone_or_local)]
"""The time zone in which times are written: as TimeZone, or local for that of the camera."""
