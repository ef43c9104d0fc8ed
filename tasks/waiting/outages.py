"""Errors of servers that may answer later. No SQL: edge workers import this."""

from models.types import NightjarError


class ServerAwayError(NightjarError):
    """Prefect's server, or its database, does not answer. It may be starting."""
