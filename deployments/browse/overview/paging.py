"""Pages of long lists, by `?page=` from 0."""

from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request

MOST_PAGES = 100_000


@dataclass(frozen=True)
class Paging:
    """A page of a list. page: from 0; size: rows of a page; rows: of the whole list"""

    page: int
    size: int
    rows: int

    @property
    def first(self) -> int:
        """Number of the first row of the page, from 1."""
        return self.page * self.size + 1

    @property
    def last(self) -> int:
        """Number of its last row."""
        return min(self.first + self.size - 1, self.rows)

    @property
    def has_after(self) -> bool:
        return self.last < self.rows


def asked_page(request: Request) -> int:
    """Return the page of the query, 0 without one. Raises HTTPException 404 for anything but a number."""
    given = request.query_params.get("page") or "0"
    if not (given.isascii() and given.isdigit() and len(given) <= 6 and int(given) < MOST_PAGES):
        raise HTTPException(404)
    return int(given)
