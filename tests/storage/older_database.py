"""A database from before the first release, for the tests of its refusal."""

from sqlalchemy import Engine

from storage.sql.database import writing


def make_older(engine: Engine, revision: str) -> None:
    """The first tables of a database of version 0.1.0, and one row."""
    with writing(engine) as connection:
        for statement in (
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)",
            f"INSERT INTO alembic_version VALUES ('{revision}')",
            "CREATE TABLE videos (video_id INTEGER NOT NULL PRIMARY KEY, sha256 TEXT NOT NULL, fps FLOAT NOT NULL)",
            "INSERT INTO videos VALUES (1, 'aa', 25.0)",
            "CREATE VIEW video_summary AS SELECT video_id, sha256 AS video FROM videos",
        ):
            connection.exec_driver_sql(statement)
