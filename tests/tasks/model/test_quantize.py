"""The judgement of an INT8 model: the measure that decides, the bound, and speeds only where they can be compared."""

import dataclasses

import pytest

from models.evaluation.protocol import Figures, Protocol
from models.inference.benchmark import SpeedRatio
from tasks.model.evaluate import Measured
from tasks.model.quantize import Judgement, Pair, QuantizationRefused, _doubt, _loss, _with_speeds, refuse_worse

PROTOCOL = Protocol(
    mode="multi",
    truth="COCO keypoint annotations",
    truth_sha256="1" * 64,
    pictures="all of the 80 available of 80",
    images=80,
    images_sha256="2" * 64,
    people=250,
    input_width=256,
    input_height=256,
    resize="fit",
    decoder="movenet",
    decode_params={},
    device="CPU (test)",
    precision="f32",
)
QUIET = SpeedRatio(1.8, 1.75, 1.85, 11, 100.0, 180.0, other_load=0.02)


def annotated(ap: float, people: int = 250) -> Measured:
    """Figures on annotated images; mean OKS is the same whatever AP is."""
    return Measured(dataclasses.replace(PROTOCOL, people=people), Figures(0.4, ap, 0.5, 0.2, 0.3, 0.6))


def agreeing(mean_oks: float) -> Measured:
    """Figures without annotations."""
    return Measured(dataclasses.replace(PROTOCOL, mode="agreement"), Figures(mean_oks))


def judged(*pairs: Pair, max_drop: float | None = None, speed: SpeedRatio = QUIET) -> Judgement:
    return Judgement(tuple(_with_speeds(pair, speed) for pair in pairs), _loss(pairs[-1], max_drop), "because", speed)


@pytest.mark.parametrize(
    ("pairs", "max_drop", "kept"),
    [
        ([Pair(annotated(0.242), annotated(0.235))], None, True),
        ([Pair(annotated(0.242), annotated(0.225))], None, False),  # 0.017 less: 7 %
        ([Pair(annotated(0.242), annotated(0.225))], 0.1, True),
        ([Pair(agreeing(0.99), agreeing(0.72))], None, True),
        ([Pair(agreeing(0.99), agreeing(0.60))], None, False),
        ([Pair(agreeing(0.99), agreeing(0.72))], 0.05, False),
        # With few annotated people the agreement decides, also where AP fell by half.
        ([Pair(annotated(0.2, 86), annotated(0.1, 86)), Pair(agreeing(0.99), agreeing(0.9))], None, True),
    ],
)
def test_the_last_measure_decides(pairs: list[Pair], max_drop: float | None, kept: bool) -> None:
    found = judged(*pairs, max_drop=max_drop)
    if kept:
        refuse_worse("small", found)
        return
    with pytest.raises(QuantizationRefused, match=r"small was not stored: it has .*% lost, and at most .* may be lost"):
        refuse_worse("small", found)


def test_ap_of_few_people_is_told_beside_the_agreement_that_decides() -> None:
    found = judged(Pair(annotated(0.2, 86), annotated(0.16, 86)), Pair(agreeing(0.99), agreeing(0.9)))
    first, aside, _ = found.lines("a", "b")
    assert first.startswith("b has agreement 0.9000 where the source has 0.9900: 9.1% lost, and at most 30.0% may be")
    assert aside == "It does not decide, but b has AP 0.1600 where the source has 0.2000: 20.0% lost."


def test_few_people_and_a_source_that_finds_nobody_leave_the_decision_to_the_agreement() -> None:
    assert _doubt(annotated(0.2)) == ""
    assert "86 people are annotated" in _doubt(annotated(0.2, 86))
    assert "no AP" in _doubt(annotated(0.0))


def test_speeds_are_told_where_they_can_be_compared() -> None:
    told = judged(Pair(annotated(0.24), annotated(0.24)))
    [pair] = told.pairs
    assert (pair.source.lines()["speed"], pair.quantized.lines()["speed"]) == ("100 inferences/s", "180 inferences/s")
    assert "b is 1.80 times as fast as a" in told.lines("a", "b")[1]
    assert told.lines("a", "b")[0] == (
        "b has AP 0.2400 where the source has 0.2400: 0.0% lost, and at most 5.0% may be lost (because)."
    )


@pytest.mark.parametrize("busy", [{"other_load": 0.4}, {"low": 1.0, "high": 3.0}])
def test_a_busy_machine_gives_neither_a_ratio_nor_two_speeds_to_divide(busy: dict[str, float]) -> None:
    told = judged(Pair(annotated(0.24), annotated(0.24)), speed=dataclasses.replace(QUIET, **busy))
    assert all(one.inferences_per_s is None for pair in told.pairs for one in (pair.source, pair.quantized))
    assert "speed" not in told.pairs[0].source.lines()
    assert "cannot be compared" in told.lines("a", "b")[1]
    assert not any(figure in told.lines("a", "b")[1] for figure in ("1.8", "100", "180"))
