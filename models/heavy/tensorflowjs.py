"""Heavy: tensorflowjs's reader and writer of weights. Import it inside the function that needs it.

Its package file loads its converters, and they load jax, TensorFlow Decision Forests and TensorFlow Hub: 1.4 s of CPU
time for two modules that need numpy and TensorFlow only. So the two are imported without running that file.
"""

import importlib.util
import sys

import models.heavy.tensorflow  # noqa: F401 - the writer loads TensorFlow, and here it is loaded quietly

PACKAGE = "tensorflowjs"


def _import_bare() -> None:
    """Put the package into sys.modules with its path, but without its contents."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {PACKAGE!r}", name=PACKAGE)
    sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)


is_loaded = PACKAGE in sys.modules
if not is_loaded:
    _import_bare()
from tensorflowjs.read_weights import decode_weights  # noqa: E402
from tensorflowjs.write_weights import write_weights  # noqa: E402

if not is_loaded:
    del sys.modules[PACKAGE]  # an import of the whole package loads all of it

__all__ = ["decode_weights", "write_weights"]
