"""Heavy: surgery on TensorFlow graphs: unfuse, fix the input's shape, find and name the outputs. No files.

A prepared graph is frozen, has one float32 input [1, size, size, 3], one Identity `nightjar/NAME` an output, and
none of the fused operations that OpenVINO has no rule for.
"""

from collections.abc import Iterator

from models.manifest import ConversionError
from models.posenet_graph import width_of
from models.quiet_tf import GraphDef, NodeDef, op_def_registry, tf

OUTPUT_PREFIX = "nightjar/"
POSENET_OUTPUTS = {  # IR name -> names in published models
    "heatmap": ("heatmap", "heatmap_2", "float_heatmaps"),
    "offset_2": ("offset_2", "float_short_offsets"),
    "displacement_fwd_2": ("displacement_fwd_2",),
    "displacement_bwd_2": ("displacement_bwd_2",),
}

_FUSED = {"_FusedConv2D": "Conv2D", "FusedDepthwiseConv2dNative": "DepthwiseConv2dNative", "_FusedMatMul": "MatMul"}
_ACTIVATIONS = ("Relu", "Relu6", "Elu", "LeakyRelu", "Sigmoid", "Tanh")
_VARIABLES = {"Variable", "VariableV2", "VarHandleOp", "ReadVariableOp"}
# Operations that reach outside the graph: a model that holds one is a program to run, not weights to convert.
_FORBIDDEN = {
    *("ReadFile", "WriteFile", "MatchingFiles", "PyFunc", "PyFuncStateless", "EagerPyFunc", "PrintV2"),
    *("TFRecordReader", "TextLineReader", "WholeFileReader", "FixedLengthRecordReader", "DebugIdentity"),
}


def refuse_programs(graph: GraphDef) -> None:
    """Raises ConversionError where the graph would read files, write files or call Python."""
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    found = sorted({node.op for node in nodes} & _FORBIDDEN)
    if found:
        raise ConversionError(
            f"the graph holds {', '.join(found)}, which reach outside of it; expected arithmetic only: "
            "do not use this file unless you know who made it, and then freeze it without them"
        )


def unfuse(graph: GraphDef) -> GraphDef:
    """The same graph with TF.js's fused operations and Prelu written as plain TensorFlow ones.

    Raises ConversionError for a fused operation of unknown kind.
    """
    plain = GraphDef(versions=graph.versions, library=graph.library)
    for node in graph.node:
        if node.op in _FUSED:
            plain.node.extend(_unfused(node))
        elif node.op == "Prelu":
            plain.node.extend(_prelu(node.name, *node.input))
        else:
            plain.node.append(node)
    return plain


def _unfused(node: NodeDef) -> Iterator[NodeDef]:
    """The operation, then each of `fused_ops` in turn; the last one takes the fused node's name."""
    fused = [name.decode() for name in node.attr["fused_ops"].list.s]
    arguments = iter(node.input[2:])
    names = [f"{node.name}/{name}" for name in (_FUSED[node.op], *fused)]
    names[-1] = node.name
    yield _node(names[0], _FUSED[node.op], [*node.input[:2]], node)
    for name, op, previous in zip(names[1:], fused, names, strict=False):
        if op == "BiasAdd":
            yield _node(name, op, [previous, next(arguments)], node)
        elif op == "Prelu":
            yield from _prelu(name, previous, next(arguments))
        elif op in _ACTIVATIONS:
            yield _activation(name, op, previous, node)
        else:
            raise ConversionError(
                f"{node.op} {node.name!r} fuses {op}, expected BiasAdd, Prelu, {', '.join(_ACTIVATIONS)}: "
                "convert the model to TF.js again without fusing"
            )


def _activation(name: str, op: str, previous: str, fused: NodeDef) -> NodeDef:
    node = _node(name, op, [previous])
    if op == "LeakyRelu" and "leakyrelu_alpha" in fused.attr:
        node.attr["alpha"].f = fused.attr["leakyrelu_alpha"].f
    return node


def _prelu(name: str, x: str, alpha: str) -> list[NodeDef]:
    """relu(x) - alpha * relu(-x); TensorFlow itself has no Prelu, and TF.js's carries no type: float32."""
    return [
        _node(f"{name}/positive", "Relu", [x]),
        _node(f"{name}/minus", "Neg", [x]),
        _node(f"{name}/negative", "Relu", [f"{name}/minus"]),
        _node(f"{name}/scaled", "Mul", [f"{name}/negative", alpha]),
        _node(name, "Sub", [f"{name}/positive", f"{name}/scaled"]),
    ]


def _node(name: str, op: str, inputs: list[str], like: NodeDef | None = None) -> NodeDef:
    """A float32 node with those attributes of `like` that the operation knows."""
    node = NodeDef(name=name, op=op, input=inputs)
    known = {attribute.name for attribute in op_def_registry.get(op).attr}
    for key, value in like.attr.items() if like is not None else ():
        if key in known:
            node.attr[key].CopyFrom(value)
    node.attr["T"].type = tf.float32.as_datatype_enum
    return node


