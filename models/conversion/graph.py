"""Heavy: surgery on TensorFlow graphs: unfuse, fix the input's shape, find and name the outputs. No files.

A prepared graph is frozen, has one float32 input [1, height, width, 3], one Identity `nightjar/NAME` per output, and
none of the fused operations that OpenVINO cannot convert.
"""

from collections.abc import Iterable, Iterator

from models.conversion.posenet_graph import width_of
from models.errors import ConversionError
from models.heavy.tensorflow import GraphDef, NodeDef, op_def_registry, tf
from models.inference.sizes import InputSize

OUTPUT_PREFIX = "nightjar/"
POSENET_OUTPUTS = {  # IR name -> names in published models
    "heatmap": ("heatmap", "heatmap_2", "float_heatmaps"),
    "offset_2": ("offset_2", "float_short_offsets"),
    "displacement_fwd_2": ("displacement_fwd_2",),
    "displacement_bwd_2": ("displacement_bwd_2",),
}

_FUSED = {"_FusedConv2D": "Conv2D", "FusedDepthwiseConv2dNative": "DepthwiseConv2dNative", "_FusedMatMul": "MatMul"}
_ACTIVATIONS = ("Relu", "Relu6", "Elu", "LeakyRelu", "Sigmoid", "Tanh")
_MOST_RENAMES = 20
_VARIABLES = {"Variable", "VariableV2", "VarHandleOp", "ReadVariableOp"}


def part_of(graph: GraphDef, outputs: Iterable[str]) -> GraphDef:
    """Return the nodes on which the tensors depend, without control inputs and their side effects.

    Raises ConversionError where a node is missing.
    """
    nodes = {node.name: node for node in graph.node}
    waiting, needed = [_node_of(tensor) for tensor in outputs], set()
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        if name not in nodes:
            raise ConversionError(
                f"The graph refers to {name!r}, which it does not contain. Fetch or export the source again."
            )
        needed.add(name)
        waiting += [_node_of(tensor) for tensor in nodes[name].input if not tensor.startswith("^")]
    part = GraphDef(versions=graph.versions, library=graph.library)
    for node in graph.node:
        if node.name in needed:
            part.node.append(node)
            tensors = [tensor for tensor in node.input if not tensor.startswith("^")]
            del part.node[-1].input[:]
            part.node[-1].input.extend(tensors)
    return part


def _node_of(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]


def unfuse(graph: GraphDef) -> GraphDef:
    """Replace TF.js's fused operations and Prelu in a graph with plain TensorFlow ones.

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
    """Yield the operation, then each of `fused_ops` in turn; the last one takes the fused node's name."""
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
                f"{node.op} {node.name!r} fuses {op}, and only BiasAdd, Prelu, {', '.join(_ACTIVATIONS)} are known. "
                "Convert the model to TF.js again without fusing."
            )


def _activation(name: str, op: str, previous: str, fused: NodeDef) -> NodeDef:
    node = _node(name, op, [previous])
    if op == "LeakyRelu" and "leakyrelu_alpha" in fused.attr:
        node.attr["alpha"].f = fused.attr["leakyrelu_alpha"].f
    return node


def _prelu(name: str, x: str, alpha: str) -> list[NodeDef]:
    """relu(x) - alpha * relu(-x) in float32. TensorFlow itself has no Prelu, and TF.js's has no type."""
    return [
        _node(f"{name}/positive", "Relu", [x]),
        _node(f"{name}/minus", "Neg", [x]),
        _node(f"{name}/negative", "Relu", [f"{name}/minus"]),
        _node(f"{name}/scaled", "Mul", [f"{name}/negative", alpha]),
        _node(name, "Sub", [f"{name}/positive", f"{name}/scaled"]),
    ]


def _node(name: str, op: str, inputs: list[str], like: NodeDef | None = None) -> NodeDef:
    """Make a float32 node with those attributes of `like` that the operation knows."""
    node = NodeDef(name=name, op=op, input=inputs)
    known = {attribute.name for attribute in op_def_registry.get(op).attr}
    for key, value in like.attr.items() if like is not None else ():
        if key in known:
            node.attr[key].CopyFrom(value)
    node.attr["T"].type = tf.float32.as_datatype_enum
    return node


