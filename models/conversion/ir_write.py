"""Heavy: writes an OpenVINO model so that equal operations and weights are equal bytes, hence one model version."""

import os
from pathlib import Path
from typing import Any

from models.heavy.openvino import ov
from models.manifest import BIN_FILE, XML_FILE, file_sha256

XML_BYTES = 1 << 20  # room for the network beside its weights


def name_plainly(model: Any) -> None:
    """Its operations' names tell nothing of where they came from: OpenVINO's and NNCF's own hold a count that runs on
    through the process's life, and would give every conversion another hash."""
    for place, operation in enumerate(model.get_ordered_ops()):
        if operation.get_type_name() not in ("Parameter", "Result"):
            operation.set_friendly_name(f"{operation.get_type_name()}_{place}")


def save_ir(model: Any, folder: Path, *, fp16: bool) -> None:
    """Write model.xml and model.bin. fp16: floats are rounded to it. Raises OSError where the disk is full."""
    xml = folder / XML_FILE
    try:
        ov.save_model(model, str(xml), compress_to_fp16=fp16)
    except RuntimeError as error:  # OpenVINO's own, an "iostream error", does not tell why
        _refuse_full(folder, model, error)
        raise
    # The last block names the tools' builds: the same operations and weights must stay the same model version.
    network, block, _ = xml.read_text(encoding="utf-8").rpartition("\t<rt_info>\n")
    if block:
        xml.write_text(f"{network}</net>\n", encoding="utf-8")


def _refuse_full(folder: Path, model: Any, cause: Exception) -> None:
    """Raise OSError where the disk has no room for the weights. What OpenVINO could write of them, it has removed."""
    constants = (operation for operation in model.get_ops() if operation.get_type_name() == "Constant")
    size_bytes = sum(constant.get_byte_size() for constant in constants) // 2 + XML_BYTES  # at the least, as FP16
    try:
        with (folder / "room").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(size_bytes, 1))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from cause
    finally:
        (folder / "room").unlink(missing_ok=True)


def ir_sha256(folder: Path) -> dict[str, str]:
    return {name: file_sha256(folder / name) for name in (XML_FILE, BIN_FILE)}