def the_input(graph: GraphDef) -> NodeDef:
    """The one placeholder, an image [*, height, width, 3] float32. Raises ConversionError where it is not so."""
    stray = sorted({node.op for node in graph.node} & _VARIABLES)
    if stray:
        raise ConversionError(f"the graph holds variables ({', '.join(stray)}), expected a frozen one: freeze it first")
    inputs = [node for node in graph.node if node.op == "Placeholder"]
    if len(inputs) != 1:
        names = ", ".join(node.name for node in inputs) or "none"
        raise ConversionError(f"inputs found: {names}; expected exactly one, an image: export the model with one input")
    shape = [dim.size for dim in inputs[0].attr["shape"].shape.dim]
    known_rank = not inputs[0].attr["shape"].shape.unknown_rank and bool(shape)
    fits = not known_rank or (len(shape) == 4 and shape[0] in (-1, 1) and shape[3] in (-1, 3))
    if inputs[0].attr["dtype"].type != tf.float32.as_datatype_enum or not fits:
        kind = tf.dtypes.as_dtype(inputs[0].attr["dtype"].type).name
        raise ConversionError(
            f"input {inputs[0].name!r} is {kind} {shape}, expected float32 [1, height, width, 3]: "
            "export the model with a float RGB image, channels last"
        )
    return inputs[0]


def own_size(graph: GraphDef) -> int | None:
    """The input size that the graph is fixed to, None where it takes any. Raises ConversionError if not square."""
    dims = [dim.size for dim in the_input(graph).attr["shape"].shape.dim] or [-1] * 4
    if dims[1] != dims[2]:
        raise ConversionError(f"the input is fixed to {dims[1]}x{dims[2]}, expected a square: export a square model")
    return dims[1] if dims[1] > 0 else None


def candidate_outputs(graph: GraphDef) -> dict[str, str]:
    """What nobody consumes: node name -> tensor name."""
    consumed = {name.lstrip("^").split(":")[0] for node in graph.node for name in node.input}
    ignored = {"NoOp", "Assert", "Const", "Placeholder"}
    return {n.name: f"{n.name}:0" for n in graph.node if n.name not in consumed and n.op not in ignored}


def posenet_outputs(graph: GraphDef, candidates: dict[str, str]) -> dict[str, str] | None:
    """PoseNet's four outputs, IR name -> tensor name, the heatmap as raw logits; None where there is none of them.

    Raises ConversionError where only some are there, or the network is not the MobileNetV1 one.
    """
    found: dict[str, str] = {}
    for output, aliases in POSENET_OUTPUTS.items():
        for name, tensor in candidates.items():
            if set(aliases) & set(name.split("/")):
                found[output] = _before_sigmoid(graph, tensor) if output == "heatmap" else tensor
    if not found:
        return None
    if missing := POSENET_OUTPUTS.keys() - found.keys():
        raise ConversionError(
            f"outputs found: {', '.join(sorted(candidates))}; PoseNet's {', '.join(sorted(missing))} missing: "
            "give a complete PoseNet"
        )
    if any("resnet" in node.name.lower() for node in graph.node):
        raise ConversionError("PoseNet on ResNet50 found, expected MobileNetV1: its input is scaled in another way")
    return found


def _before_sigmoid(graph: GraphDef, tensor: str) -> str:
    """Published frozen graphs end in a sigmoid that TF.js's graphs lack: the decoder wants logits."""
    nodes = {node.name: node for node in graph.node}
    node = nodes[tensor.split(":")[0]]
    while node.op == "Identity":
        node = nodes[node.input[0].split(":")[0]]
    return node.input[0] if node.op == "Sigmoid" else tensor


def mobilenet_width(graph: GraphDef, asked: float | None) -> float:
    """PoseNet's width from its first convolution, the only one over 3 channels. Raises ConversionError."""
    shapes = [[d.size for d in n.attr["value"].tensor.tensor_shape.dim] for n in graph.node if n.op == "Const"]
    first = [shape for shape in shapes if len(shape) == 4 and shape[2] == 3]
    if len(first) != 1:
        raise ConversionError(
            f"convolutions over 3 channels found: {len(first)}, expected 1: not a PoseNet MobileNetV1"
        )
    return width_of(first[0][3], asked)


def prepare(graph: GraphDef, outputs: dict[str, str], size: int) -> GraphDef:
    """The part of the graph that makes the outputs, its input fixed to [1, size, size, 3], outputs named.

    Raises ConversionError where the graph is fixed to another size or is no valid TensorFlow.
    """
    fixed = own_size(graph)
    if fixed not in (None, size):
        raise ConversionError(f"the model is fixed to input size {fixed}, {size} was asked for: leave --size out")
    ready = GraphDef()
    ready.CopyFrom(graph)
    for node in ready.node:
        node.attr.pop("_output_shapes", None)
    shape = the_input(ready).attr["shape"].shape
    shape.CopyFrom(tf.TensorShape([1, size, size, 3]).as_proto())
    names = [f"{OUTPUT_PREFIX}{name}" for name in outputs]
    ready.node.extend(_node(name, "Identity", [tensor]) for name, tensor in zip(names, outputs.values(), strict=True))
    ready = tf.compat.v1.graph_util.extract_sub_graph(ready, names)
    to_graph(ready)
    return ready


def to_graph(graph: GraphDef) -> tf.Graph:
    """Raises ConversionError where TensorFlow does not accept the graph."""
    with tf.Graph().as_default() as imported:
        try:
            tf.graph_util.import_graph_def(graph, name="")
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise ConversionError(
                f"not a valid TensorFlow graph ({error}): fetch or export the source again"
            ) from error
    return imported
