"""Fixtures that every folder of tests may use."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Prefect's call home, which waits for DNS on a machine without the internet. To be set before Prefect is imported.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")

# A suite in the background inherits ignored signals, and what it starts would ignore them, too: Ctrl-C, say.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(number, handler)

pytest_plugins = ["tests.servers_postgres", "tests.servers_pgbouncer", "tests.servers_s3", "tests.servers_prefect"]


# Begun first, each by another process, so that no long file is left when the other process has nothing to do.
LONGEST_FIRST = ("chaos/", "flows/test_fleet", "models/", "deployments/", "flows/", "tasks/sweep/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files by LONGEST_FIRST. The order within a file stays."""

    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(ROOT / "tests").as_posix()
        return next((n for n, start in enumerate(LONGEST_FIRST) if path.startswith(start)), len(LONGEST_FIRST))

    items.sort(key=rank)


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Nightjar's entry points set the process's umask: for a test, and not for the servers that later tests start."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def root_logger() -> None:
    """Libraries that convert and quantize models set its level and its filters, and never back."""
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    root.filters.clear()
    logging.disable(logging.NOTSET)


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Pytest's own, which also hears Nightjar's loggers where a library has replaced the root logger's handlers."""

    def not_heard(record: logging.LogRecord) -> bool:
        new = not hasattr(record, "heard")
        record.heard = True
        return new

    from tasks.runs.logs import PACKAGES, show_log_lines

    show_log_lines()
    caplog.handler.setLevel(logging.NOTSET)  # one handler for all tests: a quantization before leaves it at ERROR
    caplog.handler.addFilter(not_heard)
    for package in PACKAGES:
        logging.getLogger(package).addHandler(caplog.handler)
    yield caplog
    for package in PACKAGES:
        logging.getLogger(package).removeHandler(caplog.handler)
    caplog.handler.removeFilter(not_heard)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real weights, videos and images that is not part of the project."""
    folder = Path(os.environ.get("NIGHTJAR_TEST_DATA", ROOT / "../shared/data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set NIGHTJAR_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of small inputs that go wrong, each with its right answer, that is not part of the project."""
    folder = Path(os.environ.get("NIGHTJAR_TEST_CASES", ROOT / "../shared/cases")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no cases at {folder}: set NIGHTJAR_TEST_CASES")
    return folder
