"""A short draw of `make chaos`, and the control that the same account must catch."""

import secrets
import time
from argparse import Namespace
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Engine, text

from storage.sql.database import open_database, writing
from tests.chaos.__main__ import Tale, local_storm_of, run_undisturbed, storm_of, sum_up
from tests.chaos.account import ask, compare, read_rows
from tests.chaos.parent import NAIVE_TABLE
from tests.chaos.stage import Stage, make_archive, set_up

SEED, KILLS, DECODER_KILLS = 4, 12, 8


@pytest.fixture(scope="module")
def stage(pg_admin_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Two workers; Prefect's database is a new one of the tests' own server."""
    name = f"prefect_chaos_{secrets.token_hex(4)}"
    with psycopg.connect(pg_admin_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        url = f"{pg_admin_url.rsplit('/', 1)[0]}/{name}"
        with set_up(tmp_path_factory.mktemp("chaos"), url, workers=2) as stage:
            yield stage
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_lost_or_counted_twice_by_a_fleet_that_is_killed(stage: Stage) -> None:
    tale = Tale()
    storm_of(stage, Namespace(kills=KILLS, batches=1, videos=2, frames=300, seed=SEED, every_s=3.0), tale)
    sum_up(stage, tale)
    print(tale.table())
    assert tale.faults == []
    assert tale.counts["killed in all"] == KILLS
    assert tale.counts["attempts beyond the first"], "the kills did interrupt segments"
    assert tale.counts["calls of the store"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_is_lost_by_a_local_night_whose_decoders_are_killed(stage: Stage) -> None:
    tale = Tale()
    drawn = Namespace(decoder_kills=DECODER_KILLS, decoder_every_s=0.8, videos=2, frames=200, seed=SEED)
    local_storm_of(stage, drawn, tale)
    print(tale.table())
    assert tale.faults == []
    assert tale.counts["decoders killed in local nights"] == DECODER_KILLS
    assert tale.compared, "rows were compared with the undisturbed run's"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_rows_first_and_then_the_mark_counts_twice(stage: Stage) -> None:
    """The control: the same fleet with the usual loader. If its account were right, the test above proved nothing."""
    archives = stage.folder / "archives"
    archive = make_archive(archives / "naive", 90, videos=1, frames=150)
    run_undisturbed(stage, archives)
    engine = open_database(stage.database.url)
    with writing(engine) as connection:
        connection.execute(text(f"CREATE TABLE {NAIVE_TABLE} AS SELECT * FROM poses WHERE false"))
    for worker in stage.workers:
        worker.start()
    parent = stage.parent(archive, "--naive")
    parent.start()
    try:
        for _ in range(2):
            _await_more_rows(engine)
            parent.kill()
            parent.start()
        assert parent.process is not None
        parent.process.wait(300)
    finally:
        parent.end()
    with_truth = open_database(f"sqlite:///{stage.folder}/truth/nightjar.db")
    difference = compare(read_rows(engine, "cam-90-", NAIVE_TABLE), read_rows(with_truth, "cam-90-"))
    engine.dispose()
    assert difference.double > 0, difference


def _await_more_rows(engine: Engine) -> None:
    """Just entered and not yet marked."""
    count = f"SELECT count(*) FROM {NAIVE_TABLE}"
    before, deadline = ask(engine, count), time.monotonic() + 240
    while ask(engine, count) == before:
        assert time.monotonic() < deadline, "nothing was loaded"
        time.sleep(0.02)
