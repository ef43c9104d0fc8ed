"""A segment's result as one Parquet file: the log from which SQL can be rebuilt. Bytes only: no SQL, no store.

Reading has two halves, because a file from a store cannot be trusted. `result_record` opens it, which belongs into a
sandbox's child. `from_record` checks the record, and trusts neither the file nor the child.
"""

import json
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic_core import from_json

from models.types import Classifications, NightjarError, Poses, Rows, Segment, SegmentReport, Video
from storage.rows import (
    KEYPOINT_COLUMNS,
    LABEL_COLUMNS,
    MOST_LABEL_CHARS,
    MOST_PEOPLE_PER_FRAME,
    POSE_COLUMNS,
    REGION_COLUMNS,
    check_inside,
    check_report,
    check_rows,
    check_video,
    keypoint_matrix,
    poses_from_columns,
)
from storage.video.geometry import check_geometry

FORMAT = 1
METADATA_KEY = b"nightjar"
TYPES = {"frame": pa.int64(), "person": pa.int16(), "t_s": pa.float64(), "label": pa.string()}
TYPES |= dict.fromkeys(REGION_COLUMNS, pa.int32())

# Limits of a file, checked before anything of it is unpacked. An hour at 60 frames/s with five people is 160 MB.
RESULT_LIMIT_BYTES = 512 << 20
METADATA_LIMIT_BYTES = 16 << 20  # of a segment all of whose frames are undecodable, some 2 MB
MOST_ROW_GROUPS = 1024
MOST_LABELS = 10_000
LABELS_LIMIT_BYTES = 256 << 20
ROW_LIMIT_BYTES = 512  # a row of poses has 226 bytes uncompressed


def _schema(columns: tuple[str, ...]) -> pa.Schema:
    return pa.schema(
        [pa.field(name, TYPES.get(name, pa.float32()), nullable=name in KEYPOINT_COLUMNS) for name in columns]
    )


POSE_SCHEMA, LABEL_SCHEMA = _schema(POSE_COLUMNS), _schema(LABEL_COLUMNS)
REGION_SCHEMA = _schema((*LABEL_COLUMNS, *REGION_COLUMNS))  # of a classifier that looks at regions


class ResultError(NightjarError):
    """A file that is not a result, or not the expected one."""


@dataclass(frozen=True, eq=False)
class Result:
    """Result of one model version for one segment."""

    video: Video
    segment: Segment
    version_sha256: str
    rows: Rows
    report: SegmentReport


class _About(BaseModel):
    """The metadata of a result file. Parsed by pydantic, whose JSON parser bounds the nesting."""

    model_config = ConfigDict(strict=True, frozen=True)

    format: Literal[1]
    video: Video
    start_frame: int
    stop_frame: int
    version_sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    report: SegmentReport

    @property
    def segment(self) -> Segment:
        return Segment(self.video.sha256, self.start_frame, self.stop_frame)


def encode_result(result: Result) -> bytes:
    """Encode a result. Equal results give equal bytes. Raises ValueError where a part is not the segment's."""
    _check(result)
    sink = pa.BufferOutputStream()
    table = _table(result)
    texts = [field.name for field in table.schema if field.type == pa.string()]  # for floats a dictionary saves nothing
    pq.write_table(table, sink, compression="zstd", use_dictionary=texts, write_page_checksum=True)
    return bytes(sink.getvalue().to_pybytes())


def decode_result(data: bytes, name: str) -> Result:
    """Return the result in a file that this process wrote itself; for one from a store use `result_files`.

    name: of the file, for errors. Raises ResultError for a truncated, foreign or contradictory file.
    """
    try:
        record = result_record(data)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise refusal(name, error) from error
    return from_record(record, name)


def refusal(name: str, error: Exception) -> ResultError:
    """Return the error for a file that is not a result, with the cause on one line."""
    found = (str(error).splitlines() or [type(error).__name__])[0][:500]
    return ResultError(f"{name} is not a result file of Nightjar ({found.rstrip('.')}). Do the segment again.")


