"""Heavy: PoseNet's MobileNetV1 as a TensorFlow graph, built in code around the variables of the first TF.js format.

That format publishes variables and no graph. Not here: reading files (tfjs.py), decoding poses (posenet.py).
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.errors import ConversionError
from models.heavy.tensorflow import GraphDef, tf
from models.inference.sizes import InputSize

OUTPUT_STRIDE = 16
HEADS = ("heatmap_2", "offset_2", "displacement_fwd_2", "displacement_bwd_2")

# Nominal stride of block 0 (a full convolution) and of the separable blocks 1 to 13, by width:
# tfjs-models/posenet v1, mobilenet.ts. 1.01 is another training of the 1.00 network.
_STRIDES_100 = (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
_STRIDES_075 = (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 1, 1)
_STRIDES = {0.50: _STRIDES_075, 0.75: _STRIDES_075, 1.00: _STRIDES_100, 1.01: _STRIDES_100}
_WIDTHS = {16: 0.50, 24: 0.75, 32: 1.00}  # channels of block 0

Variables = Mapping[str, NDArray[np.float32]]


def width_of(first_channels: int, asked: float | None) -> float:
    """Return the width multiplier by the output channels of the first convolution, checked against the request.

    Raises ConversionError where the channels do not fit PoseNet or the width. 1.01 has the shapes of 1.00.
    """
    found = _WIDTHS.get(first_channels)
    if found is None:
        raise ConversionError(
            f"The first convolution has {first_channels} channels, not 16, 24 or 32 (width 0.50, 0.75, 1.00). "
            "Give the weights of a published PoseNet MobileNetV1."
        )
    if asked is None:
        return found
    if asked not in _STRIDES:
        raise ConversionError(f"--width is {asked}. Give 0.50, 0.75, 1.00 or 1.01.")
    if found != min(asked, 1.00):
        raise ConversionError(
            f"The weights are of width {found:.2f}, but --width is {asked:.2f}. "
            f"Leave --width out, or give the source of width {asked:.2f}."
        )
    return asked


def block_strides(width: float) -> list[tuple[int, int]]:
    """(stride, dilation) of the 14 blocks, so that the output stride is 16.

    After the output stride is reached, a block has stride 1 and its nominal stride multiplies the dilation of the
    blocks after it: at width 1.00 block 12 has stride 1 and block 13 dilation 2.
    """
    reached, dilation, blocks = 1, 1, []
    for stride in _STRIDES[width]:
        if reached == OUTPUT_STRIDE:
            blocks.append((1, dilation))
            dilation *= stride
        else:
            blocks.append((stride, 1))
            reached *= stride
    return blocks


def build_graph(variables: Variables, width: float, size: InputSize) -> tuple[GraphDef, dict[str, str]]:
    """Build the frozen graph with input `image` [1, *size, 3], and its heads: name -> tensor name.

    Raises ConversionError where a variable is missing or does not fit its neighbours.
    """
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [1, *size, 3], name="image")
        try:
            for block, (stride, dilation) in enumerate(block_strides(width)):
                x = _block(x, variables, block, stride, dilation)
            heads = {head: _convolution(x, variables, head, 1, activation=False).name for head in HEADS}
        except KeyError as error:
            raise ConversionError(f"Variable {error} is missing. Fetch the source again.") from error
        except ValueError as error:
            raise ConversionError(f"The variables do not fit together ({error}). Fetch the source again.") from error
    return graph.as_graph_def(), heads


def _block(x: tf.Tensor, variables: Variables, block: int, stride: int, dilation: int) -> tf.Tensor:
    if block == 0:
        return _convolution(x, variables, "Conv2d_0", stride)
    x = _depthwise(x, variables, f"Conv2d_{block}_depthwise", stride, dilation)
    return _convolution(x, variables, f"Conv2d_{block}_pointwise", 1)


def _convolution(x: tf.Tensor, variables: Variables, name: str, stride: int, activation: bool = True) -> tf.Tensor:
    x = tf.nn.conv2d(x, variables[f"MobilenetV1/{name}/weights"], stride, "SAME", name=f"{name}/conv")
    x = tf.nn.bias_add(x, variables[f"MobilenetV1/{name}/biases"], name=f"{name}/bias")
    return tf.nn.relu6(x, name=f"{name}/relu6") if activation else x


def _depthwise(x: tf.Tensor, variables: Variables, name: str, stride: int, dilation: int) -> tf.Tensor:
    weights = variables[f"MobilenetV1/{name}/depthwise_weights"]
    # The raw op, because tf.nn.depthwise_conv2d turns a dilation into SpaceToBatch, which a stick cannot run.
    x = tf.raw_ops.DepthwiseConv2dNative(
        input=x,
        filter=weights,
        strides=[1, stride, stride, 1],
        padding="SAME",
        dilations=[1, dilation, dilation, 1],
        name=f"{name}/conv",
    )
    x = tf.nn.bias_add(x, variables[f"MobilenetV1/{name}/biases"], name=f"{name}/bias")
    return tf.nn.relu6(x, name=f"{name}/relu6")
