"""Waiting during outages: logged at once, bounded, and never for permanent errors."""

import time
from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy import make_url

from models.types import NightjarError
from storage.objects.places import CallFailedError, ObjectError, StoreError, UnreachableError
from storage.objects.s3 import Bucket, S3Options
from storage.sql.database import DatabaseAwayError, DatabaseError, DataRefusedError, explain, open_database
from tasks.waiting import retry
from tasks.waiting.outages import ServerAwayError
from tasks.waiting.retry import OutageRetry, is_away, may_recover
from tests.chaos.processes import Database
from tests.servers_s3 import S3Server, free_port

AWAY = DatabaseAwayError("Nothing listens there.", "Start the server.")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "TRY_EVERY_S", 0.01)


def failing(times: int, error: BaseException) -> Callable[[], str]:
    """A step that fails this number of times, and then returns."""
    left = [error] * times

    def step() -> str:
        if left:
            raise left.pop()
        return "done"

    return step


def test_the_outage_and_its_end_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    assert OutageRetry(1800)(failing(5, AWAY)) == "done"
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == f"{str(AWAY).rstrip('.')}. Retrying for at most 30 min."
    assert len(said) == 2
    assert said[1].startswith("The outage ended after ")


def test_a_lasting_outage_is_logged_repeatedly(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "LOG_EVERY_S", 0.0)
    OutageRetry(1800)(failing(3, AWAY))
    assert "Retrying for at most 30 min, waited 0.0 s so far." in caplog.text


def test_another_outage_is_logged_at_once(caplog: pytest.LogCaptureFixture) -> None:
    first, second = failing(2, AWAY), failing(2, ServerAwayError("no Prefect"))
    OutageRetry(1800)(lambda: first() + second())
    assert [record.getMessage()[:8] for record in caplog.records] == [str(AWAY)[:8], "no Prefe", "The outa"]


def test_nothing_is_logged_without_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    assert OutageRetry()(lambda: "done") == "done"
    assert caplog.records == []


def test_the_wait_is_limited() -> None:
    begun = time.monotonic()
    with pytest.raises(DatabaseAwayError):
        OutageRetry(0.2)(failing(1_000_000, AWAY))
    assert 0.2 <= time.monotonic() - begun < 30
    with pytest.raises(DatabaseAwayError):
        OutageRetry(0)(failing(1, AWAY))


@pytest.mark.parametrize(
    "error",
    [
        DatabaseError("The password is wrong.", "Correct it."),
        DataRefusedError("The text contains a NUL.", "Correct it."),
        StoreError("There are no videos.", "Mount the disk."),
        CallFailedError("There is no such host.", "Correct it."),
        ObjectError("The object is missing.", "List again."),
        NightjarError("no model"),
        ValueError("a bug"),
        KeyboardInterrupt(),
    ],
)
def test_permanent_errors_are_raised_at_once(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        OutageRetry()(failing(1, error))
    assert raised.value is error


def test_each_wait_has_its_own_limit() -> None:
    steps = [failing(2, AWAY), failing(2, UnreachableError("x", "y")), failing(2, ServerAwayError("z"))]
    assert [OutageRetry(5)(step) for step in steps] == ["done"] * 3


@pytest.mark.parametrize(
    ("message", "away"),
    [
        ('connection failed: connection to server at "127.0.0.1", port 1 failed: Connection refused', True),
        ("server closed the connection unexpectedly", True),
        ("connection timeout expired", True),
        ("failed to resolve host 'db': [Errno -3] Temporary failure in name resolution", True),
        ("failed to resolve host 'db': [Errno -2] Name or service not known", False),
        ("connection failed: FATAL:  the database system is starting up", True),
        ("connection failed: FATAL:  the database system is not yet accepting connections", True),
        ("connection failed: FATAL:  sorry, too many clients already", True),
        ("connection failed: FATAL:  server login has been failing, cached error: connect failed", True),
        ('connection failed: FATAL:  password authentication failed for user "nightjar"', False),
        ('connection failed: FATAL:  database "x" does not exist', False),
        ("connection failed: FATAL:  no pg_hba.conf entry for host", False),
        ("connection failed: SSL error: certificate verify failed", False),
    ],
)
def test_messages_of_a_temporarily_unavailable_server_are_recognised(message: str, away: bool) -> None:
    error = explain(psycopg.OperationalError(message), make_url("postgresql://db/nightjar"))
    assert may_recover(error) == away
    assert is_away(error)


def test_real_servers_that_are_stopped_or_refuse_are_distinguished() -> None:
    database = Database()
    try:
        database.start()
        engine = open_database(database.url)
        for wrong in ({"password": "wrong"}, {"database": "absent"}, {"username": "nobody"}):
            with pytest.raises(DatabaseError) as refused:
                open_database(make_url(database.url).set(**wrong).render_as_string(hide_password=False))
            assert not may_recover(refused.value), refused.value
        held = engine.connect()
        database.kill()
        with pytest.raises(DatabaseAwayError):
            open_database(database.url)
        with pytest.raises(psycopg.OperationalError) as cut:
            held.connection.driver_connection.execute("SELECT 1")  # type: ignore[union-attr]
        assert may_recover(explain(cut.value, engine.url))
        database.start()
        open_database(database.url).dispose()
        engine.dispose()
    finally:
        database.remove()


def test_stores_that_are_stopped_or_refuse_are_distinguished(s3_server: S3Server) -> None:
    options = s3_server.options
    quick = {"region": options.region, "path_style": True, "attempts": 1}
    # type: ignore[arg-type]
    nobody = S3Options(f"http://127.0.0.1:{free_port()}", access_key="a", secret_key="b", **quick)
    with pytest.raises(UnreachableError):
        list(Bucket("bucket", nobody).objects(""))
    stranger = S3Options(options.endpoint_url, access_key="a", secret_key="b", **quick)  # type: ignore[arg-type]
    for bucket in (Bucket("absent", options), Bucket("absent", stranger)):
        with pytest.raises(StoreError) as refused:
            list(bucket.objects(""))
        assert not may_recover(refused.value), refused.value
