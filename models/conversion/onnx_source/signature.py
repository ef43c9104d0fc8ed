"""Detection of ONNX files by the outermost fields of their protobuf message. Loads no library."""

from collections.abc import Iterator

# onnx.proto, ModelProto: of a GraphDef and a SavedModel, neither field exists.
_GRAPH, _OPERATOR_SETS = 7, 8
_WHOLE, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5  # wire types


def is_onnx(content: bytes) -> bool:
    """Return whether the content is a complete message with a graph and the operator sets that it uses."""
    try:
        fields = set(_fields(content))
    except (IndexError, ValueError):
        return False
    return {(_GRAPH, _BYTES), (_OPERATOR_SETS, _BYTES)} <= fields


def _fields(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield number and wire type of each outermost field. Raises ValueError or IndexError where one is not whole."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        number, wire = key >> 3, key & 7
        if wire == _WHOLE:
            _, at = _varint(content, at)
        elif wire == _BYTES:
            length, at = _varint(content, at)
            at += length
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            at += 8 if wire == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"A field has the wire type {wire}. Fetch the file again.")
        if at > len(content):
            raise ValueError("A field ends behind the file. Fetch the file again.")
        yield number, wire


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return a number and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("A number has more than ten bytes. Fetch the file again.")
