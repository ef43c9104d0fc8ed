"""Plain English and unambiguous names over the repository's own text."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.syntax_trees import syntax_tree

ROOT = Path(__file__).parents[1]
PRODUCT = ("deployments", "flows", "tasks", "models", "storage")
# Packages in which every error is a sentence, followed by a remedy: all of the product.
SENTENCES = PRODUCT
# Never shown to a user: they end a loop or a thread, or are caught and reworded.
INTERNAL = {
    "TypeError",
    "AssertionError",
    "KeyError",
    "IndexError",
    "WireError",
    "ResponseParserError",
    "OSError",
    "ProgrammingError",
    # Reasons in the middle of a sentence, for the column no_clock.
    "NoTimeError",
    "MismatchError",
    "ImpossibleTimeError",
}
CLAUSE = re.compile(r"(What|Who|Whom|Whose|Which|How|Whether|Where)\b")
BANNED = re.compile(
    r"\ba (row|line|frame|person|device|keypoint) a (row|line|frame|person|device|video|batch|night|keypoint)\b"
    r"|\bis told (how|that|what|when)\b|\bwho is there tonight\b|\bthose that are there\b"
    r"|\bwho (dies|infers|comes late)\b|\bhangs? on\b|\bgo(es)? on where\b|\bnought\b"
    r"|\bto be seen\b|\bwhat it sees\b|\bat their word\b|\bgives how many\b|\bhow many there are\b|\bas told\b"
    r"|\bdo not trust (this|it)\b|\bone a (second|frame|segment|slot|line|label|value)\b|\bwhat is found\b"
    r"|\bof before\b|\bthere and back\b|\bfor ever\b|\bby the clock\b|\bhalf-way\b|\bin silence\b|\bheld against\b"
    r"|\bwithout a word\b|\bfor want of\b|\b(is|are|was) away\b|\bso many (frames|seconds|rows|segments)\b"
    r"|\b(is|are|was) said\b|\b(is|are|was) told\b|\ball that there is\b|\bone's own\b|\bsaid anew\b",
    re.IGNORECASE,
)


def sources(*folders: str) -> list[Path]:
    """Return the Python files of these folders, and fail if a folder holds none."""
    found = [sorted((ROOT / folder).rglob("*.py")) for folder in folders]
    assert all(found), "a folder has no modules: the test would check nothing"
    return [path for files in found for path in files]


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line number and first line of each docstring of a module."""
    for node in ast.walk(syntax_tree(path)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text.splitlines()[0]


def test_no_docstring_opens_with_a_clause() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {first}"
        for path in sources(*PRODUCT, "tests")
        for line, first in docstrings(path)
        if CLAUSE.match(first)
    ]
    assert not found, "Open these docstrings with a noun phrase or an imperative:\n" + "\n".join(found)


def test_no_test_is_named_by_a_clause() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}"
        for path in sources("tests")
        for node in ast.walk(syntax_tree(path))
        if isinstance(node, ast.FunctionDef) and CLAUSE.match(node.name.removeprefix("test_").replace("_", " ").title())
        if node.name.startswith("test_")
    ]
    assert not found, "Name these tests by what holds, beginning with a noun:\n" + "\n".join(found)


def test_no_banned_phrase() -> None:
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in [*sources(*PRODUCT, "tests"), *documents]
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if BANNED.search(line)
    ]
    assert not found, "Write these lines in plain English:\n" + "\n".join(found)


def errors(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line number and text of each error that a module raises with a literal text.

    A value in an f-string is `{}`.
    """
    for node in ast.walk(syntax_tree(path)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            name = getattr(node.exc.func, "id", getattr(node.exc.func, "attr", ""))
            if name not in INTERNAL and name[:1].isupper():
                yield from ((node.lineno, text) for text in map(literal, node.exc.args[:2]) if text)


def literal(node: ast.expr) -> str:
    """Return the text of a string or an f-string, empty for any other expression."""
    if isinstance(node, ast.JoinedStr):
        return "".join(literal(part) or "{}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def is_sentence(text: str) -> bool:
    """Return whether a text begins like a sentence, or with a name or value, and ends like one."""
    return bool(re.match(r"[A-Z{]|--|'nightjar |[a-z]+[A-Z_.]", text)) and text.endswith((".", "}"))


def test_errors_are_sentences() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in sources(*SENTENCES)
        for line, text in errors(path)
        if not is_sentence(text) or re.search(r"[,;:] expected ", text)
    ]
    assert not found, "Say what happened, then what repairs it:\n" + "\n".join(found)


def test_the_check_of_sentences_finds_other_texts() -> None:
    sentences = ("The disk is full. Free some space.", "{} is damaged. {}", "segment_s is {}. Give seconds above 0.")
    others = ("no model: expected one", "The disk is full", "nothing was found.")
    assert [is_sentence(text) for text in (*sentences, *others)] == [True] * 3 + [False] * 3


def test_one_name_one_class() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in sources(*PRODUCT):
        for node in syntax_tree(path).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(ROOT)))
    found = {name: where for name, where in places.items() if len(where) > 1}
    assert not found, f"Rename these classes so that one name is one thing: {found}"
