"""Addresses of rows, and the documents from which ready queries and columns come."""

import re
from pathlib import Path

import pytest

from storage.sql.tables import metadata
from storage.sql.views import view_queries
from tasks.browse.documents import documented_tables, ready_queries
from tasks.browse.row_links import RowLinks

SHA = "ab" * 32


@pytest.mark.parametrize(
    ("columns", "row", "path"),
    [
        (["video", "frame"], ["a b&c.mp4", 7], "/open?video=a%20b%26c.mp4&frame=7"),
        (["VIDEO_ID", "Frame", "track"], [3, 7, 2], "/open?video_id=3&frame=7&track=2"),
        (["video", "video_id", "t_s"], ["a", 3, 1 / 3], "/open?video_id=3&t_s=0.3333333333333333"),
        (["video", "from_s", "to_s"], ["a", 2, 3.5], "/open?video=a&t_s=2.0"),
        (["sha256", "start_frame"], [SHA, 20], f"/open?sha256={SHA}&frame=20"),
        (["video_id", "peak_video_id", "peak_frame", "from_s"], [3, 4, 9, 1.0], "/open?video_id=4&frame=9"),
        (["video", "peak_s"], ["a", 9.5], "/open?video=a&peak_s=9.5"),
        (["last_video", "last_s"], ["b", 9.5], "/open?video=b&t_s=9.5"),
        (["video", "count"], ["a", 9], "/open?video=a"),
        (["video", "second"], ["a", 9], "/open?video=a&t_s=9.0"),
        (["video_id", "frame", "model_version_id"], [3, 7, 2], "/open?video_id=3&frame=7&model=2"),
        (["video", "frame", "from_s"], ["a", None, 1.0], "/open?video=a&t_s=1.0"),
        (["video", "frame"], ["a", -1], "/open?video=a"),
        (["video", "t_s"], ["a", float("nan")], "/open?video=a"),
        (["video", "frame"], [None, 7], None),
        (["video", "frame"], ["", 7], None),
        (["frame", "t_s"], [7, 1.0], None),
        (["video_id", "frame"], [True, 7], None),
        (["video_id", "video_id", "frame"], [3, 4, 7], None),
        (["video_id", "video_id", "frame"], [3, 3, 7], "/open?video_id=3&frame=7"),
        (["sha256", "picture"], [SHA, "cat.jpg"], None),
        (["sha256", "score"], ["no hash", 1], None),
    ],
)  # fmt: skip
def test_rows_with_a_video_link_to_their_place(columns: list[str], row: list[object], path: str | None) -> None:
    assert RowLinks(columns, "SELECT …").of_row(row) == path


def test_seconds_of_a_recording_are_no_place_in_a_video() -> None:
    links = RowLinks(["video_id", "from_s"], "SELECT video_id, from_s FROM Event_Rows")
    assert links.of_row([3, 700.0]) == "/open?video_id=3"
    whole = RowLinks(["video_id", "from_s", "peak_video_id", "peak_frame"], "SELECT * FROM event_rows")
    assert whole.of_row([3, 700.0, 4, 12]) == "/open?video_id=4&frame=12"
    assert RowLinks(["video", "entered_s"], "SELECT * FROM zone_visits").of_row(["a", 7]) == "/open?video=a&t_s=7.0"


def test_cells_link_to_what_they_name() -> None:
    links = RowLinks(["event_key", "batch_id", "recording_id", "note"], "")
    found = [links.of_cell(place, value) for place, value in enumerate(["a&b", 3, True, "x"])]
    assert found == ["/events?event=a%26b", "/night/3", None, None]


def test_the_ready_queries_are_those_of_the_document() -> None:
    document = (Path(__file__).parents[3] / "docs/queries.md").read_text()
    assert [query.sql for query in ready_queries()] == re.findall(r"```sql\n(.*?)\n```", document, re.DOTALL)
    assert all(query.question.endswith("?") and len(query.question) < 140 for query in ready_queries())
    assert not any("](" in query.note for query in ready_queries())


def test_all_views_and_tables_are_listed_with_their_columns() -> None:
    found = {table.name: {name for names, _ in table.columns for name in names} for table in documented_tables()}
    assert found.keys() == metadata.tables.keys() | view_queries("sqlite").keys()
    assert all(found[name] == set(table.columns.keys()) for name, table in metadata.tables.items())
    assert {table.name for table in documented_tables() if table.is_view} == view_queries("sqlite").keys()
    assert all(table.about for table in documented_tables())
