"""Result files: equal when read back, equal bytes for equal results, refused if anything is wrong."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.types import Segment, TimeRepair
from storage.parquet import METADATA_KEY, Result, ResultError, decode_result, encode_result
from storage.rows import POSE_COLUMNS
from storage.video.geometry import DisplayGeometry, geometry_of
from tests.storage.samples import assert_same, make_poses, make_report, make_video, poses_of

VIDEO = make_video(frames=100)
SEGMENT = Segment(VIDEO.sha256, 20, 60)


def make_result() -> Result:
    return Result(VIDEO, SEGMENT, "1" * 64, make_poses(20, 60), make_report(39, (30,)))


def read_result(path: Path) -> Result:
    return decode_result(path.read_bytes(), path.name)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A valid result file."""
    path = tmp_path / "result.parquet"
    path.write_bytes(encode_result(make_result()))
    return path


@given(poses=poses_of(SEGMENT), frames_done=st.integers(0, 38))
@settings(max_examples=40)
def test_rows_survive_a_round_trip(poses: Any, frames_done: int) -> None:
    result = dataclasses.replace(make_result(), rows=poses, report=make_report(frames_done, (21, 59)))
    found = decode_result(encode_result(result), "result")
    assert_same(found.rows, poses)
    for name in ("video", "segment", "version_sha256", "report"):
        assert getattr(found, name) == getattr(result, name)


def test_repaired_times_and_single_frames_survive_a_round_trip() -> None:
    repairs = (TimeRepair(3, 5, 2, None), TimeRepair(10, 100, 0, 200_000.0))
    video = dataclasses.replace(VIDEO, fps=None, stream=1, streams=2, time_repairs=repairs)
    result = dataclasses.replace(make_result(), video=video)
    assert decode_result(encode_result(result), "result").video == video


def test_equal_results_have_equal_bytes() -> None:
    assert encode_result(make_result()) == encode_result(make_result())


def test_other_parquet_readers_can_read_it(path: Path) -> None:
    """The columns are those of the table, NULL means not found, and the metadata names the origin."""
    table = pq.read_table(path)
    assert tuple(table.column_names) == POSE_COLUMNS
    assert table["nose_x"].null_count == int(np.isnan(make_result().rows.keypoints[:, 0, 0]).sum()) > 0
    about = json.loads(table.schema.metadata[METADATA_KEY])
    assert (about["video"]["sha256"], about["start_frame"], about["stop_frame"]) == (VIDEO.sha256, 20, 60)


def test_rows_of_another_segment_are_not_written() -> None:
    wrong = [
        dataclasses.replace(make_result(), rows=make_poses(0, 40)),
        dataclasses.replace(make_result(), report=make_report(41)),
        dataclasses.replace(make_result(), segment=Segment("b" * 64, 20, 60)),
        dataclasses.replace(make_result(), segment=Segment(VIDEO.sha256, 20, 101)),
    ]
    for result in wrong:
        with pytest.raises(ValueError, match=r"outside of|counted twice|is not of the video"):
            encode_result(result)


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(path: Path, part: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: math.floor(len(whole) * part)])
    with pytest.raises(ResultError, match="is not a result file"):
        read_result(path)


@given(position=st.integers(0, 2**31), bit=st.integers(0, 7))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_is_detected_or_harmless(path: Path, position: int, bit: int) -> None:
    """Pages have checksums but the footer has none, so a flipped bit there may change an unchecked text."""
    whole = bytearray(path.read_bytes())
    whole[position % len(whole)] ^= 1 << bit
    damaged = path.with_name("damaged.parquet")
    damaged.write_bytes(whole)
    try:
        found = read_result(damaged)
    except ResultError:
        return
    assert_same(found.rows, make_result().rows)


def test_a_file_of_an_earlier_version_has_its_former_geometry(path: Path) -> None:
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[METADATA_KEY])
    about["video"] = {name: value for name, value in about["video"].items() if name in EARLIER_FIELDS}
    about["video"] |= {"width": 480, "height": 640, "rotation": 90, "time_repairs": [[3, 5, 2, None]]}
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: json.dumps(about)}), path)
    assert geometry_of(read_result(path).video) == DisplayGeometry(640, 480, rotation=90)


def test_a_foreign_file_is_refused(path: Path) -> None:
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(ResultError, match="no metadata of the result format 1"):
        read_result(path)


EARLIER_FIELDS = ("sha256", "size_bytes", "container", "codec", "frames", "fps", "duration_s")
CHANGES: dict[str, Any] = {
    "another format": {"format": 2},
    "frames outside of the video": {"stop_frame": 1000},
    "frames of another segment": {"start_frame": 50},
    "a frame number that is none": {"start_frame": "20"},
    "no version": {"version_sha256": None},
    "a video that is none": {"video": {"sha256": VIDEO.sha256}},
    "a video with text for a number": {"video": {**dataclasses.asdict(VIDEO), "frames": "100"}},
    "a video of another size than its geometry gives": {"video": {**dataclasses.asdict(VIDEO), "crop_left": 8}},
    "no report": {"report": None},
    "a report that counts twice": {"report": {**dataclasses.asdict(make_report(40)), "undecodable": [30]}},
    "a duration that is no number": {"report": {**dataclasses.asdict(make_report(40)), "wall_s": math.nan}},
}


