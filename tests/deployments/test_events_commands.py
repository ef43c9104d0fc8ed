"""`nightjar rules` and `nightjar events`, and the document of rules."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from deployments.cli import main
from models.events.columns import COLUMNS, KEYPOINT_VALUES, LOOKING_BACK, PLAIN_FUNCTIONS, ZONE_FUNCTIONS
from models.events.definition import RuleDefinition
from models.events.shipped import SHIPPED
from storage.sql.database import open_database
from tasks.analysis.events import make_events
from tasks.site.settings import read_settings
from tasks.site_file.load import parse_site_file
from tasks.site_file.rules import Rule
from tests.servers_postgres import write_migrated
from tests.tasks.events.recorded import Person, Recorded

DOCUMENT = (Path(__file__).parents[2] / "docs" / "site.md").read_text().partition("\n## Rules\n")[2]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("NIGHTJAR_HOME", str(tmp_path))
    monkeypatch.setenv("NIGHTJAR_TIMEZONE", "Europe/Berlin")
    monkeypatch.chdir(tmp_path)
    read_settings.cache_clear()
    yield tmp_path
    read_settings.cache_clear()


def run(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def table(heading: str) -> set[str]:
    """The names in the first column of the table under this heading."""
    body = DOCUMENT.partition(f"| {heading} |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (\w[^|]*) \|", body, re.MULTILINE)
    return {re.sub(r"\(.*\)", "", name) for cell in cells for name in re.split(r", (?![^()]*\))", cell)}


def test_the_document_names_every_column_function_setting_and_rule() -> None:
    written = table("column") - {"KEYPOINT_x", "KEYPOINT_y", "KEYPOINT_score"}
    assert written == set(COLUMNS["people"]) - set(KEYPOINT_VALUES)
    assert table("function") == {*PLAIN_FUNCTIONS, *LOOKING_BACK, *ZONE_FUNCTIONS}
    assert table("setting") == set(Rule.model_fields)
    assert table("setting") - {"cameras", "enabled"} == set(RuleDefinition.__dataclass_fields__)
    assert table("shipped rule") == {rule.rule for rule in SHIPPED}


def test_the_example_of_the_document_can_be_used(home: Path) -> None:
    shelf = '[[zones]]\ncamera = "shop"\nname = "shelf"\npolygon = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]]\n'
    example = DOCUMENT.partition("```toml\n")[2].partition("```")[0]
    (home / "nightjar.toml").write_text(example)
    missing = run("rules", "check")
    assert "Rule 'at the shelf' names the zone 'shelf', which does not exist. Add it to the site" in missing.output
    (home / "nightjar.toml").write_text(example + shelf)
    checked = run("rules", "check")
    assert (checked.exit_code, checked.output) == (0, "8 rules can be used\n")
    listed = json.loads(run("rules", "--format", "json").output)
    found = {(rule["rule"], rule["cameras"]): rule for rule in listed}
    assert found["absence_longer_than", "ward"]["min_duration_s"] == 1800
    assert found["absence_longer_than", "all"]["min_duration_s"] == 3600
    assert found["running", "all"]["enabled"] == "no"
    assert "Somebody bends down at the shelf." in run("rules").output


def test_a_mistake_in_a_rule_is_named(home: Path) -> None:
    (home / "nightjar.toml").write_text('[[rules]]\nrule = "fall"\nwhen = "trunk_angle > 60"\n')
    for words in (("rules",), ("rules", "check")):
        failed = run(*words)
        assert failed.exit_code == 1
        assert "There is no column 'trunk_angle'. Did you mean trunk_angle_deg" in failed.output
    (home / "nightjar.toml").write_text('[[rules]]\nrule = "fall"\nwhen = "NOT (score + filled)"\n')
    assert "Rule 'fall' cannot be evaluated" in run("rules", "check").output


def test_events_are_listed(home: Path) -> None:
    engine = open_database(write_migrated(home / "nightjar.db"))
    people = (Person(1, 0, 249, raises_hand=(50, 99)),)
    Recorded(engine, "back door", people).add()
    Recorded(engine, None, people, start_at=None, name="b").add()
    make_events(engine, parse_site_file(Path("nightjar.toml"), ""))
    engine.dispose()
    lines = run("events").output.splitlines()
    assert lines[0].split() == ["when", "rule", "severity", "camera,", "zone", "track", "lasted"]
    assert re.match(r"2026-03-01 22:00:02 +hand_raised +info +back door +1 +2\.0 s", lines[2])
    assert re.match(r"b0\.mp4, 2\.0 s +hand_raised +info +1 +2\.0 s", lines[3])
    assert max(map(len, lines)) <= 80
    assert len(json.loads(run("events", "--since", "2026-03-01", "--format", "json").output)) == 1
    assert json.loads(run("events", "--since", "2026-03-02", "--format", "json").output) == []
    assert json.loads(run("events", "--camera", "hall'; --", "--format", "json").output) == []
    [event] = json.loads(run("events", "--rule", "hand_raised", "--camera", "back door", "--format", "json").output)
    assert event["from_at"] == "2026-03-01T21:00:02+00:00"
    assert run("events", "--since", "yesterday").exit_code == 1
