"""A conversion in its own process: the same model, the same refusals, and one clear error if it dies."""

import sys
from pathlib import Path

import pytest

from models.conversion.spec import ConvertSpec
from models.errors import ConversionError
from models.manifest import BIN_FILE, verify_ir
from models.spec import build
from tasks.model import confined_conversion
from tasks.model.confined_conversion import convert_confined
from tasks.model.convert import SHIPPED


def test_the_model_is_the_same_without_tensorflow_in_this_process(tmp_path: Path) -> None:
    before = "tensorflow" in sys.modules
    spec = ConvertSpec("p", size=65)
    manifest = convert_confined(SHIPPED / "model.json", spec, tmp_path / "ir", "here")
    verify_ir(tmp_path / "ir", manifest)
    assert build(ConvertSpec, manifest.parameters) == spec, "the manifest says how to repeat the conversion"
    assert (manifest.source.location, manifest.input_basis) == ("here", "as PoseNet was published")
    assert ("tensorflow" in sys.modules) == before
    assert [path.name for path in tmp_path.iterdir()] == ["ir"]


@pytest.mark.usefixtures("forked_sandboxes")
def test_refusals_are_those_of_the_converter(tmp_path: Path) -> None:
    (tmp_path / "model.pb").write_bytes(b"no model")
    with pytest.raises(ConversionError, match=r"^model\.pb \(8 bytes\) starts with"):
        convert_confined(tmp_path / "model.pb", ConvertSpec("p"), tmp_path / "out" / "ir", "here")


def test_a_child_that_exceeds_its_limits_gives_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confined_conversion, "MEMORY_BYTES", 256 << 20)
    with pytest.raises(ConversionError, match=r"The conversion (took more than 0\.25 GB|failed|.*crashed)"):
        convert_confined(SHIPPED / "model.json", ConvertSpec("p", size=65), tmp_path / "ir", "here")
    assert not (tmp_path / "ir" / BIN_FILE).exists()
