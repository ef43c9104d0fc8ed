"""The list of a sandboxed child's entry points: each exists, and each caller's function is listed."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

from storage.sandbox.entry_points import ENTRY_POINTS
from storage.sandbox.parent import Sandbox
from tests.conftest import ROOT
from tests.syntax_trees import syntax_tree


@pytest.mark.parametrize(("module", "name"), sorted(ENTRY_POINTS))
def test_an_entry_point_is_a_function_of_that_module(module: str, name: str) -> None:
    function = getattr(importlib.import_module(module), name)
    assert inspect.isfunction(function)
    assert (function.__module__, function.__qualname__) == (module, name)


@pytest.mark.parametrize("function", [eval, Path.read_text, test_an_entry_point_is_a_function_of_that_module])
def test_another_function_is_refused_before_a_child_starts(function: object) -> None:
    with Sandbox() as sandbox:
        with pytest.raises(ValueError, match="not an entry point of the sandbox"):
            sandbox.call(function, cpu_s=1)  # type: ignore[arg-type]
        assert sandbox.pid is None


def test_every_listed_entry_point_is_used() -> None:
    """A function without callers must be removed from the list."""
    used = {
        node.id
        for folder in ("tasks", "flows", "deployments")
        for path in (ROOT / folder).rglob("*.py")
        for call in ast.walk(syntax_tree(path))
        if isinstance(call, ast.Call)
        for node in call.args
        if isinstance(node, ast.Name)
    }
    assert {name for _, name in ENTRY_POINTS} <= used
