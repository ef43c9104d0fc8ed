"""Values that a database refuses are told apart from a database that is away."""

import pytest
from sqlalchemy import Engine, insert, text

from storage.sql.database import DatabaseError, DataRefusedError, writing
from storage.sql.tables import videos
from tests.storage.ledger.test_commit import VIDEO
from tests.storage.samples import planned_batch

ROW = {
    "sha256": "c" * 64,
    "size_bytes": 1,
    "container": "mov",
    "codec": "h264",
    "width": 1,
    "height": 1,
    "rotation": 0,
    "frames": 1,
    "fps": 1.0,
    "duration_s": 1.0,
}


@pytest.mark.parametrize("changed", [{"width": 2**70}, {"frames": -1}, {"container": None}, {"sha256": "a" * 64}])
def test_values_are_refused_and_the_database_is_not_away(engine: Engine, changed: dict[str, object]) -> None:
    planned_batch(engine, VIDEO)
    with pytest.raises(DataRefusedError), writing(engine) as connection:
        connection.execute(insert(videos).values(**{**ROW, **changed}, probed_at=text("CURRENT_TIMESTAMP")))


def test_a_nul_is_refused_by_postgresql(pg_migrated_url: str) -> None:
    from storage.sql.database import open_database

    engine = open_database(pg_migrated_url)
    with pytest.raises(DataRefusedError), writing(engine) as connection:
        connection.execute(insert(videos).values(**{**ROW, "codec": "h\0"}, probed_at=text("CURRENT_TIMESTAMP")))
    engine.dispose()


def test_a_statement_that_cannot_be_read_is_not_a_refusal_of_data(engine: Engine) -> None:
    with pytest.raises(DatabaseError) as caught, writing(engine) as connection:
        connection.execute(text("SELECT nonsense FROM nowhere"))
    assert not isinstance(caught.value, DataRefusedError)
