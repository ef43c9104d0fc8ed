"""Command-line options made from a spec, with the names, defaults, bounds and help of the flow's form."""

import re
from collections.abc import Callable
from dataclasses import MISSING
from functools import wraps
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click

from models.spec import Option, Parameter, build, parameters


class Matching(click.ParamType[str, Any]):
    """A text that must match a pattern."""

    name = "text"

    def __init__(self, option: Option) -> None:
        self.option = option

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        longest = self.option.max_length
        if not re.fullmatch(self.option.pattern or "", value) or (longest and len(value) > longest):
            self.fail(f"{value!r} is not valid. Use {self.option.expected}.", param, ctx)
        return str(value)


def spec_options(spec: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a spec; the command receives the spec.

    A first parameter without a default is an argument, all others are options.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        known = parameters(spec)

        @wraps(command)
        def run(*args: Any, **given: Any) -> None:
            own = {name: given.pop(name) for name in known}
            chosen = {name: value for name, value in own.items() if value not in (None, ())}
            command(*args, build(spec, chosen), **given)

        declared: Callable[..., None] = run
        for position, parameter in reversed(list(enumerate(known.values()))):
            declare = _argument if position == 0 and parameter.required else _option
            declared = declare(parameter)(declared)
        return declared

    return decorate


def _argument(parameter: Parameter) -> Callable[..., Any]:
    many = get_origin(parameter.kind) is tuple
    return click.argument(
        parameter.name,
        type=click_type(parameter.kind, parameter.option),
        nargs=-1 if many else 1,
        required=True,
        metavar=parameter.option.metavar,
    )


def _option(parameter: Parameter) -> Callable[..., Any]:
    option, default = parameter.option, None if parameter.form_default in (MISSING, "", []) else parameter.form_default
    shown: Any = option.when_empty or default is not None
    if parameter.kind is bool:
        return click.option(*_spelled(parameter), is_flag=True, default=default, show_default=shown, help=option.help)
    return click.option(
        *_spelled(parameter),
        type=click_type(parameter.kind, option),
        multiple=get_origin(parameter.kind) is tuple and not option.separator,
        required=parameter.required,
        default=default,
        show_default=shown,
        metavar=option.metavar,
        help=option.help,
    )


def _spelled(parameter: Parameter) -> tuple[str, str]:
    """Return the option's flags, with its opposite if it can be true, false or unset, and the parameter's name."""
    opposite = f"/--no-{parameter.flag[2:]}" if parameter.kind is bool and parameter.nullable else ""
    return parameter.option.flags or parameter.flag + opposite, parameter.name


def click_type(kind: Any, option: Option) -> Any:
    """Return the click type of a parameter's value, or of each value if it takes several."""
    if option.separator:
        return str
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        own = next((each for each in getattr(item, "__metadata__", ()) if isinstance(each, Option)), option)
        return click_type(getattr(item, "__origin__", item), own)
    if get_origin(kind) is Literal:
        return click.Choice([value for value in get_args(kind) if value])
    if kind in (int, float):
        return _numbers(kind, option)
    if kind is Path or option.place:
        return click.Path()
    return Matching(option) if option.pattern else str


def _numbers(kind: type[int] | type[float], option: Option) -> Any:
    lowest, highest = (option.gt if option.ge is None else option.ge), (option.lt if option.le is None else option.le)
    if lowest is None and highest is None:
        return kind
    chosen = click.IntRange if kind is int else click.FloatRange
    return chosen(lowest, highest, min_open=option.ge is None, max_open=option.le is None and option.lt is not None)  # type: ignore[arg-type]
