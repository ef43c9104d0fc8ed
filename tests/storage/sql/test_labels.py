"""A classifier's rows: equal when read back from SQL and Parquet, refused if they belong to another segment."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from models.types import Classifications, Segment
from storage.ledger.batches import finish_batch
from storage.ledger.commit import commit_segment, load_result
from storage.ledger.leases import claim
from storage.parquet import METADATA_KEY, Result, ResultError, decode_result, encode_result
from storage.rows import check_rows
from storage.sql.catalogue import show_when_complete
from storage.sql.label_settings import LabelSettings, read_label_settings, set_label_settings
from storage.sql.query import query
from storage.sql.result_rows import read_labels
from tests.storage.samples import (
    assert_same,
    labels_of,
    make_labels,
    make_model,
    make_report,
    make_video,
    must_claim,
    planned_batch,
    record_file,
)

VIDEO = make_video(frames=100)
SEGMENT = Segment(VIDEO.sha256, 0, 60)
CAR = make_model("c" * 64, "car-classifier", "classification")


@given(drawn=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_survive_a_round_trip(engine: Engine, drawn: st.DataObject) -> None:
    with engine.begin() as connection:
        for table in ("classifications", "batch_segments", "segments"):
            connection.execute(text(f"DELETE FROM {table}"))
    video_id, model_version_id, batch_id = planned_batch(engine, VIDEO, length=60, model=CAR)
    mine = must_claim(engine, batch_id)
    rows = drawn.draw(labels_of(mine.segment))
    data = encode_result(Result(VIDEO, mine.segment, "c" * 64, rows, make_report(60)))
    stored = decode_result(data, "result").rows
    assert_same(stored, rows)
    assert commit_segment(engine, mine, stored, make_report(60))
    assert_same(read_labels(engine, video_id, model_version_id, 0, 60), rows)


def test_a_segment_is_replaced_completely_and_loaded_once(engine: Engine) -> None:
    _, _, batch_id = planned_batch(engine, VIDEO, length=100, model=CAR)
    result = Result(VIDEO, Segment(VIDEO.sha256, 0, 100), "c" * 64, make_labels(0, 100), make_report(100))
    late = must_claim(engine, batch_id)
    assert load_result(engine, result)
    assert not load_result(engine, result)
    assert not commit_segment(engine, late, make_labels(0, 50), make_report(100))
    assert list(query(engine, "SELECT count(*), count(DISTINCT label) FROM classifications")[1]) == [(100, 2)]
    assert claim(engine, batch_id, "other", 60) is None


BAD: dict[str, dict[str, Any]] = {
    "another frame": {"frame": np.array([1, 60])},
    "twice the same": {"frame": np.array([5, 5])},
    "descending": {"frame": np.array([6, 5])},
    "an empty label": {"label": np.array(["", "b"])},
    "a long label": {"label": np.array(["a", "b" * 201])},
    "bytes": {"label": np.array([b"a", b"b"])},
    "more labels": {"label": np.array(["a", "b", "c"])},
    "a probability above 1": {"scores": np.array([0.5, 1.5], np.float32)},
    "no number": {"scores": np.array([0.5, np.nan], np.float32)},
    "no time": {"t_s": np.array([0.5, np.inf])},
    "other numbers": {"scores": np.array([0.5, 0.5])},
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_rows_of_another_segment_are_refused(bad: dict[str, Any]) -> None:
    good = make_labels(0, 2)
    check_rows(good, SEGMENT)
    rows = dataclasses.replace(good, **bad)
    with pytest.raises(ValueError, match=r"(?i)labels? |, not |time|not a number"):
        check_rows(rows, SEGMENT)
    with pytest.raises(ValueError, match=r"(?i)labels? |, not |time|not a number"):
        encode_result(Result(VIDEO, SEGMENT, "c" * 64, rows, make_report(60)))


def test_a_very_long_label_is_refused(tmp_path: Path) -> None:
    """One text of 10 MB in 60 rows takes 100 KB of Parquet and would become 2.4 GB of numpy texts."""
    path = tmp_path / "result.parquet"
    path.write_bytes(encode_result(Result(VIDEO, SEGMENT, "c" * 64, make_labels(0, 60), make_report(60))))
    table = pq.read_table(path)
    long = pa.array(["x" * 10_000_000] * 60)
    pq.write_table(table.set_column(1, table.schema.field("label"), long), path, compression="zstd")
    with pytest.raises(ResultError, match="a label of more than 200 characters"):
        decode_result(path.read_bytes(), path.name)


def test_a_result_file_from_before_labels_is_read() -> None:
    """The metadata and columns of poses are unchanged."""
    from tests.storage.test_parquet import make_result

    schema = pq.read_schema(pa.BufferReader(encode_result(make_result())))
    about = json.loads(schema.metadata[METADATA_KEY])
    assert about["format"] == 1
    assert set(about) == {"format", "nightjar", "video", "start_frame", "stop_frame", "version_sha256", "report"}


# The views


def night(engine: Engine, frames_per_second: float | None, frames: list[int]) -> None:
    """One video, of which these frames were processed: cars in frames 0 to 39 and 60 to 79, at 25 frames/s."""
    model = dataclasses.replace(CAR, frames_per_second=frames_per_second)
    video_id, model_version_id, batch_id = planned_batch(engine, VIDEO, length=100, model=model)
    record_file(engine, "archive/", "street.mp4", 1, "e", video_id=video_id)
    show_when_complete(engine, "classification", model_version_id)
    number = np.array(frames)
    car = (number < 40) | ((number >= 60) & (number < 80))
    rows = Classifications(number, np.where(car, "car", "not_car"), number / 25, np.full(len(number), 0.75, np.float32))
    assert commit_segment(engine, must_claim(engine, batch_id), rows, make_report(100))
    finish_batch(engine, batch_id)


ASK = "SELECT video, label, from_s, to_s, frames, score FROM label_intervals ORDER BY from_s"


def test_runs_of_frames_become_intervals(engine: Engine) -> None:
    night(engine, None, list(range(100)))
    assert list(query(engine, ASK)[1]) == [
        ("street.mp4", "car", 0.0, 1.56, 40, 0.75),
        ("street.mp4", "not_car", 1.6, 2.36, 20, 0.75),
        ("street.mp4", "car", 2.4, 3.16, 20, 0.75),
        ("street.mp4", "not_car", 3.2, 3.96, 20, 0.75),
    ]
    summary = "SELECT task, model, frames_done, people, labels FROM video_summary"
    assert list(query(engine, summary)[1]) == [("classification", "car-classifier", 100, None, 100)]


def test_a_gap_ends_an_interval_unless_sampling_explains_it(engine: Engine) -> None:
    night(engine, None, [*range(5), *range(35, 40)])
    assert [row[2:5] for row in query(engine, ASK)[1]] == [(0.0, 0.16, 5), (1.4, 1.56, 5)]


@pytest.mark.parametrize(
    ("frames_per_second", "runs"), [(1.0, [(0.0, 1.12, 2)]), (None, [(0.0, 0.0, 1), (1.12, 1.12, 1)])]
)
def test_frames_one_second_apart_form_intervals(
    engine: Engine, frames_per_second: float | None, runs: list[Any]
) -> None:
    """28 frames are 1.12 s: one step at one frame per second, but a gap if every frame is processed."""
    night(engine, frames_per_second, [0, 28])
    assert [row[2:5] for row in query(engine, ASK)[1]] == runs


HYSTERESIS = LabelSettings("car", "not_car", enter_score=0.7, leave_score=0.4)


def intervals_of(engine: Engine, cars: list[float], settings: LabelSettings | None, frames: list[int]) -> list[Any]:
    """Store frames with these probabilities of a car, 25 frames/s; return the intervals as (label, from, to) frames."""
    video_id, model_version_id, batch_id = planned_batch(engine, VIDEO, length=100, model=CAR)
    record_file(engine, "archive/", "street.mp4", 1, "e", video_id=video_id)
    show_when_complete(engine, "classification", model_version_id)
    p = np.array(cars, np.float32)
    number, is_car = np.array(frames), p >= 0.5
    labels = np.where(is_car, "car", "not_car")
    rows = Classifications(number, labels, number / 25, np.where(is_car, p, 1 - p).astype(np.float32))
    assert commit_segment(engine, must_claim(engine, batch_id), rows, make_report(100))
    finish_batch(engine, batch_id)
    set_label_settings(engine, model_version_id, settings)
    return [(row[1], round(row[2] * 25), round(row[3] * 25)) for row in query(engine, ASK)[1]]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (None, [("not_car", 0, 1), ("car", 2, 3), ("not_car", 4, 4), ("car", 5, 5), ("not_car", 6, 9)]),
        (HYSTERESIS, [("not_car", 0, 2), ("car", 3, 6), ("not_car", 7, 9)]),
        (dataclasses.replace(HYSTERESIS, leave_score=0.7), [("not_car", 0, 2), ("car", 3, 3), ("not_car", 4, 9)]),
        (dataclasses.replace(HYSTERESIS, min_duration_s=0.11), [("not_car", 0, 2), ("car", 3, 6), ("not_car", 7, 9)]),
        (dataclasses.replace(HYSTERESIS, min_duration_s=0.13), [("not_car", 0, 9)]),
    ],
)
def test_intervals_do_not_flicker(engine: Engine, settings: LabelSettings | None, expected: list[Any]) -> None:
    cars = [0.1, 0.2, 0.6, 0.9, 0.45, 0.6, 0.41, 0.3, 0.45, 0.1]
    assert intervals_of(engine, cars, settings, list(range(10))) == expected


def test_the_score_of_an_interval_is_of_its_own_label(engine: Engine) -> None:
    intervals_of(engine, [0.9, 0.45, 0.1], HYSTERESIS, [0, 1, 2])
    assert [(row[1], row[5]) for row in query(engine, ASK)[1]] == [
        ("car", pytest.approx(0.675)),
        ("not_car", pytest.approx(0.9)),
    ]


def test_a_gap_ends_an_interval_and_its_hysteresis(engine: Engine) -> None:
    found = intervals_of(engine, [0.9, 0.6, 0.6, 0.9], HYSTERESIS, [0, 1, 60, 61])
    assert found == [("car", 0, 1), ("not_car", 60, 60), ("car", 61, 61)]


def reference_intervals(cars: list[float], settings: LabelSettings) -> list[tuple[str, int, int]]:
    """Compute the same by a plain loop."""
    inside, states = False, []
    for p in np.array(cars, np.float32).astype(float):
        inside = p >= settings.enter_score or (inside and p >= settings.leave_score)
        states.append(inside)
    runs = [
        (state, [n for n, _ in run]) for state, run in itertools.groupby(enumerate(states), key=lambda each: each[1])
    ]
    kept = [
        state and (numbers[-1] - numbers[0]) / 25 >= settings.min_duration_s for state, numbers in runs for _ in numbers
    ]
    return [
        ("car" if state else "not_car", (numbers := [n for n, _ in run])[0], numbers[-1])
        for state, run in itertools.groupby(enumerate(kept), key=lambda each: each[1])
    ]


@given(
    cars=st.lists(st.sampled_from([0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 1.0]), min_size=1, max_size=40),
    leave=st.sampled_from([0.25, 0.375, 0.5]),
    enter=st.sampled_from([0.5, 0.625, 0.75]),
    least=st.sampled_from([0.0, 0.06, 0.1]),
)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_intervals_equal_those_of_a_plain_loop(
    engine: Engine, cars: list[float], leave: float, enter: float, least: float
) -> None:
    with engine.begin() as connection:
        for table in ("classifications", "label_settings", "batch_segments", "segments", "archive_files"):
            connection.execute(text(f"DELETE FROM {table}"))
    chosen = LabelSettings("car", "not_car", enter, leave, least)
    assert intervals_of(engine, cars, chosen, list(range(len(cars)))) == reference_intervals(cars, chosen)


def test_settings_are_replaced_and_removed(engine: Engine) -> None:
    _, model_version_id, _ = planned_batch(engine, VIDEO, length=100, model=CAR)
    assert read_label_settings(engine, model_version_id) is None
    for chosen in (HYSTERESIS, dataclasses.replace(HYSTERESIS, min_duration_s=2.0), None):
        set_label_settings(engine, model_version_id, chosen)
        assert read_label_settings(engine, model_version_id) == chosen


@pytest.mark.parametrize(
    "bad", [{"leave_score": 0.8}, {"enter_score": 1.1}, {"min_duration_s": -1}, {"other_label": "car"}]
)
def test_invalid_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Give"):
        dataclasses.replace(HYSTERESIS, **bad)
