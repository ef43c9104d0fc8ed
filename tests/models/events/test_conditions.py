"""Checks of conditions, and their evaluation: over chunks, against plain numpy, within limits."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.events.columns import COLUMNS, KEYPOINT_VALUES, MOTION
from models.events.definition import RuleDefinition
from models.events.evaluation import ConditionEngine, RuleError, RuleStream, compile_rule
from models.events.shipped import SHIPPED
from storage.rows import KEYPOINT_COLUMNS
from storage.track_rows import MOTION_VALUES

FRAME_S = 0.04
REFUSED = {
    "trunk_angle > 3": "There is no column 'trunk_angle'. Did you mean trunk_angle_deg",
    "people > 1; drop table rows": "is not one expression",
    "read_csv('/etc/passwd')": "There is no function 'read_csv'",
    "(SELECT 1) = 1": "cannot be used in a condition",
    "score IN (SELECT 1)": "has no list",
    "EXISTS (SELECT 1)": "cannot be used in a condition",
    "rows.score > 1": "names a table. Write score",
    "score > 'a'": "Give a number",
    "score > 1e999": "is too large",
    "score > 1e-300": "too small. Give 0, or 1e-09",
    " * ".join(["score"] * 12) + " > 1": "more than 10 multiplications and divisions",
    "score = $1": "cannot be used in a condition",
    "score::int = 1": "cannot be used in a condition",
    "max(score) > 1": "There is no function 'max'",
    "lowest(score, 1) OVER () > 1": "cannot be used in a condition",
    "lowest(score) > 1": "lowest has 1 arguments, and takes 2",
    "lowest(score, track) > 1": "Give a number above 0, at most 120",
    "lowest(lowest(score, 100), 100) > 1": "looks back 200 s",
    "lowest(in_zone('bed'), 1)": "in_zone cannot look back",
    "in_zone(track)": "names no zone",
    "score >": "is not an SQL expression",
    "": "is not one expression",
    "(" * 3000 + "score" + ")" * 3000 + " > 1": "characters, more than 4,000",
    "(" * 1500 + "score" + ")" * 1500 + " > 1": "nested too deep|parts, more than",
    " AND ".join(["filled"] * 501): "characters|parts, more than",
    "getenv('HOME') = 'x'": "There is no function 'getenv'",
    "score = (SELECT max(score) FROM duckdb_settings())": "cannot be used in a condition|There is no function",
}


def rule(when: str, **changes: Any) -> RuleDefinition:
    return RuleDefinition(rule="mine", when=when, **changes)


@pytest.mark.parametrize("when", REFUSED)
def test_anything_but_a_condition_is_refused_with_the_repair(when: str) -> None:
    with pytest.raises(RuleError, match=REFUSED[when]) as refused:
        compile_rule(rule(when))
    assert str(refused.value).startswith("Rule 'mine', when: ")


def test_the_columns_are_those_of_motion_and_poses() -> None:
    assert MOTION == MOTION_VALUES
    assert sorted(KEYPOINT_VALUES) == sorted(KEYPOINT_COLUMNS)


@pytest.fixture(scope="module")
def duckdb_engine() -> Any:
    with ConditionEngine() as engine:
        yield engine


@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda shipped: shipped.rule)
def test_the_shipped_rules_can_be_evaluated(shipped: RuleDefinition, duckdb_engine: ConditionEngine) -> None:
    duckdb_engine.check(compile_rule(shipped))


@pytest.mark.parametrize(
    "when", ["score AND filled + 1 > 'x'", "filled > 1 AND NOT (track + filled) > 1", "abs(filled)"]
)
def test_types_that_do_not_fit_are_found_without_rows(when: str, duckdb_engine: ConditionEngine) -> None:
    with pytest.raises(RuleError):
        duckdb_engine.check(compile_rule(rule(when)))


def rows_of(frame: list[int], track: list[int], score: list[float]) -> dict[str, np.ndarray]:
    frames = np.array(frame, np.float64)
    return {"frame": frames, "t_s": frames * FRAME_S, "track": np.array(track, float), "score": np.array(score, float)}


@st.composite
def some_rows(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Rows of up to three tracks, ordered by (frame, track), with missing frames and unknown values."""
    frames = np.cumsum(draw(st.lists(st.integers(1, 9), min_size=1, max_size=25))).tolist()
    places = [(frame, track) for frame in frames for track in sorted(draw(st.sets(st.integers(1, 3))))]
    values = st.sampled_from([float("nan"), -1.0, 0.0, 0.3, 2.0])
    frame, track = ([place[part] for place in places] for part in (0, 1))
    return rows_of(frame, track, [draw(values) for _ in places])


def windows(rows: dict[str, np.ndarray], seconds: float) -> list[np.ndarray]:
    """Places of the rows of the same track in the seconds up to each row: the oracle of RANGE."""
    t_s, track = rows["t_s"], rows["track"]
    inside = (t_s[None] >= t_s[:, None] - seconds) & (t_s[None] <= t_s[:, None]) & (track[None] == track[:, None])
    return [np.flatnonzero(mine) for mine in inside]


def known(values: np.ndarray) -> np.ndarray:
    return values[~np.isnan(values)]