def result_record(data: bytes) -> dict[str, Any]:
    """Open a result file: {"about": its metadata as JSON, "labels": list of str or None, "columns": list of arrays}.

    labels: of a classifier's file; its second column then holds indices into them.
    Meant for a sandbox's child. Raises OSError, ArrowException or ValueError for any other file, and MemoryError.
    """
    if len(data) > RESULT_LIMIT_BYTES:
        raise ValueError(f"It has {len(data):,} bytes, more than {RESULT_LIMIT_BYTES:,}.")
    with _opened(data) as file:
        text = (file.metadata.metadata or {}).get(METADATA_KEY, b"null")
        kind = _check_shape(file, _parse_about(text))
        if kind is Poses:
            return {"about": text.decode(), "labels": None, "columns": [_numbers(each) for each in file.read().columns]}
    with _opened(data, read_dictionary=["label"]) as file:  # each distinct label once, however often it is repeated
        frame, label, *others = file.read().columns
        labels, codes = _unpack_labels(label)
        columns = [_numbers(frame), codes, *map(_numbers, others)]
        return {"about": text.decode(), "labels": labels, "columns": columns}


def _opened(data: bytes, **options: Any) -> pq.ParquetFile:
    return pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True, **options)


def _parse_about(text: bytes | str) -> _About:
    if len(text) > METADATA_LIMIT_BYTES:
        raise ValueError(f"Its metadata has {len(text):,} bytes, more than {METADATA_LIMIT_BYTES:,}.")
    try:
        return _About.model_validate_json(_with_stored_size(text), strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(
            f"It has no metadata of the result format {FORMAT} ({where or 'JSON'}: {first['msg']})."
        ) from None


def _with_stored_size(text: bytes | str) -> bytes:
    """Add the stored size to the metadata of earlier versions, which know only rotations.

    JSON to JSON, because the strict model accepts an array for a tuple only in JSON.
    """
    data = text.encode() if isinstance(text, str) else text
    if b'"stored_width"' in data:
        return data
    try:
        about = from_json(data)
    except ValueError:
        return data  # the model reports the fault
    video = about.get("video") if isinstance(about, dict) else None
    if not isinstance(video, dict):
        return data
    sides = [video.get("width"), video.get("height")]
    if video.get("rotation") in (90, 270):
        sides.reverse()
    video["stored_width"], video["stored_height"] = sides
    return json.dumps(about).encode()


def _check_shape(file: pq.ParquetFile, about: _About) -> type[Poses] | type[Classifications]:
    """Return the kind of rows. Raises ValueError unless columns, rows and sizes can be a result of this segment."""
    if not any(file.schema_arrow.equals(expected) for expected in (POSE_SCHEMA, LABEL_SCHEMA, REGION_SCHEMA)):
        raise ValueError("Its columns are not a result's.")
    kind = Poses if file.schema_arrow.equals(POSE_SCHEMA) else Classifications
    frames, rows = about.stop_frame - about.start_frame, file.metadata.num_rows
    if rows > frames * (MOST_PEOPLE_PER_FRAME if kind is Poses else 1):
        raise ValueError(f"It has {rows} rows for {frames} frames.")
    groups = file.metadata.num_row_groups
    if groups > MOST_ROW_GROUPS:
        raise ValueError(f"It has {groups} row groups, more than {MOST_ROW_GROUPS}.")
    size = sum(file.metadata.row_group(number).total_byte_size for number in range(groups))
    if size > (rows + groups) * ROW_LIMIT_BYTES + METADATA_LIMIT_BYTES:
        raise ValueError(f"It has {size} bytes in {rows} rows.")
    return kind


def _unpack_labels(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int32]]:
    """Return the distinct labels and, for each row, the index of its own."""
    if column.null_count:
        raise ValueError("It has rows without a label.")
    array = column.unify_dictionaries().combine_chunks() if column.num_chunks else pa.array([], column.type)
    texts = array.dictionary
    if len(texts) > MOST_LABELS:
        raise ValueError(f"It has {len(texts)} different labels, more than {MOST_LABELS}.")
    if len(texts) and (pc.max(pc.utf8_length(texts)).as_py() or 0) > MOST_LABEL_CHARS:
        raise ValueError(f"It has a label of more than {MOST_LABEL_CHARS} characters.")
    return [str(text) for text in texts.to_pylist()], np.asarray(array.indices.to_numpy(zero_copy_only=False), np.int32)


