"""Arrays as bytes that are read back exactly or refused: the memory of a computation that goes on elsewhere.

The bytes are those of an .npz file without pickled objects. They count as hostile: nothing in them is executed, and no
header is parsed, as the only valid one is known.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Arrays = dict[str, NDArray[Any]]
Layout = Mapping[str, tuple[DTypeLike, tuple[int, ...]]]
"""Name of each array -> its type and the lengths of all axes but the first."""

MOST_BYTES = 1 << 30  # of all arrays of a checkpoint
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, struct.error, LookupError, ValueError)
_MAKER = "maker"


def write_arrays(maker: str, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the bytes of arrays. The same arrays have the same bytes.

    maker: identifies the code and the parameters that understand them
    """
    file = io.BytesIO()
    np.savez_compressed(file, **{_MAKER: np.frombuffer(maker.encode(), np.uint8)}, **arrays)
    return file.getvalue()


def read_arrays(data: bytes, maker: str, layout: Layout) -> Arrays:
    """Return the arrays of write_arrays.

    Raises ValueError for bytes that are damaged, that another maker wrote, or whose arrays are not those of the layout.
    """
    try:
        found = _read(data, {_MAKER: (np.uint8, ()), **layout})
    except _DAMAGE as error:
        raise ValueError(f"The checkpoint is damaged: {str(error).rstrip('.')}. Begin again without it.") from error
    if found.pop(_MAKER).tobytes() != maker.encode():
        raise ValueError("The checkpoint was made with other parameters or another version. Begin again without it.")
    return found


def _read(data: bytes, layout: Layout) -> Arrays:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename: info for info in archive.infolist()}
        if len(archive.infolist()) != len(layout) or members.keys() != {f"{name}.npy" for name in layout}:
            raise ValueError("It does not contain the expected arrays.")
        if sum(info.file_size for info in members.values()) > MOST_BYTES:
            raise ValueError(f"Its arrays have more than {MOST_BYTES:,} bytes.")
        if any(info.compress_type != zipfile.ZIP_DEFLATED for info in members.values()):
            raise ValueError("It is not compressed as expected.")
        return {name: _array(archive.read(f"{name}.npy"), *layout[name]) for name in layout}


def _array(file: bytes, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the array of an .npy file whose type and last axes are known."""
    start = len(_header(np.dtype(dtype), (0, *shape)))
    row_bytes = np.dtype(dtype).itemsize * int(np.prod(shape))
    rows, rest = divmod(len(file) - start, row_bytes)
    if rest or rows < 0 or file[:start] != _header(np.dtype(dtype), (rows, *shape)):
        raise ValueError("An array has another type or shape.")
    return np.frombuffer(file, dtype, offset=start).reshape(rows, *shape).copy()


def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return the bytes in front of an array's values. Their number does not depend on the number of rows."""
    file = io.BytesIO()
    described = {"descr": dtype.str if dtype.names is None else dtype.descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)  # type: ignore[no-untyped-call]
    return file.getvalue()
