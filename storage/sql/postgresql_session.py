"""Settings of a PostgreSQL transaction, so that neither a role's defaults nor a pooler's other clients affect rows.

They are set at the start of each transaction and end with it. A SET for the session would last only until a pooler in
transaction mode, such as PgBouncer, gives the next transaction another connection, and would leak to its next user.
"""

from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, text

ENCODING = "UTF8"
# Formats that psycopg parses, exact numbers, one clock, and time limits that are ours to set.
SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "standard_conforming_strings": "on",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "transform_null_equals": "off",
    "row_security": "on",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
_SET_ALL = "".join(f"; SET LOCAL {name} = '{value}'" for name, value in SETTINGS.items())


class Server(NamedTuple):
    """The database as found when it was opened.

    encoding: of its text; schemas: those of the role's own search path; tables_in: schemas with Nightjar's tables,
    those of the search path first; superuser: whether the role may do everything
    """

    encoding: str
    schemas: list[str]
    tables_in: list[str]
    superuser: bool


FIND_SERVER = text("""
SELECT pg_encoding_to_char(d.encoding), CAST(current_schemas(false) AS text[]),
       ARRAY(
           SELECT CAST(n.nspname AS text)
           FROM pg_namespace AS n
           WHERE has_schema_privilege(n.oid, 'USAGE') AND 2 = (
               SELECT count(*) FROM pg_class AS c
               WHERE c.relnamespace = n.oid AND c.relname IN ('alembic_version', 'model_versions')
           )
           ORDER BY array_position(current_schemas(false), n.nspname) NULLS LAST, n.nspname
       ),
       r.rolsuper
FROM pg_database AS d, pg_roles AS r
WHERE d.datname = current_database() AND r.rolname = current_user
""")


@dataclass
class PostgresqlSession:
    """Settings of an engine's transactions. Until the server is known, the search path is the role's own."""

    search_path: str = "DEFAULT"
    superuser: bool = False

    def begin(self, *, only_reads: bool) -> str:
        """Return the statements at the start of a transaction, which are sent to the server together."""
        mode = "READ ONLY" if only_reads else "READ WRITE"
        isolation = f"SET TRANSACTION ISOLATION LEVEL READ COMMITTED, {mode}, NOT DEFERRABLE"
        return f"{isolation}; SET LOCAL search_path = {self.search_path}{_SET_ALL}"

    def settle(self, connection: Connection) -> Server:
        """Examine the server, and from then on find Nightjar's tables before others of the same names."""
        server = Server(*connection.execute(FIND_SERVER).one())
        first = (server.tables_in or server.schemas or ["public"])[0]
        # Temporary tables last, which otherwise come first.
        path = [first, *(name for name in server.schemas if name != first), "pg_temp"]
        self.search_path = ", ".join(map(_quoted, path))
        self.superuser = server.superuser
        return server


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
