"""A classifier's rows: written and read back alike, in SQL and Parquet, refused where they are not the segment's."""

import dataclasses
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
from storage.ledger.commit import commit_segment, load_result, read_labels
from storage.ledger.leases import claim
from storage.parquet import METADATA_KEY, Result, ResultError, decode_result, encode_result
from storage.rows import check_rows
from storage.sql.catalogue import record_file, show_when_complete
from storage.sql.query import query
from tests.storage.samples import (
    assert_same,
    labels_of,
    make_labels,
    make_model,
    make_report,
    make_video,
    must_claim,
    planned_batch,
)

VIDEO = make_video(frames=100)
SEGMENT = Segment(VIDEO.sha256, 0, 60)
CAR = make_model("c" * 64, "car-classifier", "classification")


@given(drawn=st.data())
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_write_then_read_is_the_identity(engine: Engine, drawn: st.DataObject) -> None:
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


def test_a_segment_is_replaced_whole_and_loaded_once(engine: Engine) -> None:
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
def test_what_is_not_the_segments_is_refused(bad: dict[str, Any]) -> None:
    good = make_labels(0, 2)
    check_rows(good, SEGMENT)
    rows = dataclasses.replace(good, **bad)
    with pytest.raises(ValueError, match=r"(?i)labels? |, not |time|not a number"):
        check_rows(rows, SEGMENT)
    with pytest.raises(ValueError, match=r"(?i)labels? |, not |time|not a number"):
        encode_result(Result(VIDEO, SEGMENT, "c" * 64, rows, make_report(60)))


def test_a_label_without_an_end_is_not_unfolded(tmp_path: Path) -> None:
    """One text of 10 MB, named by each of 60 rows, is 100 KB of Parquet and would be 2.4 GB of numpy texts."""
    path = tmp_path / "result.parquet"
    path.write_bytes(encode_result(Result(VIDEO, SEGMENT, "c" * 64, make_labels(0, 60), make_report(60))))
    table = pq.read_table(path)
    long = pa.array(["x" * 10_000_000] * 60)
    pq.write_table(table.set_column(1, table.schema.field("label"), long), path, compression="zstd")
    with pytest.raises(ResultError, match="a label of more than 200 characters"):
        decode_result(path.read_bytes(), path.name)


def test_a_result_file_of_before_there_were_labels_is_read() -> None:
    """The metadata of poses and their columns are what they were."""
    from tests.storage.test_parquet import make_result

    schema = pq.read_schema(pa.BufferReader(encode_result(make_result())))
    about = json.loads(schema.metadata[METADATA_KEY])
    assert about["format"] == 1
    assert set(about) == {"format", "nightjar", "video", "start_frame", "stop_frame", "version_sha256", "report"}


# The views


def night(engine: Engine, frames_per_second: float | None, frames: list[int]) -> None:
    """One video, of which these frames were looked at: cars in frames 0 to 39 and 60 to 79, at 25 frames/s."""
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
def test_frames_a_second_apart(engine: Engine, frames_per_second: float | None, runs: list[Any]) -> None:
    """28 frames are 1.12 s: a step where one frame a second is looked at, a hole where every frame is."""
    night(engine, frames_per_second, [0, 28])
    assert [row[2:5] for row in query(engine, ASK)[1]] == runs