ORACLES = {
    "lowest(score, 0.5)": lambda own, t_s: known(own).min(initial=np.inf),
    "highest(score, 0.5)": lambda own, t_s: known(own).max(initial=-np.inf),
    "median(score, 0.5)": lambda own, t_s: np.median(known(own)) if len(known(own)) else np.inf,
    "earlier(score, 0.5)": lambda own, t_s: next(iter(known(own)), np.inf),
    "share(score > 0, 0.5)": lambda own, t_s: (
        float(np.mean(known(own) > 0) * len(known(own)) / len(own)) if len(known(own)) else 0.0
    ),
    "seconds_since(score > 0, 0.5)": lambda own, t_s: t_s[-1] - t_s[own > 0][-1] if (own > 0).any() else np.inf,
    "known_s(0.5)": lambda own, t_s: t_s[-1] - t_s[0],
}


@pytest.mark.parametrize("text", ORACLES)
@given(rows=some_rows())
@settings(max_examples=25)
def test_functions_look_back_over_the_rows_of_the_track(text: str, duckdb_engine: ConditionEngine, rows: dict) -> None:
    missing = "-1e9" if text.startswith("highest") else "1e9"
    found = duckdb_engine.evaluate([compile_rule(rule("true", score=f"coalesce({text}, {missing})"))], rows)[0].score
    expected = [ORACLES[text](rows["score"][mine], rows["t_s"][mine]) for mine in windows(rows, 0.5)]
    np.testing.assert_allclose(found, np.clip(expected, -1e9, 1e9), atol=1e-9)


NESTED_RULES = (
    "highest(score - lowest(score, 0.4), 0.3) > 0.5 OR share(score > 0, 0.2) >= 0.5",
    "seconds_since(median(score, 0.2) > 0, 1) < 0.3 AND known_s(0.5) > 0.1",
    "score > 0 AND in_zone('bed')",
)
NESTED = [compile_rule(rule(when)) for when in NESTED_RULES]


@given(rows=some_rows(), cuts=st.lists(st.integers(0, 80), max_size=5))
@settings(max_examples=20)
def test_the_outcome_does_not_depend_on_chunks(duckdb_engine: ConditionEngine, rows: dict, cuts: list[int]) -> None:
    rows = {**rows, "in zone bed": rows["frame"] % 2 == 0}
    whole = dict(enumerate(held for _, held in RuleStream(duckdb_engine, NESTED, "people").push(rows)))
    bounds = sorted({0, *(int(np.searchsorted(rows["frame"], cut)) for cut in cuts), len(rows["t_s"])})
    stream = RuleStream(duckdb_engine, NESTED, "people")
    parts = [
        [held for _, held in stream.push({name: values[start:stop] for name, values in rows.items()})]
        for start, stop in pairwise(bounds)
    ]
    for number, expected in whole.items():
        found = [part[number] for part in parts]
        np.testing.assert_array_equal(
            np.concatenate([np.empty(0, bool), *(each.holds for each in found)]), expected.holds
        )


def test_unknown_values_are_false_and_divisions_by_zero_unknown(duckdb_engine: ConditionEngine) -> None:
    rows = rows_of([1, 2, 3], [1, 1, 1], [float("nan"), 0.0, 4.0])
    for when, expected in {
        "score >= 0": [False, True, True],
        "NOT score > 100": [False, True, True],
        "1 / score > 0": [False, False, True],
        "sqrt(score) = 2": [False, False, True],
        "sqrt(-score - 1) IS NULL": [True, True, True],
        "(1e9 - score) * 1e9 / 1e-9 * 1e9 * 1e9 / 1e-9 * 1e9 * 1e9 * 1e9 < 1e9": [False, False, False],
    }.items():
        assert duckdb_engine.evaluate([compile_rule(rule(when))], rows)[0].holds.tolist() == expected, when


def test_a_slow_condition_is_interrupted() -> None:
    rows = rows_of([*range(60_000)], [1] * 60_000, [0.0] * 60_000)
    rows["t_s"] = rows["frame"] * 1e-3
    with ConditionEngine(limit_s=0.05) as engine:
        text = " + ".join(f"median(score + {n}, 60)" for n in range(20))
        with pytest.raises(RuleError, match=r"took longer than 0.05 s for 60,000 rows\."):
            engine.evaluate([compile_rule(rule(f"{text} > 0"))], rows)
        assert engine.evaluate([compile_rule(rule("score = 0"))], rows)[0].holds.all()  # it can be used again


def test_duckdb_reaches_no_file_and_keeps_its_settings() -> None:
    import duckdb

    with ConditionEngine() as engine:
        for statement in (
            "SELECT * FROM read_text('/etc/hostname')",
            "COPY (SELECT 1) TO '/tmp/x.csv'",
            "SET threads = 4",
            "ATTACH '/tmp/x.db'",
            "INSTALL httpfs",
            "LOAD httpfs",
            "SET enable_external_access = true",
        ):
            with pytest.raises(duckdb.Error):
                engine._connection.execute(statement)


def test_a_rule_over_frames_has_no_zones_and_no_people() -> None:
    with pytest.raises(RuleError, match='Set rows = "people"'):
        compile_rule(rule("trunk_angle_deg > 1", rows="frames"))
    with pytest.raises(RuleError, match="are in no zone"):
        compile_rule(rule("people > 1", rows="frames", zones=("bed",)))
    assert "people" in COLUMNS["frames"]
