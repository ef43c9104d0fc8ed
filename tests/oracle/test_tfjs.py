"""The converted models compared with TensorFlow.js and its own detectors: equal people, positions and scores."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.conversion.convert import convert
from models.conversion.spec import ConvertSpec
from models.inference.pipeline import DECODERS
from models.inference.runtime import OpenVinoRuntime
from models.types import FramePoses
from tests.oks import reference_images

pytestmark = [pytest.mark.slow, pytest.mark.real_data]

HERE = Path(__file__).parent
PX, SCORE = 0.5, 1e-3
_INSTALL_S = 240


@pytest.fixture(scope="module")
def modules() -> Path:
    """Install the packages of the lock once into a cache folder by its hash. Skips if that fails."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("Node and npm are absent, and TensorFlow.js's detectors run there only")
    lock = (HERE / "package-lock.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nightjar-tests"
    folder = cache / f"tfjs-{hashlib.sha256(lock).hexdigest()[:16]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            _install(folder)
    return folder / "node_modules"


def _install(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(HERE / name, folder / name)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_S)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm ci took more than {_INSTALL_S} s: is there a network?")
    if done.returncode:
        pytest.skip(f"npm ci cannot install TensorFlow.js here: {done.stderr.strip()[-300:]}")
    (folder / "done").touch()


@pytest.fixture(scope="module")
def pictures(data: Path) -> list[NDArray[np.uint8]]:
    """Two unmodified photographs of people."""
    return [image.read() for image in reference_images(data)[:2]]


Request = dict[str, Any]


def theirs(modules: Path, tmp_path: Path, request: Request, tensors: list[NDArray[np.uint8]]) -> list[Any]:
    """People of each tensor by TensorFlow.js, in pixels of the tensor."""
    listed = []
    for number, tensor in enumerate(tensors):
        file = tmp_path / f"{number}.rgb"
        file.write_bytes(tensor.tobytes())
        listed.append({"file": str(file), "height": tensor.shape[0], "width": tensor.shape[1]})
    (tmp_path / "request.json").write_text(json.dumps({**request, "pictures": listed}))
    command = ["node", str(HERE / "poses.mjs"), str(modules), str(tmp_path / "request.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    return list(json.loads(done.stdout.splitlines()[-1]))


def ours(folder: Path, source: Path, size: str, tensors: list[NDArray[np.uint8]], **params: Any) -> list[FramePoses]:
    """People of each tensor by the converted model, in pixels of the tensor."""
    manifest = convert(source, ConvertSpec("oracle", size=size, precision="FP32"), folder)
    assert all(tensor.shape[:2] == (manifest.input.height, manifest.input.width) for tensor in tensors)
    runtime = OpenVinoRuntime(folder, manifest)
    decode = DECODERS[manifest.decoder]({**manifest.decode_params, **params})
    found: list[FramePoses] = []
    for tensor in tensors:
        runtime.start(0, tensor[None])
        (seen,) = decode([runtime.wait(0)])
        assert isinstance(seen, FramePoses)
        found.append(FramePoses(*(values.copy() for values in seen)))
    return found


def assert_same(mine: list[FramePoses], oracle: list[Any], *, person_scores: bool = True) -> None:
    assert sum(len(people) for people in oracle) > 0
    for poses, people in zip(mine, oracle, strict=True):
        people = sorted(people, key=lambda person: -person["score"])
        assert len(poses.scores) == len(people)
        for index, person in enumerate(people):
            expected = np.array(person["keypoints"])
            assert abs(poses.keypoints[index] - expected[:, :2]).max() < PX
            assert abs(poses.keypoint_scores[index] - expected[:, 2]).max() < SCORE
            assert not person_scores or abs(poses.scores[index] - person["score"]) < SCORE


@pytest.mark.parametrize(("name", "size"), [("multipose", 256), ("lightning", 192), ("thunder", 256)])
def test_movenet(
    modules: Path, data: Path, pictures: list[NDArray[np.uint8]], tmp_path: Path, name: str, size: int
) -> None:
    """Their score of a person is the mean over keypoints above the threshold, so it is not compared."""
    tensors = [np.ascontiguousarray(cv2.resize(picture, (size, size)), np.uint8) for picture in pictures]
    folder, multi = data / "movenet" / name, name == "multipose"
    request = {
        "kind": "multi" if multi else "single",
        "model": str(folder / f"movenet-{name}.json"),
        "weights": [str(folder / f"movenet-{name}.bin")],
    }
    low = {"keypoint_score_threshold": 0.0, "pose_score_threshold": 0.1 if multi else 0.01}
    mine = ours(tmp_path / "ir", folder, str(size) if multi else "", tensors, **low)
    assert_same(mine, theirs(modules, tmp_path, request, tensors), person_scores=multi)


def test_posenets_decoder(modules: Path, data: Path, pictures: list[NDArray[np.uint8]], tmp_path: Path) -> None:
    size = 257
    tensors = [np.ascontiguousarray(cv2.resize(picture, (size, size)), np.uint8) for picture in pictures]
    folder = data / "posenet/tfjs_graph_uint16_050"
    request = {
        "kind": "posenet",
        "model": str(folder / "model-stride16.json"),
        "weights": [str(file) for file in sorted(folder.glob("*.bin"))],
    }
    low = {"keypoint_score_threshold": 0.0, "pose_score_threshold": 0.0}
    assert_same(ours(tmp_path / "ir", folder, str(size), tensors, **low), theirs(modules, tmp_path, request, tensors))
