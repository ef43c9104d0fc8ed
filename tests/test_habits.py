"""Habits that contributors rely on: hooks run the project's own tools, the changelog names the version."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def test_the_hooks_run_what_lint_runs_and_nothing_from_elsewhere() -> None:
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    entries = [hook["entry"] for hook in repositories[0]["hooks"]]
    assert all(entry.startswith(".venv/bin/") for entry in entries)
    lint = (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    tools = set(re.findall(r"\$\(BIN\)/([a-z-]+)", lint))
    assert tools == {"ruff", "mypy", "lint-imports"}
    assert tools <= {entry.removeprefix(".venv/bin/").split()[0] for entry in entries}


def test_the_newest_section_of_the_changelog_is_the_projects_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    sections = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    newest = next(section for section in sections if section != "Unreleased")
    assert re.fullmatch(rf"{re.escape(version)} - \d{{4}}-\d\d-\d\d", newest)


def test_the_changelog_groups_its_lines() -> None:
    groups = re.findall(r"^### (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert groups
    assert set(groups) <= {"Upgrade", "Added", "Changed", "Fixed", "Removed", "Security"}


def test_no_document_contains_a_path_of_a_machine() -> None:
    """A written benchmark once had the traceback of a failed one."""
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"(?<![\w.}:])/(root|work)/|/tmp/pg-|\.pyenv/", line)
    ]
    assert not found
