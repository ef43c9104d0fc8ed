"""The section [[zones]]: shapes that are refused, each with the reason, and periods in the camera's time zone."""

from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.types import CameraZone
from tasks.site_file.load import SiteFileError, parse_site_file
from tasks.site_file.zones import zones_of

BED = "[[0.1, 0.5], [0.4, 0.5], [0.4, 0.9], [0.1, 0.9]]"
PATH = Path("nightjar.toml")


def zone(shape: str, more: str = "", name: str = "bed") -> str:
    return f"[[zones]]\ncamera = 'room'\nname = '{name}'\n{shape}\n{more}\n"


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ("polygon = [[0.1, 0.1], [0.5, 0.5]]", "polygon: it has 2 points. Give 3 to 100."),
        ("line = [[0.1, 0.1]]", "line: it has 1 points. Give 2 to 100."),
        (f"polygon = {[[n / 200, n * n / 40000] for n in range(101)]}", "polygon: it has 101 points."),
        ("polygon = [[0.1, 0.1], [1.5, 0.5], [0.1, 0.9]]", "the point [1.5, 0.5] lies outside of the picture."),
        ("polygon = [[320, 240], [400, 240], [400, 400]]", "the point [320, 240] lies outside of the picture."),
        ("line = [[0.1, 0.1], [0.5, -0.01]]", "the point [0.5, -0.01] lies outside of the picture."),
        ("line = [[0.1, 0.1], [0.1, 0.1]]", "the point [0.1, 0.1] is repeated."),
        ("polygon = [[0, 0], [1, 0], [1, 0], [0, 1]]", "the point [1, 0] is repeated."),
        ("polygon = [[0, 0], [1, 1], [1, 0], [0, 1]]", "the edges from [0, 0] and from [1, 0] meet."),
        ("polygon = [[0, 0], [0.5, 0], [1, 0]]", "meet."),  # no area
        ("polygon = [[0, 0], [1, 0], [0.5, 0], [0, 1]]", "the edges from [0, 0] and from [1, 0] meet."),  # back
        ("polygon = [[0, 0], [1, 0], [1, 1], [0.5, 0], [0, 1]]", "meet."),  # a corner touches an edge
        ("", "it needs either a polygon or a line."),
        (f"polygon = {BED}\nline = [[0, 0], [1, 1]]", "it needs either a polygon or a line."),
        (f"polgon = {BED}", "the key 'polgon' is not known. Did you mean 'polygon'?"),
        ("polygon = [[0.1, 0.5, 0.3], [0.4, 0.5], [0.4, 0.9]]", "polygon[0]: tuple should have at most 2 items"),
        ("polygon = [[0.1, nan], [0.4, 0.5], [0.4, 0.9]]", "polygon[0][1]: input should be a finite number."),
    ],
)
def test_a_wrong_shape_is_refused_with_the_reason(shape: str, told: str) -> None:
    with pytest.raises(SiteFileError) as error:
        parse_site_file(PATH, zone(shape))
    assert told in str(error.value)


def test_a_polygon_may_repeat_its_first_point_at_the_end() -> None:
    closed = BED[:-1] + ", [0.1, 0.5]]"
    found = parse_site_file(PATH, zone(f"polygon = {closed}"))
    assert found.zones[0].polygon == ((0.1, 0.5), (0.4, 0.5), (0.4, 0.9), (0.1, 0.9))


def test_a_zone_that_is_given_twice_is_refused() -> None:
    with pytest.raises(SiteFileError, match="'bed' of 'room' is given twice without a 'from'"):
        parse_site_file(PATH, zone(f"polygon = {BED}") * 2)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=7, unique=True))
def test_a_polygon_is_accepted_exactly_if_no_two_edges_meet(corners: list[tuple[int, int]]) -> None:
    """The oracle is exact."""
    text = zone(f"polygon = {[[x / 6, y / 6] for x, y in corners]}")
    edges = list(zip(corners, [*corners[1:], corners[0]], strict=True))
    simple = not any(meet(edges[i], edges[j]) for i in range(len(edges)) for j in range(i))
    try:
        parse_site_file(PATH, text)
    except SiteFileError:
        assert not simple
    else:
        assert simple


def meet(first: tuple, second: tuple) -> bool:
    """Return whether two edges meet elsewhere than at a common corner, by rational arithmetic."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = *first, *second
    turn = (bx - ax) * (dy - cy) - (by - ay) * (dx - cx)
    common = {*first} & {*second}
    if turn == 0:
        if (bx - ax) * (cy - ay) - (by - ay) * (cx - ax):
            return False
        (low, high), (other_low, other_high) = sorted(first), sorted(second)
        start, end = max(low, other_low), min(high, other_high)
        return start < end or (start == end and not common)
    on_first = Fraction((cx - ax) * (dy - cy) - (cy - ay) * (dx - cx), turn)
    on_second = Fraction((cx - ax) * (by - ay) - (cy - ay) * (bx - ax), turn)
    return 0 <= on_first <= 1 and 0 <= on_second <= 1 and not common


def test_periods_follow_each_other_in_the_cameras_time_zone() -> None:
    """The second entry begins in winter, the third in summer, and the fourth says its offset."""
    text = "".join(
        zone(f"polygon = {BED}", begins)
        for begins in ("from = 2026-07-01T00:00:00", "", "from = 2026-01-01", "from = 2027-01-01T00:00:00-05:00")
    )
    text += zone("line = [[0, 0], [1, 1]]", "kind = 'door'", name="a gate") + zone(f"polygon = {BED}").replace(
        "room", "b"
    )
    found = zones_of(parse_site_file(PATH, text).zones, "room", "Europe/Berlin")
    winter, summer = datetime(2025, 12, 31, 23, tzinfo=UTC), datetime(2026, 6, 30, 22, tzinfo=UTC)
    offset = datetime(2027, 1, 1, 5, tzinfo=UTC)
    assert found[0] == CameraZone("a gate", "door", "line", ((0, 0), (1, 1)))
    assert [(each.valid_from, each.valid_to) for each in found[1:]] == [
        (None, winter),
        (winter, summer),
        (summer, offset),
        (offset, None),
    ]
    assert zones_of(parse_site_file(PATH, text).zones, None, "UTC") == ()
