"""A short campaign of `make chaos`, and a control whose faults the same checks must find."""

import secrets
import time
from argparse import Namespace
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Engine, text

from storage.sql.database import open_database, writing
from tests.chaos.__main__ import Outcome, run_fleet_batches, run_local_batches, run_undisturbed, sum_up
from tests.chaos.account import ask, compare, read_rows
from tests.chaos.environment import FleetEnvironment, make_archive, set_up
from tests.chaos.parent import NAIVE_TABLE

SEED, KILLS, DECODER_KILLS = 4, 12, 8


@pytest.fixture(scope="module")
def fleet(pg_admin_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetEnvironment]:
    """Two workers, with a new database for Prefect on the tests' own server."""
    name = f"prefect_chaos_{secrets.token_hex(4)}"
    with psycopg.connect(pg_admin_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        url = f"{pg_admin_url.rsplit('/', 1)[0]}/{name}"
        with set_up(tmp_path_factory.mktemp("chaos"), url, workers=2) as fleet:
            yield fleet
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_fleet_loses_and_duplicates_no_row(fleet: FleetEnvironment) -> None:
    outcome = Outcome()
    run_fleet_batches(fleet, Namespace(kills=KILLS, batches=1, videos=2, frames=300, seed=SEED, every_s=3.0), outcome)
    sum_up(fleet, outcome)
    print(outcome.table())
    assert outcome.faults == []
    assert outcome.counts["killed in all"] == KILLS
    assert outcome.counts["attempts beyond the first"], "no kill interrupted a segment"
    assert outcome.counts["calls of the store"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_local_night_with_killed_decoders_loses_no_row(fleet: FleetEnvironment) -> None:
    outcome = Outcome()
    drawn = Namespace(decoder_kills=DECODER_KILLS, decoder_every_s=0.8, videos=2, frames=200, seed=SEED)
    run_local_batches(fleet, drawn, outcome)
    print(outcome.table())
    assert outcome.faults == []
    assert outcome.counts["decoders killed in local batches"] == DECODER_KILLS
    assert outcome.compared, "no row was compared with the undisturbed run's"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_inserting_before_marking_duplicates_rows(fleet: FleetEnvironment) -> None:
    """Control: the same fleet with a naive loader. If its account were right, the test above would prove nothing."""
    archives = fleet.folder / "archives"
    archive = make_archive(archives / "naive", 90, videos=1, frames=150)
    run_undisturbed(fleet, archives)
    engine = open_database(fleet.database.url)
    with writing(engine) as connection:
        connection.execute(text(f"CREATE TABLE {NAIVE_TABLE} AS SELECT * FROM poses WHERE false"))
    for worker in fleet.workers:
        worker.start()
    parent = fleet.parent(archive, "--naive")
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
    with_truth = open_database(f"sqlite:///{fleet.folder}/truth/nightjar.db")
    difference = compare(read_rows(engine, "cam-90-", NAIVE_TABLE), read_rows(with_truth, "cam-90-"))
    engine.dispose()
    assert difference.double > 0, difference


def _await_more_rows(engine: Engine) -> None:
    """Wait for rows that are inserted and not yet marked."""
    count = f"SELECT count(*) FROM {NAIVE_TABLE}"
    before, deadline = ask(engine, count), time.monotonic() + 240
    while ask(engine, count) == before:
        assert time.monotonic() < deadline, "No row was loaded"
        time.sleep(0.02)
