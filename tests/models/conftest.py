"""Conversions that several tests of models/ share, each done once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.manifest import XML_FILE, Manifest


@dataclass(frozen=True)
class Converted:
    """A converted model: its folder and manifest."""

    folder: Path
    manifest: Manifest

    @cached_property
    def _request(self) -> Any:
        from models.heavy.openvino import ov

        xml = str(self.folder / XML_FILE)
        return ov.Core().compile_model(xml, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()

    def infer(self, tensor: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        self._request.infer([tensor])
        return {name: self._request.get_tensor(name).data.copy() for name in self.manifest.outputs}


Convert = Callable[..., Converted]


@pytest.fixture(scope="session")
def convert_once(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Convert:
    """convert_once(path in the data folder, size=None, precision="FP16"): compared with TensorFlow on COCO's images."""
    from models.conversion.convert import convert
    from models.conversion.spec import ConvertSpec
    from models.inference.scaling import ScalingRequest

    @cache
    def once(source: str, size: int | None = None, precision: str = "FP16") -> Converted:
        out = tmp_path_factory.mktemp("converted") / "model"
        scaling = ScalingRequest("-1..1")  # as MobileNet and PoseNet were trained
        spec = ConvertSpec("test", size=size, precision=precision, scaling=scaling, images=data / "coco_mini/train2017")  # type: ignore[arg-type]
        return Converted(out, convert(data / source, spec, out))

    return once


@pytest.fixture(scope="session")
def picture(data: Path) -> NDArray[np.uint8]:
    """A photograph of a person, (224, 224, 3) uint8 RGB."""
    import cv2

    pixels = cv2.imread(str(data / "coco_mini/train2017/000000030752.jpg"))
    return np.ascontiguousarray(cv2.resize(pixels, (224, 224))[..., ::-1])


@pytest.fixture(scope="session")
def tensor(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The photograph as MobileNet's input, (1, 224, 224, 3)."""
    return (picture / 127.5 - 1).astype(np.float32)[None]


@pytest.fixture(scope="session")
def noise() -> NDArray[np.float32]:
    """(1, 32, 32, 3), -1 to 1."""
    return np.random.default_rng(2).uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
