"""Imports, installation and results of an edge worker, also on Python 3.10 with OpenVINO 2022.3."""

import configparser
import fcntl
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.synthetic.video import Actor, Scene
from storage.parquet import Result, decode_result
from tests.conftest import ROOT
from tests.models.conversion.test_ir_xml import find_python
from tests.videos import make_video

# Modules that may be loaded on a Pi, and those that must not be.
ROOTS = ("flows.infer_assignment", "deployments.worker", "tasks.fleet.worker")
DATABASE = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "storage").rglob("*.py")
    if re.search(r"^\s*(import|from) (sqlalchemy|alembic|psycopg)", path.read_text(), re.MULTILINE)
}
HEAVY = {"tensorflow", "tensorflowjs", "keras", "tf_keras"}
LOCKS = [ROOT / f"deployments/locks/edge-{kind}.lock" for kind in ("cpu", "stick")]
EDGE_PARTS = ("install-edge.sh", "locks/edge-stick.lock", "locks/stick.lock")
# Outlives a checkout: CI may keep it.
CACHE = Path(os.environ.get("NIGHTJAR_TEST_CACHE", "~/.cache/nightjar-tests")).expanduser()
DEMO = ROOT / "models/data/posenet-demo"

INFER = """
import sys
from pathlib import Path
from models.inference.devices import open_runtime
from models.inference.spec import RuntimeSpec
from models.manifest import MANIFEST_FILE, Manifest, verify_ir
from models.types import Segment
from storage.parquet import encode_result
from storage.sandbox.parent import Sandbox
from tasks.segment.infer import InferenceSetup, infer_segment
from tasks.segment.open_video import LocalVideo, probe
from tasks.site.settings import ReadLimits

def main(folder, path, out, device):
    manifest = Manifest.from_json((folder / MANIFEST_FILE).read_text())
    verify_ir(folder, manifest)
    runtime = open_runtime(folder, manifest, RuntimeSpec(device))
    with Sandbox() as sandbox:
        video, index = probe(sandbox, path, ReadLimits(60, 600.0))
        segment = Segment(video.sha256, 0, video.frames)
        setup = InferenceSetup(manifest, runtime, sandbox, "edge", 60)
        result = infer_segment(LocalVideo(path, video, index), segment, setup, lambda frames: None)
    out.write_bytes(encode_result(result))

main(*map(Path, sys.argv[1:4]), sys.argv[4])
"""
IMPORTED = "import json, sys, {}; print(json.dumps(sorted(sys.modules)))"


