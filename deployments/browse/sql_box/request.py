"""The query that a process is asked to run, and its failure: between the server and that process."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from models.types import ErrorWithRemedy
from storage.sql.query import QueryLimits

AnswerForm = Literal["rows", "csv", "parquet"]
LIMITS = QueryLimits()  # those of `nightjar sql`
FAILED = 3  # exit status after an error that the user can repair
ERROR_CHARACTERS = 4000


@dataclass(frozen=True)
class QueryRequest:
    """A query and the form of its answer.

    database: its address, with its password: never an argument of a command, which other users can see
    form: `rows` = the first rows as JSON, for the page
    spreadsheet: escape CSV texts that a spreadsheet would compute
    limits: those of `nightjar sql`
    """

    database: str
    sql: str
    form: AnswerForm = "rows"
    spreadsheet: bool = False
    limits: QueryLimits = LIMITS

    def to_line(self) -> bytes:
        """Return the request as one line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "QueryRequest":
        """Return the request of a line."""
        values: dict[str, Any] = json.loads(line)
        return cls(**{**values, "limits": QueryLimits(**values["limits"])})


class QueryFailed(ErrorWithRemedy):
    """The database refused the query, or ended it at a limit."""

    def to_line(self) -> str:
        """Return the error as one line."""
        return json.dumps([self.happened[:ERROR_CHARACTERS], self.remedy[:ERROR_CHARACTERS]]) + "\n"
