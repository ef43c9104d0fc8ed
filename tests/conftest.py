"""Fixtures that every folder of tests may use."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.temporary import use_memory

ROOT = Path(__file__).parents[1]

use_memory()  # before xdist starts its processes, and before anything makes a temporary file

# Prefect's telemetry waits for DNS on a machine without internet. To be set before Prefect is imported.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")

# A contributor's own settings may name a database with rows that matter.
for name in [name for name in os.environ if name.startswith("NIGHTJAR_") and not name.startswith("NIGHTJAR_TEST_")]:
    del os.environ[name]

# A test suite in the background inherits ignored signals such as Ctrl-C, and its children would ignore them, too.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(number, handler)

# Hypothesis' limits are of wall time, which a busy machine exceeds: pytest's own limit per test remains.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

pytest_plugins = [
    "tests.forked_sandboxes",
    "tests.servers_postgres",
    "tests.servers_pgbouncer",
    "tests.servers_s3",
    "tests.servers_prefect",
]


# Started first, each by another process, so that no process is idle while another one runs a long file.
LONGEST_FIRST = (
    "chaos/",
    "flows/test_fleet",
    "tasks/events/test_falls_of_films",
    "models/",
    "deployments/",
    "flows/",
    "tasks/notify/",
    "tasks/analysis/",
    "tasks/sweep/",
    "storage/ledger/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files by LONGEST_FIRST. The order within a file stays."""

    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(ROOT / "tests").as_posix()
        return next((n for n, start in enumerate(LONGEST_FIRST) if path.startswith(start)), len(LONGEST_FIRST))

    items.sort(key=rank)


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Nightjar's entry points set the process's umask: restore it for the servers that later tests start."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def priority() -> Iterator[None]:
    """Refuse a test that leaves this process another scheduling policy: its children would take the cores from all."""
    before = os.sched_getscheduler(0)
    yield
    after = os.sched_getscheduler(0)
    if after != before:
        os.sched_setscheduler(0, before, os.sched_param(0))
    assert after == before


@pytest.fixture(autouse=True)
def root_logger() -> None:
    """Libraries that convert and quantize models set its level and filters and never restore them."""
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    root.filters.clear()
    logging.disable(logging.NOTSET)


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Pytest's own, which also captures Nightjar's loggers if a library has replaced the root logger's handlers."""

    def not_heard(record: logging.LogRecord) -> bool:
        new = not hasattr(record, "heard")
        record.heard = True
        return new

    from tasks.runs.logs import PACKAGES, show_log_lines

    show_log_lines()
    caplog.handler.setLevel(logging.NOTSET)  # one handler for all tests: an earlier quantization leaves it at ERROR
    caplog.handler.addFilter(not_heard)
    for package in PACKAGES:
        logging.getLogger(package).addHandler(caplog.handler)
    yield caplog
    for package in PACKAGES:
        logging.getLogger(package).removeHandler(caplog.handler)
    caplog.handler.removeFilter(not_heard)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real weights, videos and images, which is not part of the project."""
    folder = Path(os.environ.get("NIGHTJAR_TEST_DATA", ROOT / "../shared/data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set NIGHTJAR_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of small failing inputs with the right answers, which is not part of the project."""
    folder = Path(os.environ.get("NIGHTJAR_TEST_CASES", ROOT / "../shared/cases")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no cases at {folder}: set NIGHTJAR_TEST_CASES")
    return folder
