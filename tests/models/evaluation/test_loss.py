"""The bound on what INT8 may lose: of AP where enough people are annotated, else of the agreement."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation.loss import LEAST_PEOPLE, MAX_AP_LOSS, AccuracyLoss, doubt_about_ap


@pytest.mark.parametrize(
    ("before", "after", "accepted"),
    [
        (0.24, 0.24, True),
        (0.20, 0.19, True),  # 5 %, whatever the rounding of 0.2 * 0.95
        (0.20, 0.1899, False),
        (0.064, 0.06, False),  # 0.004 less, which an absolute bound of 0.02 let pass: a sixteenth of all it finds
        (0.90, 0.86, True),  # 0.04 less, which an absolute bound of 0.02 refused
        (0.064, 0.0, False),
        (0.3, 0.4, True),
        (0.0, 0.0, False),  # nothing was there to be kept
        (0.3, math.nan, False),
    ],
)
def test_at_most_a_twentieth_of_the_ap_may_be_lost(before: float, after: float, accepted: bool) -> None:
    assert AccuracyLoss("AP", before, after, MAX_AP_LOSS).accepted is accepted


@given(st.floats(0.001, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 1))
def test_the_bound_is_relative(before: float, share: float, limit: float, scale: float) -> None:
    """Models of any accuracy may lose the same share, and no larger loss is accepted than a refused one."""
    loss = AccuracyLoss("AP", before, before * (1 - share), limit)
    assert loss.share == pytest.approx(share, abs=1e-9)
    if abs(share - limit) > 1e-6:
        assert loss.accepted is (share < limit)
        assert AccuracyLoss("AP", before * scale, before * scale * (1 - share), limit).accepted is loss.accepted


def test_ap_decides_with_enough_annotated_people_and_a_source_that_finds_some() -> None:
    assert doubt_about_ap(LEAST_PEOPLE, 0.2) == ""
    assert doubt_about_ap(86, 0.2) == "86 people are annotated, and AP says little about fewer than 200"
    assert "no AP on these images" in doubt_about_ap(LEAST_PEOPLE, 0.0)
    assert "no AP on these images" in doubt_about_ap(LEAST_PEOPLE, math.nan)


def test_both_figures_and_the_bound_are_told() -> None:
    assert AccuracyLoss("AP", 0.2, 0.18, 0.05).describe() == (
        "AP 0.1800 where the source has 0.2000: 10.0% lost, and at most 5.0% may be lost"
    )
    assert "1.0% gained" in AccuracyLoss("agreement", 0.5, 0.505, 0.3).describe()
