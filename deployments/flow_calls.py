"""Calls of flows by commands, and of what needs no flow: errors are found before Prefect is started, and shown once."""

import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from models.types import NightjarError
from tasks.runs.run_state import RESUME_HINT
from tasks.site.owner import PROCESS, TAG, this_owner
from tasks.site.settings import prefect_api_url, prepare_prefect, read_settings
from tasks.site.site import Site, open_site
from tasks.text.log_lines import log_lines_on_terminal
from tasks.waiting.retry import OutageRetry

if TYPE_CHECKING:
    from prefect import Flow

T = TypeVar("T")
PACKAGES = ("deployments", "models", "storage", "tasks")

# Prefect logs one failure up to six times, by task, flow and state. The command prints it once, at its end.
REPEATED = (
    "Encountered exception during execution",
    "Task run failed with exception",
    "Finished in state Failed(",
    "Finished in state Crashed(",
    "Finished in state Cancelled(",
    "Crash detected!",
    "Still processing items",  # at the end, about events that the ending server no longer takes
)


def without_prefect(work: Callable[[], T | None]) -> T | None:
    """Do work that nobody needs to watch in this process, without Prefect.

    Returns None where a flow has to do it: where the user has a Prefect server, which shows all runs, or where the work
    itself returns None. Raises NightjarError.
    """
    from deployments.prefect_server import has_server

    prepare_prefect(read_settings())
    if has_server():
        return None
    try:
        with _signals_interrupt(), log_lines_on_terminal(PACKAGES):
            return work()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Cancelled. {RESUME_HINT}.") from None


def prepare(check: Callable[[Site], None], *, wait_for_outages: bool = False) -> None:
    """Check settings, database, store and `check`, while a Prefect server starts if one is needed.

    Call it before the first import of Prefect. Raises NightjarError without waiting for the server, which takes
    seconds to start: `call` waits for it, after the flow's own imports.

    wait_for_outages: wait for an unavailable database or store, as long as the settings say
    """
    from deployments.prefect_server import begin_server, ensure_server

    settings = read_settings()
    prepare_prefect(settings)
    own = begin_server()
    retry = OutageRetry(settings.outage_s if wait_for_outages else 0.0)

    def look() -> None:
        with open_site() as site:
            check(site)

    retry(look)
    if own is None:
        retry(ensure_server)  # before Prefect's import: it may correct the address that the user has set


def call(flow: "Flow[..., Any]", parameters: Mapping[str, Any], *, wait_for_outages: bool = False) -> Any:
    """Run the flow and return its result.

    Raises NightjarError, also for refused parameters and an unavailable server.

    wait_for_outages: wait for an unavailable server and call the flow again; the flow must be able to resume
    """
    from prefect import tags
    from prefect.exceptions import CancelledRun, ParameterBindError, ParameterTypeError

    from deployments.prefect_server import ensure_server
    from tasks.runs.edge_runs import prefect_is_away

    _hide_repeated_failures()
    outage_s = read_settings().outage_s if wait_for_outages else 0.0
    OutageRetry(outage_s)(ensure_server)
    retry = OutageRetry(outage_s, prefect_is_away)
    try:
        with _signals_interrupt(), tags(TAG, f"{PROCESS}{this_owner()}"):
            return retry(lambda: flow(**parameters))
    except (CancelledRun, KeyboardInterrupt):
        raise KeyboardInterrupt(f"Cancelled. {RESUME_HINT}.") from None
    except (ParameterBindError, ParameterTypeError) as error:
        raise NightjarError(_first_fault(error)) from error
    except Exception as error:
        if prefect_is_away(error):
            raise _server_lost(error) from error
        raise


def _server_lost(error: Exception) -> NightjarError:
    """Return the error for a Prefect server that became unavailable."""
    reason = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
    return NightjarError(
        f"Prefect's server at {prefect_api_url()} does not answer correctly ({reason}). Check that it runs, then run "
        "this command again. What was done is kept."
    )


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end a flow as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _RepeatedFailureFilter(logging.Filter):
    """Drops the messages about failures that the command prints itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(REPEATED)


def _hide_repeated_failures() -> None:
    """Hide repeated failures on the terminal. Prefect's pages show all messages."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(each, _RepeatedFailureFilter) for each in handler.filters):
            handler.addFilter(_RepeatedFailureFilter())


def _first_fault(error: Exception) -> str:
    """Return the second and third line of Pydantic's message: the parameter and its fault, without the value."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = ": ".join(lines[1:3]) if len(lines) > 2 else " ".join(lines)
    return f"{text.partition(' [type=')[0].lstrip('- ')}. Correct this option: --help describes it."
