"""The TensorFlow operations that a model may contain: arithmetic on tensors, without access to anything outside.

The list is of allowed operations, not of forbidden ones: TensorFlow has about 1,450, several of which write files or
load libraries, and a new release adds more.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from models.errors import ConversionError

_GROUPS = """
Constants and shapes:
    Const Placeholder PlaceholderWithDefault Identity IdentityN NoOp StopGradient PreventGradient Shape ShapeN Size
    Rank Fill Range LinSpace ZerosLike OnesLike EnsureShape BroadcastTo BroadcastArgs Snapshot CheckNumerics
One value at a time:
    Abs Acos Acosh Add AddN AddV2 Asin Asinh Atan Atan2 Atanh BiasAdd BiasAddV1 Cast Ceil ClipByValue Cos Cosh Div
    DivNoNan Elu Equal Erf Erfc Exp Expm1 Floor FloorDiv FloorMod Gelu Greater GreaterEqual Inv IsFinite IsInf IsNan
    LeakyRelu Less LessEqual Lgamma Log Log1p LogicalAnd LogicalNot LogicalOr LogSoftmax Maximum Minimum Mod Mul
    MulNoNan Neg NotEqual Pow Prelu RealDiv Reciprocal Relu Relu6 Rint Round Rsqrt Selu Sigmoid Sign Sin Sinh
    Softmax Softplus Softsign Sqrt Square SquaredDifference Sub Tan Tanh TruncateDiv TruncateMod Xdivy Xlogy
    BitwiseAnd BitwiseOr BitwiseXor Invert LeftShift RightShift
Convolutions, pooling, normalisation:
    AvgPool AvgPool3D Conv2D Conv2DBackpropInput Conv3D DepthwiseConv2dNative Dilation2D ExtractImagePatches
    FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 FusedDepthwiseConv2dNative L2Loss LRN MaxPool MaxPoolV2
    MaxPoolWithArgmax _FusedConv2D _FusedMatMul CropAndResize ResizeArea ResizeBicubic ResizeBilinear
    ResizeNearestNeighbor ImageProjectiveTransformV2 ImageProjectiveTransformV3 AdjustContrastv2 RGBToHSV HSVToRGB
Matrices and reductions:
    All Any ArgMax ArgMin BatchMatMul BatchMatMulV2 BatchMatMulV3 Cumprod Cumsum Einsum EuclideanNorm InTopK
    InTopKV2 MatMul MatrixBandPart MatrixDiag MatrixDiagPart Max Mean Min Prod Sum SegmentSum TopK TopKV2
    UnsortedSegmentSum
Rearranging:
    BatchToSpace BatchToSpaceND Bucketize Concat ConcatV2 DepthToSpace DynamicPartition DynamicStitch ExpandDims
    Gather GatherNd GatherV2 InvertPermutation ListDiff MirrorPad OneHot Pack Pad PadV2 ParallelDynamicStitch
    Reshape Reverse ReverseSequence ReverseV2 Roll ScatterNd Select SelectV2 Slice SpaceToBatch SpaceToBatchND
    SpaceToDepth Split SplitV Squeeze StridedSlice TensorScatterUpdate TensorScatterAdd Tile Transpose Unique
    UniqueV2 Unpack Where NonMaxSuppression NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionV4
    NonMaxSuppressionV5 CombinedNonMaxSuppression
Recurrent layers and branches:
    BlockLSTM GRUBlockCell If PartitionedCall StatefulPartitionedCall StatelessIf StatelessWhile While Switch Merge
    Enter Exit NextIteration LoopCond RefMerge RefSwitch TensorListFromTensor TensorListGetItem TensorListReserve
    TensorListSetItem TensorListStack TensorListLength TensorListElementShape EmptyTensorList TensorListPushBack
    TensorListPopBack
Quantised weights:
    Dequantize FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel
    QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4
"""
ARITHMETIC = frozenset(word for line in _GROUPS.splitlines() if line.startswith(" ") for word in line.split())
VARIABLES = frozenset({"Variable", "VariableV2", "VarHandleOp", "ReadVariableOp", "ResourceGather"})
"""Weights of a graph that is not frozen: read, and never assigned."""
# Every SavedModel contains a graph for saving and one for restoring. TensorFlow runs neither here.
_SAVERS = frozenset(
    {
        *("SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename", "StringJoin", "StaticRegexFullMatch"),
        *("AssignVariableOp", "Assign", "VarIsInitializedOp", "DisableCopyOnRead"),
    }
)


def refuse_programs(nodes: Iterable[Any], functions: Iterable[Any] = ()) -> None:
    """Raise ConversionError where a node of the graph, or of a function in it, is more than arithmetic.

    nodes: NodeDef, of the part that is converted; functions: FunctionDef, all that the graph carries
    """
    inner = {node.op for function in functions for node in function.node_def}
    _refuse({node.op for node in nodes} | inner, ARITHMETIC | VARIABLES)  # variables have their own error


def refuse_saved_programs(graph: Any, callable_names: set[str]) -> None:
    """Check a SavedModel's GraphDef likewise before TensorFlow loads it, which runs some of its functions.

    callable_names: the functions that loading or calling the model may run. Operations that save and restore are
        allowed in functions that none of these calls.
    """
    functions = {function.signature.name: function for function in graph.library.function}
    for name in _reached(functions, callable_names):
        _refuse({node.op for node in functions[name].node_def}, ARITHMETIC | VARIABLES)
    everything = {node.op for node in graph.node} | {n.op for f in functions.values() for n in f.node_def}
    _refuse(everything, ARITHMETIC | VARIABLES | _SAVERS)


def _reached(functions: dict[str, Any], names: set[str]) -> Iterator[str]:
    """Yield the functions of these names and all that they call, at any depth."""
    seen: set[str] = set()
    waiting = [name for name in names if name in functions]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        yield name
        called = {_called(value) for node in functions[name].node_def for value in node.attr.values()}
        waiting += [one for some in called for one in some if one in functions]


def _called(value: Any) -> tuple[str, ...]:
    return (value.func.name, *(function.name for function in value.list.func))


def _refuse(found: set[str], allowed: frozenset[str]) -> None:
    if strange := sorted(found - allowed):
        raise ConversionError(
            f"The graph holds operations that are not arithmetic on tensors: {', '.join(strange[:8])}. "
            "Do not use this file unless you trust its author, and then export it without them."
        )
