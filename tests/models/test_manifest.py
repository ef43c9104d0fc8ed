"""A model's manifest distinguishes versions, and is refused if its files cannot be verified."""

import json
from dataclasses import replace

import pytest

from models.manifest import InputSpec, Manifest, Parity, Source, Stick
from models.types import NightjarError

MANIFEST = Manifest(
    name="tiny",
    task="pose",
    source=Source("openvino-ir", "here", "0" * 64, {}),
    tools={},
    precision="FP16",
    input=InputSpec("image", (1, 224, 224, 3)),
    outputs={"heatmap": (1, 14, 14, 17)},
    decoder="posenet",
    decode_params={},
    ir_sha256={"model.xml": "a" * 64, "model.bin": "b" * 64},
    parity=Parity("none", 0, {}, {}, {}),
    stick=Stick(True, "", 8),
)


def test_models_with_equal_weights_have_different_hashes() -> None:
    """posenet-075 at 224 and at 513: the same model.bin, another model.xml."""
    larger = replace(MANIFEST, ir_sha256={"model.xml": "c" * 64, "model.bin": "b" * 64})
    assert larger.ir_digest != MANIFEST.ir_digest
    assert replace(MANIFEST, ir_sha256=dict(reversed(MANIFEST.ir_sha256.items()))).ir_digest == MANIFEST.ir_digest
    assert replace(MANIFEST, frames_per_second=2.0).ir_digest == MANIFEST.ir_digest, "the same IR"


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"model.bin": "b" * 64},
        {"model.xml": "a" * 64, "model.bin": ""},
        {"model.xml": "a" * 64, "model.bin": "b" * 64, "../../etc/passwd": "c" * 64},
    ],
)
def test_a_manifest_that_leaves_a_file_unverified_is_refused(files: dict[str, str]) -> None:
    raw = json.loads(MANIFEST.to_json())
    assert Manifest.from_json(json.dumps(raw)) == MANIFEST
    with pytest.raises(NightjarError, match="not a model manifest"):
        Manifest.from_json(json.dumps(raw | {"ir_sha256": files}))
