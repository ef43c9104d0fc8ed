"""A segment's result as one Parquet file: the log that SQL can be rebuilt from. No SQL, no store: bytes."""

import dataclasses
import json
import math
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.types import Classifications, NightjarError, Poses, Rows, Segment, SegmentReport, Video
from storage.poses import KEYPOINT_COLUMNS, POSE_COLUMNS, keypoint_matrix, poses_from_columns
from storage.rows import LABEL_COLUMNS, MOST_LABEL_CHARS, check_report, check_rows

FORMAT = 1
METADATA_KEY = b"nightjar"
TYPES = {"frame": pa.int64(), "person": pa.int16(), "t_s": pa.float64(), "label": pa.string()}


def _schema(columns: tuple[str, ...]) -> pa.Schema:
    return pa.schema(
        [pa.field(name, TYPES.get(name, pa.float32()), nullable=name in KEYPOINT_COLUMNS) for name in columns]
    )


SCHEMAS = {Poses: _schema(POSE_COLUMNS), Classifications: _schema(LABEL_COLUMNS)}
# A file of few bytes can claim any number of rows: more people than this in every frame is no result.
MAX_PEOPLE_PER_FRAME = 256

Plain = TypeVar("Plain", Video, SegmentReport)


class ResultError(NightjarError):
    """A file that is no result: what was found, what was expected, the remedy."""


@dataclass(frozen=True, eq=False)
class Result:
    """What one model version saw in one segment."""

    video: Video
    segment: Segment
    version_sha256: str
    rows: Rows
    report: SegmentReport


def encode_result(result: Result) -> bytes:
    """The file; equal results give equal bytes. Raises ValueError where rows or report are not the segment's."""
    _check(result)
    sink = pa.BufferOutputStream()
    table = _table(result)
    texts = [field.name for field in table.schema if field.type == pa.string()]  # a dictionary of floats only costs
    pq.write_table(table, sink, compression="zstd", use_dictionary=texts, write_page_checksum=True)
    return sink.getvalue().to_pybytes()


def decode_result(data: bytes, name: str) -> Result:
    """The result, checked. name: of the file, for errors. Raises ResultError for a truncated, foreign or contradictory
    one."""
    try:
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            result = _parse(file)
        _check(result)
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        found = str(error) or type(error).__name__
        raise ResultError(f"{name}: {found}; expected a result file of Nightjar: do the segment again") from error
    return result


def _check(result: Result) -> None:
    video, segment = result.video, result.segment
    if segment.video_sha256 != video.sha256 or not 0 <= segment.start_frame < segment.stop_frame <= video.frames:
        raise ValueError(f"{segment}, expected frames of the video {video.sha256}, which has {video.frames}")
    check_rows(result.rows, segment)
    check_report(result.report, segment)


def _table(result: Result) -> pa.Table:
    schema = SCHEMAS[type(result.rows)]
    arrays = [_array(values, field) for values, field in zip(_columns(result.rows), schema, strict=True)]
    about = {
        "format": FORMAT,
        "nightjar": _own_version(),
        "video": dataclasses.asdict(result.video),
        "start_frame": result.segment.start_frame,
        "stop_frame": result.segment.stop_frame,
        "version_sha256": result.version_sha256,
        "report": dataclasses.asdict(result.report),
    }
    return pa.table(arrays, schema.with_metadata({METADATA_KEY: json.dumps(about, sort_keys=True)}))


def _array(values: NDArray[Any], field: pa.Field) -> pa.Array:
    """NaN becomes NULL, as in SQL, where the field takes one."""
    if field.type == pa.string():
        return pa.array(values, field.type)
    # pa.array would import pandas for a third of a second, which nothing here needs.
    missing = np.isnan(values) if field.nullable else np.zeros(0, bool)
    there = pa.py_buffer(np.packbits(~missing, bitorder="little")) if missing.any() else None
    return pa.Array.from_buffers(field.type, len(values), [there, pa.py_buffer(np.ascontiguousarray(values))])


@cache
def _own_version() -> str:
    return metadata.version("nightjar")


def _columns(rows: Rows) -> list[NDArray[Any]]:
    if isinstance(rows, Classifications):
        return [rows.frame, rows.label, rows.t_s, rows.scores]
    return [rows.frame, rows.person, rows.t_s, rows.scores, *np.ascontiguousarray(keypoint_matrix(rows).T)]


def _parse(file: pq.ParquetFile) -> Result:
    """Raises KeyError, TypeError or ValueError for what is no result."""
    schema = file.schema_arrow
    about = json.loads((schema.metadata or {}).get(METADATA_KEY, b"null"))
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ValueError(f"no metadata of Nightjar's result format {FORMAT}")
    kind = next((kind for kind, expected in SCHEMAS.items() if schema.equals(expected)), None)
    if kind is None:
        raise ValueError("other columns than a result's")
    video = _plain(Video, about["video"])
    report = about["report"]
    report = _plain(SegmentReport, {**report, "undecodable": tuple(report["undecodable"])})
    start_frame, stop_frame, version_sha256 = about["start_frame"], about["stop_frame"], about["version_sha256"]
    if type(start_frame) is not int or type(stop_frame) is not int or not isinstance(version_sha256, str):
        raise ValueError("frames or a model version of the wrong type")
    segment = Segment(video.sha256, start_frame, stop_frame)
    if file.metadata.num_rows > segment.frames * MAX_PEOPLE_PER_FRAME:
        raise ValueError(f"{file.metadata.num_rows} rows for {segment.frames} frames")
    rows = _read_poses(file) if kind is Poses else _read_labels(file)
    return Result(video, segment, version_sha256, rows, report)


def _plain(kind: type[Plain], raw: dict[str, Any]) -> Plain:
    """A dataclass from JSON, each field of the type that it declares."""
    for field in dataclasses.fields(kind):
        value = raw[field.name]
        ints = field.name == "undecodable" and all(type(number) is int for number in value)
        if not ints and type(value) is not field.type:
            raise ValueError(f"{field.name} is {value!r}, not {field.type}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{field.name} is {value}")
    return kind(**raw)


def _read_poses(file: pq.ParquetFile) -> Poses:
    table = file.read()
    columns: list[NDArray[Any]] = [column.to_numpy() for column in table.columns]
    matrix = np.stack([np.asarray(column, np.float32) for column in columns[4:]], axis=1)
    return poses_from_columns(columns[0], columns[1], columns[2], columns[3], matrix)


def _read_labels(file: pq.ParquetFile) -> Classifications:
    frame, label, t_s, scores = file.read().columns
    if len(label) and (pc.max(pc.utf8_length(label)).as_py() or 0) > MOST_LABEL_CHARS:
        raise ValueError(f"a label of more than {MOST_LABEL_CHARS} characters")
    texts = np.array(label.to_pylist(), np.str_)
    return Classifications(frame.to_numpy(), texts, t_s.to_numpy(), scores.to_numpy())
