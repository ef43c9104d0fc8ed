"""Heavy: tensorflowjs's reader and writer of weights, imported quietly. Import it inside the function that needs it.

tensorflowjs also loads TensorFlow Decision Forests and TensorFlow Hub: 0.3 s of CPU time and 30 MB beyond
TensorFlow's, and a welcome message, which models/heavy/tensorflow.py turns off.
"""

import warnings

from models.heavy.tensorflow import silent_stderr

with silent_stderr(), warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of pkg_resources, by TensorFlow Hub
    from tensorflowjs.read_weights import decode_weights
    from tensorflowjs.write_weights import write_weights

__all__ = ["decode_weights", "write_weights"]
