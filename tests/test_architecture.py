"""Who may import whom, and what is imported when: the shape that DESIGN.md draws."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("models", "storage", "tasks", "flows", "deployments")
# At least so many are there: a test that finds fewer looks in the wrong place.
MODULES = {"models": 70, "storage": 45, "tasks": 50, "flows": 8, "deployments": 12}
PACKAGES = {"models": 11, "storage": 6, "tasks": 11, "flows": 1, "deployments": 1}
HEAVY = {"tensorflow", "tensorflowjs", "tf_keras", "keras", "openvino"}


def modules(folder: str) -> list[str]:
    paths = (ROOT / folder).rglob("*.py")
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths if path.stem != "__init__"]
    return sorted(name for name in names if not name.startswith("storage.migrations."))


def loaded_after(statement: str) -> set[str]:
    """Top-level names that a fresh interpreter has loaded after the statement."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_package_file_is_a_docstring_and_imports_nothing(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("__init__.py"))
    assert len(files) >= PACKAGES[folder]
    for file in files:
        body = ast.parse(file.read_text()).body
        assert len(body) == 1, file
        assert (ast.get_docstring(ast.parse(file.read_text())) or "").startswith("Put "), file


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_folder_holds_more_than_15_modules(folder: str) -> None:
    assert len(modules(folder)) >= MODULES[folder]
    for package in [ROOT / folder, *(path for path in (ROOT / folder).rglob("*") if path.is_dir())]:
        found = [path.name for path in package.glob("*.py") if path.stem != "__init__"]
        assert len(found) <= 15, (package, found)


def test_storage_loads_neither_models_nor_openvino_nor_prefect() -> None:
    names = loaded_after(f"import {', '.join(modules('storage'))}")
    assert not names & (HEAVY | {"prefect"})


def test_the_flow_of_the_night_loads_no_tensorflow() -> None:
    names = loaded_after("import flows.nightly_batch")
    assert "prefect" in names
    assert not names & (HEAVY - {"openvino"})


def test_tensorflowjs_is_loaded_by_those_who_need_it_only_and_quietly() -> None:
    """Its companions take longer to load than a small model to convert."""
    companions = {"tensorflowjs", "tensorflow_decision_forests", "tensorflow_hub"}
    users = "models.conversion.convert, models.demo_model.write_tfjs, models.car_classifier.train"
    code = (
        f"import sys, {users}\nprint(sorted({companions} & sys.modules.keys()))\n"
        f"import models.heavy.tensorflowjs\nprint(sorted({companions} - sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("[]\n[]\n", "")


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
    # models/heavy/tensorflow.py writes TensorFlow's log level, which can be set in no other way.
    assert set(readers) <= {"tasks/site/settings.py", "models/heavy/tensorflow.py"}