def image_input(graph: GraphDef) -> NodeDef:
    """Return the one placeholder, an image [*, height, width, 3] float32. Raises ConversionError for other inputs."""
    stray = sorted({node.op for node in graph.node} & _VARIABLES)
    if stray:
        raise ConversionError(f"The graph contains variables ({', '.join(stray)}). Freeze it first.")
    inputs = [node for node in graph.node if node.op == "Placeholder"]
    if len(inputs) != 1:
        names = ", ".join(node.name for node in inputs) or "none"
        raise ConversionError(f"The graph's inputs are {names}. Export the model with exactly one input, an image.")
    shape = [dim.size for dim in inputs[0].attr["shape"].shape.dim]
    known_rank = not inputs[0].attr["shape"].shape.unknown_rank and bool(shape)
    fits = not known_rank or (len(shape) == 4 and shape[0] in (-1, 1) and shape[3] in (-1, 3))
    if inputs[0].attr["dtype"].type != tf.float32.as_datatype_enum or not fits:
        kind = tf.dtypes.as_dtype(inputs[0].attr["dtype"].type).name
        raise ConversionError(
            f"Input {inputs[0].name!r} is {kind} {shape}, not float32 [1, height, width, 3]. "
            "Export the model with a float RGB image, channels last."
        )
    return inputs[0]


def own_size(graph: GraphDef) -> InputSize | None:
    """Return the graph's fixed input size, None where it takes any. Raises ConversionError if one side alone is."""
    _, height, width, _ = [dim.size for dim in image_input(graph).attr["shape"].shape.dim] or [-1] * 4
    if (height > 0) != (width > 0):
        raise ConversionError(
            f"One side of the input {height}x{width} is fixed, the other (-1) is not. Export the model with both or "
            "none fixed."
        )
    return InputSize(height, width) if height > 0 else None


def candidate_outputs(graph: GraphDef) -> dict[str, str]:
    """Find the outputs that no other node consumes: node name -> tensor name."""
    consumed = {_node_of(name) for node in graph.node for name in node.input}
    ignored = {"NoOp", "Assert", "Const", "Placeholder"}
    unread = [node for node in graph.node if node.name not in consumed and node.op not in ignored]
    return {node.name: f"{node.name}:0" for node in unread if _has_output(node.op)}


def _has_output(op: str) -> bool:
    """Return whether an operation has outputs. Operations unknown to TensorFlow are refused later."""
    known = op_def_registry.get(op)
    return known is None or len(known.output_arg) > 0


def posenet_outputs(graph: GraphDef, candidates: dict[str, str]) -> dict[str, str] | None:
    """PoseNet's four outputs, IR name -> tensor name, the heatmap as raw logits; None where the graph is not a PoseNet.

    An output is recognised by its own name, or by the name before it is renamed. Further heads are ignored, also those
    that are computed from the four. Raises ConversionError where some of the four are missing or ambiguous,
    or where the network is not MobileNetV1.
    """
    nodes = {node.name: node for node in graph.node}
    names = {tensor: {*name.split("/"), *_former_names(nodes, tensor)} for name, tensor in candidates.items()}
    found = {output: _of_names(aliases, names) for output, aliases in POSENET_OUTPUTS.items()}
    within = {output: _within(nodes, aliases) for output, aliases in POSENET_OUTPUTS.items()}
    if not any(found.values()) and not all(within.values()):
        _refuse_unnamed(graph, candidates)
        return None
    chosen = {output: tensor for output in POSENET_OUTPUTS if (tensor := found[output] or within[output])}
    if missing := POSENET_OUTPUTS.keys() - chosen.keys():
        raise ConversionError(
            f"The outputs are {', '.join(sorted(candidates))}, without PoseNet's {', '.join(sorted(missing))}. "
            "Give a complete PoseNet."
        )
    if any("resnet" in node.name.lower() for node in part_of(graph, chosen.values()).node):
        raise ConversionError(
            "This is PoseNet on ResNet50, whose input is scaled in another way. Give PoseNet on MobileNetV1."
        )
    return {**chosen, "heatmap": _before_sigmoid(nodes, chosen["heatmap"])}


def _of_names(aliases: tuple[str, ...], names: dict[str, set[str]]) -> str | None:
    """Return the tensor that has one of the names, an earlier alias before a later one."""
    return next((tensor for alias in aliases for tensor, known in names.items() if alias in known), None)


def _former_names(nodes: dict[str, NodeDef], tensor: str) -> Iterator[str]:
    """Yield the parts of the names that a tensor has before Identity nodes rename it."""
    node = nodes.get(_node_of(tensor))
    for _ in range(_MOST_RENAMES):
        if node is None:
            return
        yield from node.name.split("/")
        if node.op not in ("Identity", "Sigmoid") or not node.input:
            return
        node = nodes.get(_node_of(node.input[0]))


