"""Plain English and unambiguous names over the repository's own text."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRODUCT = ("deployments", "flows", "tasks", "models", "storage")
CLAUSE = re.compile(r"(What|Who|Whom|Whose|Which|How|Whether|Where)\b")
BANNED = re.compile(
    r"\ba (row|line|frame|person|device|keypoint) a (row|line|frame|person|device|video|batch|night|keypoint)\b"
    r"|\bis told (how|that|what|when)\b|\bwho is there tonight\b|\bthose that are there\b"
    r"|\bwho (dies|infers|comes late)\b|\bhangs? on\b|\bgo(es)? on where\b|\bnought\b",
    re.IGNORECASE,
)


def sources(*folders: str) -> list[Path]:
    """Return the Python files of these folders, and fail if a folder holds none."""
    found = [sorted((ROOT / folder).rglob("*.py")) for folder in folders]
    assert all(found), "a folder has no modules: the test would check nothing"
    return [path for files in found for path in files]


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line number and first line of each docstring of a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text.splitlines()[0]


TESTS = ("tests/deployments", "tests/flows", "tests/tasks")


def test_no_docstring_opens_with_a_clause() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {first}"
        for path in sources(*PRODUCT, *TESTS)
        for line, first in docstrings(path)
        if CLAUSE.match(first)
    ]
    assert not found, "Open these docstrings with a noun phrase or an imperative:\n" + "\n".join(found)


def test_no_banned_phrase() -> None:
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in [*sources(*PRODUCT), *documents]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if BANNED.search(line)
    ]
    assert not found, "Write these lines in plain English:\n" + "\n".join(found)


def test_one_name_one_class() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in sources(*PRODUCT):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(ROOT)))
    found = {name: where for name, where in places.items() if len(where) > 1}
    assert not found, f"Rename these classes so that one name is one thing: {found}"