def _numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    """Return the column as an array. NULL becomes NaN, which only a column of floats can hold."""
    if column.null_count and not pa.types.is_floating(column.type):
        raise ValueError("It has rows without a number.")
    return np.asarray(column.to_numpy())


def from_record(record: Any, name: str) -> Result:
    """Check a record of `result_record` that may be forged. Raises ResultError where anything in it is wrong."""
    try:
        about = _parse_about(str(record["about"]))
        rows = _rows(record["labels"], record["columns"])
        result = Result(about.video, about.segment, about.version_sha256, rows, about.report)
        _check(result)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise refusal(name, error) from error
    return result


def _rows(labels: list[str] | None, columns: list[NDArray[Any]]) -> Rows:
    if labels is None:
        frame, person, t_s, scores, *keypoints = columns
        matrix = np.stack([np.asarray(column, np.float32) for column in keypoints], axis=1)
        return poses_from_columns(frame, person, t_s, scores, matrix)
    frame, codes, t_s, scores, *regions = columns
    texts = np.array([*labels, ""], np.str_)[: len(labels)]
    if len(codes) and (codes.min() < 0 or codes.max() >= len(labels)):
        raise ValueError("It refers to labels that are not in the file.")
    if len(codes) * texts.dtype.itemsize > LABELS_LIMIT_BYTES:
        raise ValueError(f"It has {len(codes)} labels of up to {texts.dtype.itemsize // 4} characters.")
    return Classifications(frame, texts[codes], t_s, scores, np.stack(regions, axis=1) if regions else None)


def _check(result: Result) -> None:
    video, segment = result.video, result.segment
    if segment.video_sha256 != video.sha256 or not 0 <= segment.start_frame < segment.stop_frame <= video.frames:
        raise ValueError(f"{segment} is not of the video {video.sha256} with its {video.frames} frames.")
    check_video(video)
    check_geometry(video)
    check_rows(result.rows, segment)
    check_inside(result.rows, video)
    check_report(result.report, segment)


def _table(result: Result) -> pa.Table:
    schema = _schema_of(result.rows)
    arrays = [_array(values, field) for values, field in zip(_columns(result.rows), schema, strict=True)]
    about = {
        "format": FORMAT,
        "nightjar": _own_version(),
        "video": asdict(result.video),
        "start_frame": result.segment.start_frame,
        "stop_frame": result.segment.stop_frame,
        "version_sha256": result.version_sha256,
        "report": asdict(result.report),
    }
    return pa.table(arrays, schema.with_metadata({METADATA_KEY: json.dumps(about, sort_keys=True)}))


def _schema_of(rows: Rows) -> pa.Schema:
    if isinstance(rows, Poses):
        return POSE_SCHEMA
    return LABEL_SCHEMA if rows.regions is None else REGION_SCHEMA


def _array(values: NDArray[Any], field: pa.Field) -> pa.Array:
    """Convert to an Arrow array, with NULL for NaN, as in SQL, where the field takes one."""
    if field.type == pa.string():
        return pa.array(values, field.type)
    # pa.array would import pandas, which takes a third of a second.
    missing = np.isnan(values) if field.nullable else np.zeros(0, bool)
    there = pa.py_buffer(np.packbits(~missing, bitorder="little")) if missing.any() else None
    return pa.Array.from_buffers(field.type, len(values), [there, pa.py_buffer(np.ascontiguousarray(values))])


@cache
def _own_version() -> str:
    return metadata.version("nightjar")


def _columns(rows: Rows) -> list[NDArray[Any]]:
    if isinstance(rows, Classifications):
        regions = () if rows.regions is None else np.ascontiguousarray(rows.regions.T)
        return [rows.frame, rows.label, rows.t_s, rows.scores, *regions]
    return [rows.frame, rows.person, rows.t_s, rows.scores, *np.ascontiguousarray(keypoint_matrix(rows).T)]
