"""Who may import whom, and what is imported when: the shape that DESIGN.md draws."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("models", "storage", "tasks", "flows", "deployments")
HEAVY = {"tensorflow", "tensorflowjs", "tf_keras", "keras", "openvino"}


def modules(folder: str) -> list[str]:
    paths = (ROOT / folder).glob("*.py")
    return sorted(f"{folder}.{path.stem}" for path in paths if path.stem != "__init__")


def loaded_after(statement: str) -> set[str]:
    """Top-level names that a fresh interpreter has loaded after the statement."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_import_contracts_hold() -> None:
    done = subprocess.run([Path(sys.executable).with_name("lint-imports")], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("folder", FOLDERS)
def test_package_files_are_empty(folder: str) -> None:
    assert (ROOT / folder / "__init__.py").read_text() == ""


def test_storage_loads_neither_models_nor_openvino_nor_prefect() -> None:
    names = loaded_after(f"import {', '.join(modules('storage'))}")
    assert not names & (HEAVY | {"prefect"})


def test_the_flow_of_the_night_loads_no_tensorflow() -> None:
    names = loaded_after("import flows.nightly_batch")
    assert "prefect" in names
    assert not names & (HEAVY - {"openvino"})


def test_only_settings_reads_the_environment() -> None:
    readers = [
        path.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if any(
            isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
            for node in ast.walk(ast.parse(path.read_text()))
        )
    ]
    # models/quiet_tf.py writes TensorFlow's log level, which can be set in no other way.
    assert set(readers) <= {"tasks/settings.py", "models/quiet_tf.py"}
