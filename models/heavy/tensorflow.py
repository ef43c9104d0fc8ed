"""Heavy: TensorFlow and both Keras, imported without their start-up noise. Nothing else happens here.

TensorFlow and Keras load installed packages that Nightjar's use of them does not need: jax for TF Lite, scikit-learn
for Keras's wrappers, matplotlib for its galleries, scipy and pandas for their kinds of arrays. Together they take half
of the import's CPU time, so they count as not installed while it lasts.

TensorFlow 2.19's shared libraries write to the file descriptor of stderr whatever the log level is ("Unable to
register cuDNN factory" on every machine), so the descriptor itself is redirected while they load. All other modules
import TensorFlow from here.
"""

import contextlib
import os
import sys
from collections.abc import Iterator

NOT_NEEDED = ("jax", "matplotlib", "pandas", "scipy", "sklearn")


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Discard the output of shared libraries to stderr. Python errors still appear."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextlib.contextmanager
def as_if_absent(*packages: str) -> Iterator[None]:
    """Let imports of these packages fail, except of those that are loaded already."""
    absent = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # as the import system defines it
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# By default only on CPUs with AVX-512; without it TensorFlow has no dilated depthwise convolution (PoseNet 1.00).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TFDF_DISABLE_WELCOME_MESSAGE", "1")  # of TensorFlow Decision Forests, which tensorflowjs loads
with silent_stderr(), as_if_absent(*NOT_NEEDED):
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    import keras
    import tf_keras
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
    from tensorflow.python.framework import op_def_registry
    from tensorflow.python.framework.config import disable_op_determinism
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

GraphDef = tf.compat.v1.GraphDef
NodeDef = tf.compat.v1.NodeDef

__all__ = [
    "GraphDef",
    "NodeDef",
    "SavedModel",
    "convert_variables_to_constants_v2",
    "disable_op_determinism",
    "keras",
    "op_def_registry",
    "silent_stderr",
    "tf",
    "tf_keras",
]