def _within(nodes: dict[str, NodeDef], aliases: tuple[str, ...]) -> str | None:
    """Return the last tensor of a head that other nodes consume; None where there is none."""
    members = {name for name, node in nodes.items() if set(aliases) & set(name.split("/")) and node.op != "Const"}
    inner = {_node_of(tensor) for name in members for tensor in nodes[name].input}
    last = members - inner
    return f"{last.pop()}:0" if len(last) == 1 else None


def _refuse_unnamed(graph: GraphDef, candidates: dict[str, str]) -> None:
    """Raise ConversionError where outputs have the channels of PoseNet's heads but none of their names."""
    channels = {name: _channels(graph, tensor) for name, tensor in candidates.items()} if len(candidates) >= 4 else {}
    if all(list(channels.values()).count(number) >= count for number, count in ((17, 1), (34, 1), (32, 2))):
        described = ", ".join(f"{name} ({number} channels)" for name, number in channels.items())
        raise ConversionError(
            f"The outputs are {described}. They look like PoseNet's, but their names do not distinguish the two "
            f"displacements. Export the model with a signature that names them {', '.join(POSENET_OUTPUTS)}."
        )


def _channels(graph: GraphDef, tensor: str) -> int | None:
    """Read the last dimension of a tensor from the weights that make it; None where it cannot be known."""
    nodes = {node.name: node for node in graph.node}
    node = nodes.get(_node_of(tensor))
    for _ in range(_MOST_RENAMES):
        if node is None:
            return None
        weights = nodes.get(_node_of(node.input[1])) if len(node.input) > 1 else None
        for _ in range(_MOST_RENAMES):  # frozen weights are read through an Identity
            if weights is not None and weights.op == "Identity" and weights.input:
                weights = nodes.get(_node_of(weights.input[0]))
        if weights is not None and weights.op == "Const":
            shape = weights.attr["value"].tensor.tensor_shape.dim
            return shape[-1].size if shape else None
        node = nodes.get(_node_of(node.input[0])) if node.input else None
    return None


def _before_sigmoid(nodes: dict[str, NodeDef], tensor: str) -> str:
    """Skip the sigmoid at the end of published frozen graphs, as the decoder expects logits."""
    node = nodes[_node_of(tensor)]
    for _ in range(_MOST_RENAMES):
        if node.op != "Identity" or _node_of(node.input[0]) not in nodes:
            break
        node = nodes[_node_of(node.input[0])]
    return node.input[0] if node.op == "Sigmoid" else tensor


def mobilenet_width(graph: GraphDef, asked: float | None) -> float:
    """PoseNet's width from its first convolution, the only one over 3 channels. Raises ConversionError."""
    shapes = [[d.size for d in n.attr["value"].tensor.tensor_shape.dim] for n in graph.node if n.op == "Const"]
    first = [shape for shape in shapes if len(shape) == 4 and shape[2] == 3]
    if len(first) != 1:
        raise ConversionError(
            f"The graph has {len(first)} convolutions over 3 channels, and PoseNet on MobileNetV1 has 1. Give such a "
            "model."
        )
    return width_of(first[0][3], asked)


def prepare(graph: GraphDef, outputs: dict[str, str], size: InputSize) -> GraphDef:
    """Cut out the part of the graph that makes the outputs, fix its input to [1, *size, 3], name the outputs.

    Raises ConversionError where the graph is fixed to another size or is no valid TensorFlow.
    """
    fixed = own_size(graph)
    if fixed not in (None, size):
        raise ConversionError(f"The model is fixed to input size {fixed}, but --size is {size}. Leave --size out.")
    ready = GraphDef()
    ready.CopyFrom(graph)
    for node in ready.node:
        node.attr.pop("_output_shapes", None)
    shape = image_input(ready).attr["shape"].shape
    shape.CopyFrom(tf.TensorShape([1, *size, 3]).as_proto())
    names = [f"{OUTPUT_PREFIX}{name}" for name in outputs]
    ready.node.extend(_node(name, "Identity", [tensor]) for name, tensor in zip(names, outputs.values(), strict=True))
    ready = part_of(ready, names)
    to_graph(ready)
    return ready


def to_graph(graph: GraphDef) -> tf.Graph:
    """Import a graph. Raises ConversionError where TensorFlow does not accept it."""
    with tf.Graph().as_default() as imported:
        try:
            tf.graph_util.import_graph_def(graph, name="")
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise ConversionError(
                f"This is not a valid TensorFlow graph ({error}). Fetch or export the source again."
            ) from error
    return imported
