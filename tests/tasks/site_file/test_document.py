"""The examples of docs/site.md are what the program reads, and its queries are ones that both databases answer."""

import re
from pathlib import Path

import pytest
from sqlalchemy import Engine

from storage.sql.query import query
from tasks.site.settings import Settings
from tasks.site_file.load import parse_site_file, read_site_file
from tasks.site_file.spec import SiteFile

DOCUMENT = (Path(__file__).parents[3] / "docs" / "site.md").read_text()
EXAMPLES = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
QUERIES = [sql for block in re.findall(r"```sql\n(.*?)```", DOCUMENT, re.DOTALL) for sql in re.split(r";\n", block)]


def test_the_complete_example_is_read_with_its_sidecar(tmp_path: Path) -> None:
    (tmp_path / "nightjar.toml").write_text(EXAMPLES[0])
    (tmp_path / "attic.csv").write_text("file,time\na.mp4,2026-03-01T22:14:07\n")
    found = read_site_file(Settings(home=tmp_path, _env_file=None))
    assert len(found.cameras) == 5
    assert "a.mp4" in found.sidecars["attic.csv"]


@pytest.mark.parametrize("text", EXAMPLES[1:])
def test_every_other_example_is_valid(text: str) -> None:
    if text.startswith("start"):  # lines that stand for each other in an entry
        for line in text.splitlines():
            [camera] = parse_site_file(Path("nightjar.toml"), f"[[cameras]]\nname = 'a'\n{line}").cameras
            assert camera.start
    else:
        assert parse_site_file(Path("nightjar.toml"), text) != SiteFile()


def test_the_document_has_examples_and_queries() -> None:
    assert len(EXAMPLES) >= 3
    assert len(QUERIES) >= 3


@pytest.mark.parametrize("sql", [sql for sql in QUERIES if sql.strip()])
def test_every_query_is_answered(engine: Engine, sql: str) -> None:
    names, rows = query(engine, sql)
    assert names
    assert list(rows) == []
