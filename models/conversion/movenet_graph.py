"""Heavy: MoveNet's TensorFlow graphs: how they are recognised, and an input of whole numbers made one of floats.

Not here: reading files (tfjs.py), decoding people (models/decoders/movenet.py).
"""

from models.conversion.graph import to_graph
from models.decoders.movenet import MULTI_SHAPE, SINGLE_SHAPE
from models.errors import ConversionError
from models.heavy.tensorflow import GraphDef, tf

MULTIPOSE_STRIDE = 32  # pixels; its sides are multiples of it

_INTEGERS = {tf.int32.as_datatype_enum, tf.uint8.as_datatype_enum}
_FLOAT = tf.float32.as_datatype_enum
_TYPES = ("SrcT", "T")  # attributes that name the type of what an operation reads


def with_float_input(graph: GraphDef) -> tuple[GraphDef, bool]:
    """Make an input of whole numbers one of floats, and return whether it was one. Pixels, 0 to 255, stay exact.

    Raises ConversionError where the graph computes with the whole numbers before it makes floats of them.
    """
    given = [n.name for n in graph.node if n.op == "Placeholder" and n.attr["dtype"].type in _INTEGERS]
    if not given:
        return graph, False
    ready = GraphDef()
    ready.CopyFrom(graph)
    for node in ready.node:
        if node.name in given:
            node.attr["dtype"].type = _FLOAT
        elif any(tensor.partition(":")[0] in given for tensor in node.input):
            if node.op not in ("Cast", "Shape", "Identity"):
                raise ConversionError(
                    f"The input is of whole numbers, and {node.op} {node.name!r} computes with them. Export the model "
                    "with an input of floats, or with a Cast to float32 after the input."
                )
            for attribute in _TYPES:
                if attribute in node.attr:
                    node.attr[attribute].type = _FLOAT
            given += [node.name] if node.op == "Identity" else []
    return ready, True


def movenet_output(graph: GraphDef, tensors: list[str]) -> str | None:
    """Return the output if it has the shape of MoveNet's, for one person or for six; None for any other model."""
    if len(tensors) != 1:
        return None
    plain = GraphDef()
    plain.CopyFrom(graph)
    for node in plain.node:
        node.attr.pop("_output_shapes", None)
    shape = to_graph(plain).get_tensor_by_name(tensors[0]).shape
    known = shape.rank is not None and tuple(shape.as_list()) in (SINGLE_SHAPE, MULTI_SHAPE)
    return tensors[0] if known else None
