"""Section [[rules]]: shipped rules changed by name, other rules, and errors."""

from pathlib import Path

import pytest

from models.events.definition import RuleDefinition
from models.events.shipped import SHIPPED
from tasks.site_file.load import SiteFileError, parse_site_file
from tasks.site_file.rules import known_rules, rules_of

NAMES = sorted(rule.rule for rule in SHIPPED)


def rules(text: str, camera: str = "") -> dict[str, RuleDefinition]:
    return {rule.rule: rule for rule in rules_of(parse_site_file(Path("nightjar.toml"), text).rules, camera)}


def test_without_a_site_file_the_shipped_rules_hold() -> None:
    assert [*rules("")] == NAMES


def test_a_shipped_rule_is_changed_by_name_and_for_some_cameras() -> None:
    text = """
    [[rules]]
    rule = "crowd"
    when = "people >= 10"
    [[rules]]
    rule = "crowd"
    cameras = "yard"
    min_duration_s = 60
    severity = "critical"
    [[rules]]
    rule = "running"
    cameras = ["yard", "hall"]
    enabled = false
    """
    everywhere, yard = rules(text), rules(text, "yard")
    assert (everywhere["crowd"].when, everywhere["crowd"].min_duration_s) == ("people >= 10", 5.0)
    assert (yard["crowd"].when, yard["crowd"].min_duration_s, yard["crowd"].severity) == (
        "people >= 10",
        60.0,
        "critical",
    )
    assert "running" in everywhere
    assert "running" not in yard
    assert "running" not in rules(text, "hall")
    entries = parse_site_file(Path("nightjar.toml"), text).rules
    listed = [(rule.rule, camera, enabled) for rule, camera, enabled in known_rules(entries)]
    assert listed == [
        *((name, "", True) for name in NAMES),
        ("running", "hall", False),
        ("crowd", "yard", True),
        ("running", "yard", False),
    ]


def test_a_rule_of_ones_own_has_a_version_of_its_own() -> None:
    text = '[[rules]]\nrule = "bending"\nwhen = "trunk_angle_deg > 40"\nzones = "shelf"\nmin_duration_s = {}\n'
    mine, other = rules(text.format(1))["bending"], rules(text.format(2))["bending"]
    assert mine.zones == ("shelf",)
    assert mine.sha256() != other.sha256()
    renamed = rules(text.format(1) + 'meaning = "At the shelf."\nseverity = "critical"\n')["bending"]
    assert renamed.sha256() == mine.sha256()  # neither changes an event


ERRORS = {
    'rule = "fal"': "Did you mean 'fall'?",
    'rule = "mine"': "is not a shipped one and has no condition. Add 'when', its condition.",
    'rule = "fall"\nwhen = "trunk_angle > 3"': "There is no column 'trunk_angle'. Did you mean trunk_angle_deg",
    'rule = "fall"\nscore = "sum(score)"': "rule 'fall', score: There is no function 'sum'.",
    'rule = "fall"\nrows = "frames"': "A rule over frames has no column",
    'rule = "crowd"\nzones = "yard"': "is over frames, which are in no zone",
    'rule = "fall"\nmin_duration_s = -1': "greater than or equal to 0",
    'rule = "fall"\nseverity = "loud"': "'info', 'warning' or 'critical'",
    'rule = "fall"\nbridge_gap = 1': "Did you mean 'bridge_gap_s'?",
}


@pytest.mark.parametrize("entry", ERRORS)
def test_mistakes_are_named_with_their_repair(entry: str) -> None:
    with pytest.raises(SiteFileError) as refused:
        rules(f"[[rules]]\n{entry}\n")
    assert ERRORS[entry] in str(refused.value)
