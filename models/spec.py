"""Parameters of a flow, written once: frozen dataclasses from which forms, command-line options and records are made.

Standard library only, so that `nightjar --help` answers at once.

A field with an Option is a parameter that users see; one without is for programs. A field that is such a dataclass
itself contributes its own parameters, flat, in its place.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

S = TypeVar("S")

# Not matched: an address with user and password, which would be stored and shown.
PLAIN_ADDRESS = r"^(?![A-Za-z][A-Za-z0-9+.\-]*://[^/?#]*@)"


@dataclass(frozen=True)
class Option:
    """Help text and bounds of a parameter: `frames: Annotated[int, Option("Number of frames.", ge=10)] = 300`.

    when_empty: meaning of a value that is left out, where the default is None or empty
    pattern: the whole value matches it; expected: the same in words, for the error
    flags, metavar: spelling on the command line, where it does not follow from the name and the type
    place: kind of a path, which must exist before anything is started
    separator: stands between the parts of a tuple that users write as one text
    address: a text that may be an address; Prefect's server refuses one with a password in it
    numbers: of a text: a number or None is taken as a text, too

    Pydantic reads it directly, as it follows the protocol of annotated_types.GroupedMetadata.
    """

    help: str
    when_empty: str = ""
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    expected: str = ""
    flags: str = ""
    metavar: str | None = None
    place: Literal["", "file", "folder"] = ""
    separator: str = ""
    address: bool = False
    numbers: bool = False

    __is_annotated_types_grouped_metadata__ = True

    @property
    def described(self) -> str:
        """Text below the parameter in a form."""
        return f"{self.help} Default: {self.when_empty}." if self.when_empty else self.help

    def __iter__(self) -> Iterator[Any]:
        from pydantic import BeforeValidator, Field

        bounds = {name: value for name in _BOUNDS if (value := getattr(self, name)) is not None}
        if bounds:
            yield Field(**bounds)
        if self.numbers:
            yield BeforeValidator(_as_text)
        yield _Described(self.described, PLAIN_ADDRESS if self.address else None)


_BOUNDS = ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern")


def _as_text(value: object) -> object:
    """Return a number or None as a text, and anything else as it is."""
    if value is None:
        return ""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


@dataclass(frozen=True)
class _Described:
    """The description of a parameter in a form's JSON schema.

    That of a pydantic Field in Annotated never gets there: Prefect 3.8.8 puts its own empty one over it.
    """

    text: str
    pattern: str | None

    def __get_pydantic_json_schema__(self, schema: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        pattern = {"pattern": self.pattern} if self.pattern else {}
        return {**handler(schema), "description": self.text, **pattern}


@dataclass(frozen=True)
class Parameter:
    """One parameter as users see it. default: dataclasses.MISSING where a value is needed

    kind: type of the field without Annotated and None
    """

    name: str
    kind: Any
    option: Option
    default: Any
    nullable: bool = False

    @property
    def required(self) -> bool:
        return self.default is dataclasses.MISSING

    @property
    def flag(self) -> str:
        """The option's spelling on the command line."""
        return self.option.flags.partition("/")[0] or f"--{self.name.replace('_', '-')}"

    @property
    def is_text(self) -> bool:
        """Return whether users write a text that `decode` turns into the value: a path, or parts between separators."""
        return self.kind is Path or bool(self.option.separator)

    @property
    def annotation(self) -> Any:
        """Type of the field, with its bounds."""
        return Annotated[self.kind | None if self.nullable else self.kind, self.option]

    @property
    def form_annotation(self) -> Any:
        """Type of the value in a form, with its bounds and description."""
        return Annotated[str, self.option] if self.is_text else self.annotation

    def encode(self, value: Any) -> Any:
        """Encode the field's value for a form and Prefect's server."""
        if self.option.separator:
            return self.option.separator.join(value)
        if self.kind is Path:
            return "" if value is None else str(value)
        return list(value) if isinstance(value, tuple) else value

    def decode(self, given: Any) -> Any:
        """Decode the field's value from a form's."""
        if self.option.separator:
            return tuple(filter(None, map(str.strip, given.split(self.option.separator))))
        if self.kind is Path:
            return Path(given).expanduser() if given else None
        return tuple(given) if isinstance(given, list) else given

    @property
    def form_default(self) -> Any:
        return self.default if self.required else self.encode(self.default)

    @property
    def parameters(self) -> Iterable["Parameter"]:
        return [self]

    def read(self, given: Mapping[str, Any]) -> Any:
        """Read the field's value, MISSING where its default counts."""
        if self.name not in given and not self.required:
            return dataclasses.MISSING
        return self.decode(given[self.name])

    def write(self, value: Any) -> dict[str, Any]:
        return {self.name: self.encode(value)}


