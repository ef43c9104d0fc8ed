"""Allowed imports, and the time of heavy ones: the structure of docs/architecture.md."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.syntax_trees import syntax_tree

ROOT = Path(__file__).parents[1]
FOLDERS = ("models", "storage", "tasks", "flows", "deployments")
# A test that finds fewer modules than this searches the wrong folder.
MODULES = {"models": 70, "storage": 45, "tasks": 50, "flows": 8, "deployments": 12}
PACKAGES = {"models": 11, "storage": 6, "tasks": 11, "flows": 1, "deployments": 1}
SQL_FOLDERS = ("storage/sql/", "storage/ledger/", "storage/migrations/")
# In capitals anywhere in a text, or in any case at its beginning.
CLAUSES = r"(SELECT\s.+\sFROM|INSERT\s+INTO|UPDATE\s.+\sSET|DELETE\s+FROM)\s"
STATEMENT = re.compile(rf"\b{CLAUSES}|^\s*(?i:{CLAUSES})", re.DOTALL)
HEAVY = {"tensorflow", "tensorflowjs", "tf_keras", "keras", "openvino"}


def modules(folder: str) -> list[str]:
    paths = (ROOT / folder).rglob("*.py")
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths if path.stem != "__init__"]
    return sorted(name for name in names if not name.startswith("storage.migrations."))


def loaded_after(statement: str) -> set[str]:
    """Top-level modules that a new interpreter has loaded after the statement."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_package_file_is_a_docstring_and_imports_nothing(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("__init__.py"))
    assert len(files) >= PACKAGES[folder]
    for file in files:
        body = syntax_tree(file).body
        assert len(body) == 1, file
        assert (ast.get_docstring(syntax_tree(file)) or "").startswith("Put "), file


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_folder_has_more_than_15_modules(folder: str) -> None:
    assert len(modules(folder)) >= MODULES[folder]
    for package in [ROOT / folder, *(path for path in (ROOT / folder).rglob("*") if path.is_dir())]:
        found = [path.name for path in package.glob("*.py") if path.stem != "__init__"]
        assert len(found) <= 15, (package, found)


def test_storage_loads_neither_models_nor_openvino_nor_prefect() -> None:
    names = loaded_after(f"import {', '.join(modules('storage'))}")
    assert not names & (HEAVY | {"prefect"})


def test_the_nightly_flow_loads_no_tensorflow() -> None:
    names = loaded_after("import flows.nightly_batch")
    assert "prefect" in names
    assert not names & (HEAVY - {"openvino"})


def test_tensorflow_and_tensorflowjs_are_loaded_quietly_and_without_their_companions() -> None:
    """The companions take longer to load than a small model to convert. Others can still load them."""
    companions = {
        *("tensorflowjs", "tensorflow_decision_forests", "tensorflow_hub"),
        *("jax", "matplotlib", "pandas", "scipy.stats", "sklearn"),
    }
    users = "models.conversion.convert, models.demo_model.write_tfjs, models.heavy.tensorflowjs"
    code = (
        f"import sys, {users}\nprint(sorted({companions} & sys.modules.keys()))\n"
        f"print({{'tensorflow', 'tf_keras', 'tensorflowjs.read_weights'}} <= sys.modules.keys())\n"
        "import matplotlib.colors, scipy.stats\nprint(sys.modules.get('tensorflowjs'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("[]\nTrue\nNone\n", "")


def test_only_settings_reads_the_environment() -> None:
    readers = [
        path.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if any(
            isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
            for node in ast.walk(syntax_tree(path))
        )
    ]
    # models/heavy/tensorflow.py sets TensorFlow's log level, which is possible in the environment only.
    assert set(readers) <= {"tasks/site/settings.py", "models/heavy/tensorflow.py"}


def parsed(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """The path of every module below the folders, and its syntax tree."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), syntax_tree(path)


def text_of(node: ast.AST) -> str:
    """The text of a string, an f-string or a sum of them, with a space for each computed value; otherwise empty."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or " x " for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (text_of(node.left) or " x ") + (text_of(node.right) or " x ")
    return ""


def statements_in(tree: ast.Module) -> list[str]:
    """SQL statements in the texts of a module. Docstrings may give examples: `--help` shows them."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    texts = [text_of(node) for node in ast.walk(tree) if id(node) not in docstrings]
    return [text for text in texts if STATEMENT.search(text)]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("x = 'SELECT a FROM b'", True),
        ('x = """\n SELECT a\n FROM b\n"""', True),
        ("x = 'SELECT ' + columns + f' FROM {table}'", True),
        ("run(f'delete from {table} where a = 1')", True),
        ("run('UPDATE a SET b = 1')", True),
        ("run('INSERT INTO a VALUES (1)')", True),
        ("def ask():\n    'Ask: SELECT a FROM b LIMIT 1'", False),
        ("x = 'Choose a model, or select one from the list'", False),
        ("x = 'nightjar sql \"SELECT …\"'", False),
    ],
)
def test_statements_are_found_in_code(code: str, found: bool) -> None:
    assert bool(statements_in(ast.parse(code))) == found


def test_sql_is_only_in_the_packages_for_sql() -> None:
    found = {path for path, tree in parsed(*FOLDERS) if statements_in(tree)}
    assert "storage/sql/listings.py" in found
    assert {path for path in found if not path.startswith(SQL_FOLDERS)} == set()


def test_upper_layers_only_pass_on_and_dispose_of_a_database() -> None:
    """The type does not hide methods of SQLAlchemy's engine, so this test checks their use."""
    used = {
        (path, node.attr)
        for path, tree in parsed("tasks", "flows", "deployments")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and re.search(r"\b_?engine$", ast.unparse(node.value))
    }
    assert used, "no module contains an Engine: adapt this test to its new name"
    assert {use for use in used if use[1] != "dispose"} == set()


def test_names_of_storage_are_imported_from_their_module() -> None:
    """An import through another module would hide SQLAlchemy, or boto3, from the contracts."""
    imported = {
        path.removesuffix(".py").replace("/", "."): {
            name.asname or name.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in node.names
        }
        for path, tree in parsed("storage")
    }
    passed_on = {
        (path, node.module, name.name)
        for path, tree in parsed("tasks", "flows", "deployments")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("storage.")
        for name in node.names
        if name.name in imported.get(node.module or "", ())
    }
    assert passed_on == set()
