"""Heavy: writes an OpenVINO model so that equal operations and weights are equal bytes, hence one model version."""

from pathlib import Path
from typing import Any

from models.manifest import BIN_FILE, XML_FILE, file_sha256
from models.quiet_openvino import ov


def name_plainly(model: Any) -> None:
    """Its operations' names tell nothing of where they came from: OpenVINO's and NNCF's own hold a count that runs on
    through the process's life, and would give every conversion another hash."""
    for place, operation in enumerate(model.get_ordered_ops()):
        if operation.get_type_name() not in ("Parameter", "Result"):
            operation.set_friendly_name(f"{operation.get_type_name()}_{place}")


def save_ir(model: Any, folder: Path, *, fp16: bool) -> None:
    """model.xml and model.bin. fp16: floats are rounded to it."""
    xml = folder / XML_FILE
    ov.save_model(model, str(xml), compress_to_fp16=fp16)
    # The last block names the tools' builds: the same operations and weights must stay the same model version.
    network, block, _ = xml.read_text(encoding="utf-8").rpartition("\t<rt_info>\n")
    if block:
        xml.write_text(f"{network}</net>\n", encoding="utf-8")


def ir_sha256(folder: Path) -> dict[str, str]:
    return {name: file_sha256(folder / name) for name in (XML_FILE, BIN_FILE)}