@dataclass(frozen=True)
class Overrides:
    """Marks a mapping that holds some parameters of another spec: `Annotated[Mapping[str, Any], Overrides(Params)]`.

    Each of that spec's parameters is a parameter here, too, and None, the default, leaves it out of the mapping.
    when_empty: meaning of None
    """

    spec: type[Any]
    when_empty: str

    @property
    def parameters(self) -> Iterable[Parameter]:
        for each in parameters(self.spec).values():
            option = dataclasses.replace(each.option, when_empty=self.when_empty)
            yield dataclasses.replace(each, option=option, default=None, nullable=True)

    def read(self, given: Mapping[str, Any]) -> dict[str, Any]:
        known = (each for each in self.parameters if given.get(each.name) is not None)
        return {each.name: each.decode(given[each.name]) for each in known}

    def write(self, value: Mapping[str, Any]) -> dict[str, Any]:
        return {each.name: each.encode(value[each.name]) for each in self.parameters if each.name in value}


@dataclass(frozen=True)
class _Nested:
    """A field that is a spec itself."""

    spec: type[Any]

    @property
    def parameters(self) -> Iterable[Parameter]:
        return parameters(self.spec).values()

    def read(self, given: Mapping[str, Any]) -> Any:
        return build(self.spec, given)

    def write(self, value: Any) -> dict[str, Any]:
        return flatten(value)


def parameters(spec: type[Any]) -> dict[str, Parameter]:
    """Return the parameters of a spec and of the specs in it, by name, in their order."""
    return {each.name: each for part in _parts(spec).values() for each in part.parameters}


def check_numbers(spec: Any) -> None:
    """Give the numbers of a frozen spec their declared type, so that 1 and 1.0 have the same hash.

    Every parameter must be a number with both bounds. Raises ValueError where a value is outside them, or NaN.
    """
    for name, parameter in parameters(type(spec)).items():
        value, low, high = getattr(spec, name), parameter.option.ge, parameter.option.le
        assert low is not None
        assert high is not None
        if not low <= value <= high:
            raise ValueError(f"{name} is {value}. Give a number from {low:g} to {high:g}.")
        object.__setattr__(spec, name, parameter.kind(value))


def build(spec: type[S], given: Mapping[str, Any]) -> S:
    """Build a spec from flat values as in a form; those left out have their defaults.

    Raises KeyError where a value is needed and none was given. Checks no bounds: pydantic and click do.
    """
    values = {name: part.read(given) for name, part in _parts(spec).items()}
    return spec(**{name: value for name, value in values.items() if value is not dataclasses.MISSING})


def flatten(spec: Any) -> dict[str, Any]:
    """Flatten a spec to values as in a form, the inverse of `build`."""
    parts = _parts(type(spec)).items()
    return {name: value for field, part in parts for name, value in part.write(getattr(spec, field)).items()}


def _parts(spec: type[Any]) -> dict[str, Parameter | Overrides | _Nested]:
    """Return the fields that hold parameters, by name."""
    hints = typing.get_type_hints(spec, include_extras=True)
    found = {field.name: _part(field, hints[field.name]) for field in dataclasses.fields(spec)}
    return {name: part for name, part in found.items() if part is not None}


def _part(field: "dataclasses.Field[Any]", hint: Any) -> Parameter | Overrides | _Nested | None:
    if dataclasses.is_dataclass(hint):
        return _Nested(typing.cast(type, hint))
    if overrides := next((each for each in getattr(hint, "__metadata__", ()) if isinstance(each, Overrides)), None):
        return overrides
    kind, option, nullable = _taken_apart(hint)
    return Parameter(field.name, kind, option, field.default, nullable) if option else None


def _taken_apart(hint: Any) -> tuple[Any, Option | None, bool]:
    """Type, Option and whether None is a value, of an annotation."""
    option = None
    if get_origin(hint) is Annotated:
        option = next((each for each in hint.__metadata__ if isinstance(each, Option)), None)
        hint = hint.__origin__
    if get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint):
        [inner] = [each for each in get_args(hint) if each is not type(None)]
        kind, own, _ = _taken_apart(inner)
        return kind, option or own, True
    return hint, option, False


def complaints(spec: Any) -> Iterator[str]:
    """One sentence for each parameter of a spec whose value is out of its bounds or of another type."""
    from pydantic import TypeAdapter, ValidationError

    for name, parameter in parameters(type(spec)).items():
        value = getattr(spec, name)
        try:
            TypeAdapter(parameter.annotation).validate_python(value, strict=True)
        except ValidationError as error:
            yield f"{name} is {value!r}. {error.errors()[0]['msg']}."
