"""Values that a database refuses are distinguished from a database that is down."""

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
def test_refused_values_are_not_an_outage(engine: Engine, changed: dict[str, object]) -> None:
    planned_batch(engine, VIDEO)
    with pytest.raises(DataRefusedError), writing(engine) as connection:
        connection.execute(insert(videos).values(**{**ROW, **changed}, probed_at=text("CURRENT_TIMESTAMP")))


def test_postgresql_refuses_a_nul(pg_migrated_url: str) -> None:
    from storage.sql.database import open_database

    engine = open_database(pg_migrated_url)
    with pytest.raises(DataRefusedError), writing(engine) as connection:
        connection.execute(insert(videos).values(**{**ROW, "codec": "h\0"}, probed_at=text("CURRENT_TIMESTAMP")))
    engine.dispose()


def test_an_invalid_statement_is_not_a_refusal_of_data(engine: Engine) -> None:
    with pytest.raises(DatabaseError) as caught, writing(engine) as connection:
        connection.execute(text("SELECT nonsense FROM nowhere"))
    assert not isinstance(caught.value, DataRefusedError)
