"""State of the pages: the site with a read-only database, and how requests are checked."""

from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import HTTPConnection

from storage.sql.database import Database
from tasks.site.settings import prefect_ui_url
from tasks.site.site import Site


@dataclass(frozen=True)
class Browse:
    """The site whose rows the pages show.

    site: its database cannot be written to
    marks: a database in which only event marks are written; None = marking is off
    password: `user:password` that every request must carry; None = none, on loopback only
    hosts: names of this server that requests may use, without ports; () = any, behind a password
    prefect: returns the address of Prefect's pages, None if it is not known
    """

    site: Site
    marks: Database | None = None
    password: str | None = None
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    prefect: Callable[[], str | None] = prefect_ui_url


def browse_of(connection: HTTPConnection) -> Browse:
    """Return the state of the application that answers a request."""
    state = connection.app.state.browse
    assert isinstance(state, Browse)
    return state
