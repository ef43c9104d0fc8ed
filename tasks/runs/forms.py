"""Forms of flows, made from specs: Prefect builds its form from the signature of a flow's function."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from models.spec import Parameter, build, parameters

S = TypeVar("S")
R = TypeVar("R")


def form(spec: type[S]) -> Callable[[Callable[[S], R]], Callable[..., R]]:
    """Give a flow's function the parameters of a spec, flat, with defaults, bounds and help; it receives the spec.

    The parameters stay flat because deployments, schedules and callers refer to them by name.
    """

    def decorate(function: Callable[[S], R]) -> Callable[..., R]:
        signature = inspect.Signature([_declared(each) for each in parameters(spec).values()])

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> R:
            return function(build(spec, signature.bind(*args, **kwargs).arguments))

        run.__signature__ = signature  # type: ignore[attr-defined]
        return run

    return decorate


def _declared(parameter: Parameter) -> inspect.Parameter:
    default = inspect.Parameter.empty if parameter.required else parameter.form_default
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(parameter.name, kind, default=default, annotation=parameter.form_annotation)
