"""Read the syntax trees of the project's own modules."""

import ast
import gc
from pathlib import Path


def syntax_tree(path: Path) -> ast.Module:
    """Parse a module.

    No garbage is collected meanwhile: a finalizer that logs a traceback parses, too, and Python 3.11 counts the depth
    of both together and fails (https://github.com/python/cpython/issues/106905).
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    finally:
        if collects:
            gc.enable()
