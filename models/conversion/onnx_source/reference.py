"""Heavy: what an ONNX model computes by the standard's own reference implementation, and which inner values to compare.

`onnx.reference` is numpy, written from the standard and independent of OpenVINO. It takes seconds per picture.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from models.conversion.onnx_source.operators import OPERATORS
from models.errors import ConversionError

Values = dict[str, NDArray[np.float32]]


def run_reference(
    source: onnx.ModelProto, given: str, tensors: Iterable[NDArray[np.float32]], watched: Mapping[str, str]
) -> list[Values]:
    """Compute tensors of the model for each input.

    given: name of the input; watched: our name -> the model's name of each tensor

    Raises ConversionError where the reference implementation cannot run the model.
    """
    model = onnx.ModelProto()
    model.CopyFrom(source)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in watched.values())
    try:
        evaluator = ReferenceEvaluator(model, new_ops=list(OPERATORS))
        return [dict(zip(watched, evaluator.run(None, {given: tensor}), strict=True)) for tensor in tensors]
    except Exception as error:  # of an operator, anything that numpy raises
        reason = " ".join(str(error).split())[:300]
        raise ConversionError(
            f"The ONNX reference implementation cannot run the model ({type(error).__name__}: {reason}), so that "
            "nothing proves the conversion. Export another graph."
        ) from error


def last_convolutions(source: onnx.ModelProto) -> list[str]:
    """Return the outputs of the convolutions that no other convolution follows on the way to the model's outputs.

    They differ little between two correct implementations. Rows chosen from what they make may change places.
    """
    makers = {output: node for node in source.graph.node for output in node.output}
    waiting, seen, found = [output.name for output in source.graph.output], set[str](), list[str]()
    while waiting:
        name = waiting.pop()
        node = makers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type == "Conv":
            found.append(name)
        else:
            waiting += node.input
    return found
