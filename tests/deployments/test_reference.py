"""The generated parts of the documents: up to date, and complete."""

import re
from pathlib import Path

import click
import pytest

from deployments.cli import main as nightjar
from deployments.reference import (
    DOCUMENTS,
    GROUPS,
    cli_reference,
    commands_of,
    decisions_index,
    settings_reference,
    with_reference,
)
from tasks.site.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_match_the_code(name: str) -> None:
    document = (DOCS / name).read_text()
    assert document == with_reference(document, DOCUMENTS[name]()), "run 'make docs'"


def test_every_command_is_in_one_group() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(nightjar.commands)


def test_every_option_has_a_row() -> None:
    commands = [found for names in GROUPS.values() for found in commands_of(names)]
    for (name, command), section in zip(commands, cli_reference().split("### nightjar ")[1:], strict=True):
        rows = [line for line in section.splitlines() if line.startswith("| `--")]
        options = [option for option in command.params if isinstance(option, click.Option)]
        assert section.startswith(f"{name}\n")
        assert len(rows) == len(options)
        assert all(f"`{option.opts[0]}`" in row for option, row in zip(options, rows, strict=True))


def test_values_defaults_and_bounds_are_shown() -> None:
    reference = cli_reference()
    assert "| `--segment-s` | `N`, 1 to 3,600 | `60` |" in reference
    assert "| `--dispatch` | `local`, `fleet` | `local` |" in reference
    assert "| `--model` | `TEXT` | required |" in reference


def test_every_setting_has_a_row_with_a_meaning() -> None:
    rows = [row.split(" | ") for row in settings_reference().splitlines()[2:]]
    assert [row[0] for row in rows] == [f"| `NIGHTJAR_{name.upper()}`" for name in Settings.model_fields]
    assert all(row[3].endswith(". |") or row[3].endswith("… |") for row in rows)
    assert "| `NIGHTJAR_CACHE_BYTES` | `N`, above 0 | 20 GiB |" in settings_reference()
    assert "| `NIGHTJAR_LEASE_S` | `N`, at least 10 | `120` |" in settings_reference()


def test_a_decision_is_one_page_whose_title_begins_with_its_number() -> None:
    pages = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    numbers = [page.name[:3] for page in pages]
    assert len(numbers) == len(set(numbers)) > 60
    for page in pages:
        assert re.fullmatch(r"\d{3}-[a-z0-9-]+\.md", page.name)
        assert re.match(rf"# {page.name[:3]}: [^\n]+\n\n", page.read_text()), page.name
        assert f"]({page.name})" in decisions_index()


def test_a_document_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="generated from the code"):
        with_reference("# The command line", cli_reference())