@pytest.mark.parametrize("fault", CHANGES)
def test_contradictory_metadata_is_refused(path: Path, fault: str) -> None:
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[METADATA_KEY]) | CHANGES[fault]
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: json.dumps(about)}), path)
    with pytest.raises(ResultError, match="is not a result file"):
        read_result(path)


def test_unknown_columns_are_refused(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["left_ankle_score"]), path)
    with pytest.raises(ResultError, match="columns are not a result's"):
        read_result(path)


def test_a_small_file_with_many_rows_is_not_unpacked(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(pa.concat_tables([table] * 200), path)
    with pytest.raises(ResultError, match="16000 rows for 40 frames"):
        read_result(path)


def with_metadata(path: Path, text: str) -> bytes:
    """The valid file's rows, with this text as Nightjar's metadata."""
    pq.write_table(pq.read_table(path).replace_schema_metadata({METADATA_KEY: text}), path)
    return path.read_bytes()


IMPOSSIBLE: dict[str, Any] = {
    "a width beyond any column": {"video": {**dataclasses.asdict(VIDEO), "width": 2**70}},
    "no width": {"video": {**dataclasses.asdict(VIDEO), "width": 0}},
    "more bytes than a disk has": {"video": {**dataclasses.asdict(VIDEO), "size_bytes": 2**62}},
    "a rate of infinity": {"video": {**dataclasses.asdict(VIDEO), "fps": 1e999}},
    "repairs behind its end": {"video": {**dataclasses.asdict(VIDEO), "time_repairs": [[5, 2**40, 1, None]]}},
    "repairs without end": {"video": {**dataclasses.asdict(VIDEO), "time_repairs": [[5, 6, 1, None]] * 10**4}},
    "a clock that jumps by infinity": {"video": {**dataclasses.asdict(VIDEO), "time_repairs": [[5, 6, 1, 1e999]]}},
    "a container with a NUL": {"video": {**dataclasses.asdict(VIDEO), "container": "mov\0"}},
    "a worker with a NUL": {"report": {**dataclasses.asdict(make_report(40)), "worker": "pi\0"}},
    "a worker without a name": {"report": {**dataclasses.asdict(make_report(40)), "worker": ""}},
    "a device that forges a line": {"report": {**dataclasses.asdict(make_report(40)), "device": "CPU\nINFO | done"}},
    "a device that turns the text around": {"report": {**dataclasses.asdict(make_report(40)), "device": "\u202eUPC"}},
    "a precision of a megabyte": {"report": {**dataclasses.asdict(make_report(40)), "precision": "f" * 10**6}},
    "work that took no time at all": {"report": {**dataclasses.asdict(make_report(40)), "wall_s": -1.0}},
    "a number where a text belongs": {"report": {**dataclasses.asdict(make_report(40)), "worker": 7}},
    "a truth for a number": {"report": {**dataclasses.asdict(make_report(40)), "frames_done": True}},
    "a model version that is a path": {"version_sha256": "../../../etc/passwd"},
}


@pytest.mark.parametrize("fault", IMPOSSIBLE)
def test_impossible_values_are_refused(path: Path, fault: str) -> None:
    """They would reach SQL, logs and the terminal."""
    about = json.loads(pq.read_table(path).schema.metadata[METADATA_KEY])
    data = with_metadata(path, json.dumps(about | IMPOSSIBLE[fault]))
    with pytest.raises(ResultError, match="is not a result file"):
        decode_result(data, path.name)


@pytest.mark.parametrize("nested", ["[" * 1000 + "]" * 1000, "[" * 10**6, '{"video":' * 5000, "1" * 10**5])
def test_deeply_nested_metadata_is_one_error(path: Path, nested: str) -> None:
    with pytest.raises(ResultError, match="no metadata of the result format"):
        decode_result(with_metadata(path, nested), path.name)


def test_times_and_scores_are_bounded(path: Path) -> None:
    table = pq.read_table(path)
    for name, value in (("t_s", 1e12), ("t_s", -1.0), ("score", 2.0), ("nose_x", 1e30), ("nose_score", -0.5)):
        column = table[name].to_numpy().copy()
        column[-1] = value
        changed = table.set_column(table.column_names.index(name), table.schema.field(name), pa.array(column))
        pq.write_table(changed, path)
        with pytest.raises(ResultError, match=r"is not 0 to|outside of 0 to 1|far outside"):
            read_result(path)
