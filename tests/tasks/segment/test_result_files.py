"""Result files from an untrusted store: bounded, opened in a child process, refused with one error."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.types import Rows, Segment
from storage.objects.artifacts import FolderArtifacts
from storage.objects.places import ObjectError
from storage.parquet import METADATA_KEY, RESULT_LIMIT_BYTES, Result, ResultError, encode_result
from tasks.benchmark import machine
from tasks.segment.result_files import ResultReader, fetch
from tests.storage.samples import assert_same, make_labels, make_poses, make_report, make_video

VIDEO = make_video(frames=100)
SEGMENT = Segment(VIDEO.sha256, 0, 60)


@pytest.fixture(scope="module")
def reader() -> Iterator[ResultReader]:
    with ResultReader() as reader:
        yield reader


@pytest.mark.parametrize(
    "rows", [make_poses(0, 60), make_poses(0, 60, people=0), make_labels(0, 60), make_labels(0, 0)]
)
def test_a_result_read_by_a_child_is_the_same(reader: ResultReader, rows: Rows) -> None:
    result = Result(VIDEO, SEGMENT, "1" * 64, rows, make_report(60))
    found = reader.read(encode_result(result), "result")
    assert_same(found.rows, result.rows)
    assert (found.video, found.segment, found.report) == (VIDEO, SEGMENT, result.report)


def bomb(label: str) -> bytes:
    """A classifier's result that repeats one long label in every row, which costs no bytes in a dictionary."""
    result = Result(VIDEO, SEGMENT, "1" * 64, make_labels(0, 60), make_report(60))
    table = pq.read_table(pa.BufferReader(encode_result(result)))
    repeated = pa.DictionaryArray.from_arrays(pa.array([0] * 60, pa.int32()), pa.array([label]))
    field = pa.field("label", repeated.type, nullable=False)
    table, sink = table.set_column(1, field, repeated), pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, compression="zstd", store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({METADATA_KEY: table.schema.metadata[METADATA_KEY]})
    return sink.getvalue().to_pybytes()


def test_a_compression_bomb_takes_no_memory(reader: ResultReader) -> None:
    data = bomb("x" * 15_000_000)
    assert len(data) < 50_000, "60 rows of it would be 3.6 GB of numpy texts"
    machine.reset_peak_memory()
    before = machine.peak_memory_bytes()
    with pytest.raises(ResultError, match="a label of more than 200 characters"):
        reader.read(data, "bomb")
    assert machine.peak_memory_bytes() - before < 50_000_000
    good = Result(VIDEO, SEGMENT, "1" * 64, make_poses(0, 60), make_report(60))
    assert reader.read(encode_result(good), "next").segment == SEGMENT


def test_an_oversized_object_is_not_read(tmp_path: Path, reader: ResultReader) -> None:
    with (tmp_path / "large.parquet").open("wb") as file:
        file.truncate(RESULT_LIMIT_BYTES + 1)
    with pytest.raises(ObjectError, match="at most"):
        fetch(FolderArtifacts(tmp_path), reader, "large.parquet")


def test_an_invalid_footer_affects_at_most_the_child(reader: ResultReader) -> None:
    for text in ("[" * 1000, "null", "{}", '{"format": 1}', "\ud7ff" * 1000):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"x": [1]}).replace_schema_metadata({METADATA_KEY: text}), sink)
        with pytest.raises(ResultError, match="is not a result file"):
            reader.read(sink.getvalue().to_pybytes(), "nonsense")