def run(python: Path | str, code: str, *arguments: object, **environment: str) -> str:
    command = [python, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def loaded_by(python: Path | str, home: Path) -> set[str]:
    out = run(python, IMPORTED.format(", ".join(ROOTS)), PREFECT_HOME=str(home), NIGHTJAR_HOME=str(home))
    return set(json.loads(out.splitlines()[-1]))


def test_edge_workers_import_no_database_and_no_tensorflow(tmp_path: Path) -> None:
    """Prefect imports SQLAlchemy for its own server, so only our own modules are checked."""
    modules = loaded_by(sys.executable, tmp_path)
    assert set(ROOTS) < modules
    known = {"storage.sql.database", "storage.sql.schema.ledger", "storage.ledger.leases", "storage.ledger.commit"}
    assert known <= DATABASE
    assert len(DATABASE) >= 15
    assert not DATABASE & modules
    assert not {name for name in modules if name.startswith(("storage.sql", "storage.ledger", "storage.migrations"))}
    assert not HEAVY & {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_a_lock_is_complete_and_contains_no_address(lock: Path) -> None:
    text = lock.read_text()
    entries = text.replace("\\\n", " ").splitlines()
    names = {entry.partition("==")[0] for entry in entries}
    assert all(re.match(r"[a-z0-9-]+==\S+ .*--hash=sha256:", entry) for entry in entries)
    assert {"prefect", "numpy", "boto3", "pyarrow", "av", "opencv-python-headless", "psutil"} <= names
    assert not names & {"tensorflow", "tensorflowjs", "keras", "tf-keras", "psycopg", "psycopg-binary"}
    assert ("openvino" in names) == ("cpu" in lock.stem)
    assert "://" not in text


def test_lint_checks_modules_of_the_edge_as_python_3_10() -> None:
    """Every name used from the standard library exists in 3.10: `make lint` runs the type checker."""
    makefile = (ROOT / "Makefile").read_text()
    assert "mypy --python-version 3.10 --cache-dir .mypy_cache/310 $(EDGE_MODULES)" in makefile
    checked = makefile.partition("\nEDGE_MODULES := ")[2].partition("\n")[0].split()
    assert {f"{root.replace('.', '/')}.py" for root in ROOTS} < set(checked)


def test_the_unit_starts_an_existing_command() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "deployments/systemd/nightjar-edge@.service")
    command = unit["Service"]["ExecStart"].split()
    shown = subprocess.run(
        [sys.executable, "-m", "deployments.cli", command[1], "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert shown.returncode == 0
    options = [word for word in command[2:] if word.startswith("--")]
    assert options
    assert all(option in shown.stdout for option in options)


@pytest.fixture(scope="session")
def edge_python() -> Path:
    """A stick worker's Python, installed by the install script, with pip's OpenVINO 2022.3.2 instead of Intel's.

    Installed once per content of the locks and per checkout, whose path the environment contains.
    """
    interpreter = find_python("3.10")
    if interpreter is None:
        pytest.skip("no Python 3.10 runs here, as a worker with a stick needs it")
    parts = [ROOT / "deployments" / name for name in EDGE_PARTS]
    wanted = hashlib.sha256(b"".join(part.read_bytes() for part in parts) + f"{interpreter} {ROOT}".encode())
    folder = CACHE / f"edge-stick-{wanted.hexdigest()[:16]}"
    python, done = folder / "bin/python", folder / "installed"
    CACHE.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process of this suite may be installing it
        if not done.is_file():
            quick = {**os.environ, "UV_COMPILE_BYTECODE": "0"}
            subprocess.run([parts[0], "stick", interpreter, folder], check=True, env=quick)
            openvino: list[str | Path] = [
                "--quiet",
                "--python",
                python,
                "--require-hashes",
                "--no-deps",
                "-r",
                parts[2],
            ]
            subprocess.run([folder / "bin/uv", "pip", "install", *openvino], check=True)
            done.touch()
    return python


@pytest.mark.slow
def test_the_command_of_a_stick_worker_answers_on_python_3_10(edge_python: Path, tmp_path: Path) -> None:
    """From another folder: the path to Nightjar comes from the environment, not from the current folder."""
    command = [edge_python.with_name("nightjar"), "worker", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "--device" in shown.stdout
    assert not DATABASE & loaded_by(edge_python, tmp_path)
    subprocess.run(
        [edge_python.with_name("uv"), "pip", "check", "--python", edge_python], check=True, capture_output=True
    )


@pytest.mark.slow
def test_doctor_finds_nothing_missing_on_a_stick_worker(edge_python: Path, tmp_path: Path) -> None:
    command = [edge_python.with_name("nightjar"), "doctor"]
    environment = {**os.environ, "NIGHTJAR_HOME": str(tmp_path)}
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert (found.returncode, " wrong " in found.stdout, "2022.3" in found.stdout) == (0, False, True), found.stdout


@pytest.fixture(scope="module")
def demo_ir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """posenet-demo in FP16, as a stick requires."""
    from models.conversion.convert import convert
    from models.conversion.spec import ConvertSpec

    out = tmp_path_factory.mktemp("edge") / "ir"
    convert(DEMO / "model.json", ConvertSpec("posenet-demo", device_target="MYRIAD"), out)
    return out


@pytest.fixture(scope="module")
def people_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 frames with two people: one waves, one stands."""
    scene = Scene(101, (Actor("wave", x_m=-0.7, z_m=3.4), Actor("stand", x_m=0.9, z_m=4.0, heading_deg=-15)))
    pictures = [scene.frame(number / 12)[0] for number in range(36)]
    return make_video(tmp_path_factory.mktemp("edge") / "people.mp4", pictures=pictures, fps=12)


@pytest.fixture(scope="module")
def today(demo_ir: Path, people_video: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The segment by the current OpenVINO on the CPU."""
    out = tmp_path_factory.mktemp("edge") / "today.parquet"
    run(sys.executable, INFER, demo_ir, people_video, out, "CPU")
    return decode_result((out).read_bytes(), "result")


@pytest.fixture(params=["CPU", "SIMULATED:ms=2,id=py310"])
def then(
    request: pytest.FixtureRequest, edge_python: Path, demo_ir: Path, people_video: Path, tmp_path: Path
) -> tuple[str, Result]:
    """The same segment by OpenVINO 2022.3 and the libraries of a stick's worker."""
    run(edge_python, INFER, demo_ir, people_video, tmp_path / "then.parquet", request.param)
    return request.param, decode_result((tmp_path / "then.parquet").read_bytes(), "result")


@pytest.mark.slow
def test_the_stick_workers_software_gives_the_same_segment(today: Result, then: tuple[str, Result]) -> None:
    """Other versions of OpenCV, PyAV, numpy, pyarrow and OpenVINO: the same people, keypoints within 0.005 pixels."""
    device, found = then
    assert found.report.device.startswith(device)
    assert (found.video, found.version_sha256) == (today.video, today.version_sha256)
    assert found.report.frames_done == today.report.frames_done == 36
    assert len(today.rows) >= 36
    np.testing.assert_array_equal(found.rows.frame, today.rows.frame)
    np.testing.assert_array_equal(found.rows.person, today.rows.person)
    np.testing.assert_allclose(found.rows.t_s, today.rows.t_s, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.rows.keypoints, today.rows.keypoints, rtol=0, atol=0.005)
    np.testing.assert_allclose(found.rows.scores, today.rows.scores, rtol=0, atol=1e-5)


def test_a_simulated_stick_gives_exactly_the_cpus_rows(
    today: Result, demo_ir: Path, people_video: Path, tmp_path: Path
) -> None:
    """With a real network, whose sums depend on the order of summation."""
    run(sys.executable, INFER, demo_ir, people_video, tmp_path / "simulated.parquet", "SIMULATED:ms=2,id=today")
    found = decode_result((tmp_path / "simulated.parquet").read_bytes(), "result")
    np.testing.assert_array_equal(found.rows.keypoints, today.rows.keypoints)
    np.testing.assert_array_equal(found.rows.keypoint_scores, today.rows.keypoint_scores)
