"""The most accurate model that is fast enough; the largest one if accuracies are unknown; or none, with a reason."""

from datetime import UTC, datetime

import pytest

from storage.sql.benchmarks import BenchmarkSpeed
from tasks.benchmark.recommend import recommend

AT = datetime(2026, 11, 24, tzinfo=UTC)


def speed(model: str, multiply_adds: int, alone: float | None, whole: float | None) -> BenchmarkSpeed:
    return BenchmarkSpeed(model, "pose", model, "pi", "MYRIAD (stick)", "f16", multiply_adds, alone, whole, 9.0, AT)


SPEEDS = [
    speed("posenet-050", 10**9, 42.0, 40.0),
    speed("posenet-075", 2 * 10**9, 30.0, 29.0),
    speed("posenet-100", 4 * 10**9, 12.0, 11.0),
]


@pytest.mark.parametrize(
    ("frames_per_s", "words"),
    [
        (
            10,
            "use posenet-100, the largest of 3 fast enough models (4,000 million multiply-adds per frame). It",
        ),
        (11, "use posenet-100, the largest of 3"),
        (11.5, "use posenet-075, the largest of 2"),
        (25, "29.0 frames/s, 16% above 25"),
        (30, "use posenet-050, the only fast enough model. It reaches 40.0 frames/s, 33% above 30"),
        (41, "no measured model reaches 41 frames/s. The fastest, posenet-050, reaches 40.0 frames/s."),
    ],
)
def test_the_largest_model_that_is_fast_enough_is_recommended(frames_per_s: float, words: str) -> None:
    [sentence] = recommend(SPEEDS, frames_per_s, {})
    assert sentence.startswith("pose, MYRIAD (stick) of pi in f16: ")
    assert words in sentence


def test_accuracy_counts_more_than_size_if_all_are_evaluated() -> None:
    measured = {"posenet-050": 0.4, "posenet-075": 0.6, "posenet-100": 0.5}
    assert "use posenet-075, the most accurate of 3 fast enough models (0.600)" in recommend(SPEEDS, 5, measured)[0]
    del measured["posenet-100"]
    assert "use posenet-100, the largest of 3" in recommend(SPEEDS, 5, measured)[0]
    assert "use posenet-075, the most accurate of 2" in recommend(SPEEDS, 20, measured)[0], (
        "both relevant accuracies are known"
    )


def test_a_speed_of_the_model_alone_is_named_as_such() -> None:
    assert "30.0 frames/s for the model alone, 20% above 25" in recommend([speed("m", 1, 30.0, None)], 25, {})[0]


def test_different_devices_and_tasks_are_not_compared() -> None:
    other = speed("openpose", 9 * 10**9, 90.0, 80.0)
    others = [other._replace(device="CPU (fast)"), other._replace(task="classification"), other._replace(worker="pc")]
    assert len(recommend([*SPEEDS, *others], 10, {})) == 4
    assert recommend([], 10, {}) == []
