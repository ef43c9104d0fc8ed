"""Flows as the commands call them: what is wrong is found before Prefect is started, and said once."""

import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from models.types import NightjarError
from tasks.site.owner import PROCESS, TAG, this_owner
from tasks.site.settings import prefect_api_url, prepare_prefect, read_settings
from tasks.site.site import Site, open_site
from tasks.waiting.patience import Patience

if TYPE_CHECKING:
    from prefect import Flow

# Prefect tells of one failure up to six times, by task, by flow and by state. The command tells of it at its end.
REPEATED = (
    "Encountered exception during execution",
    "Task run failed with exception",
    "Finished in state Failed(",
    "Finished in state Crashed(",
    "Finished in state Cancelled(",
    "Crash detected!",
    "Still processing items",  # at its end, of what is left to send to a server that ends, too
)


def prepare(check: Callable[[Site], None], *, patient: bool = False) -> None:
    """Check settings, database, store and all that `check` looks at, while a Prefect server starts if one is needed.

    To be called before Prefect is first imported. Raises NightjarError without waiting for the server, which takes
    seconds to start: `call` waits for it, after the flow's own imports.

    patient: wait for a database or a store that does not answer, as long as the settings say
    """
    from deployments.prefect_server import begin_server, ensure_server

    settings = read_settings()
    prepare_prefect(settings)
    own = begin_server()
    patience = Patience(settings.outage_s if patient else 0.0)

    def look() -> None:
        with open_site() as site:
            check(site)

    patience(look)
    if own is None:
        patience(ensure_server)  # before Prefect's import: it may correct the address that the user has set


def call(flow: "Flow[..., Any]", parameters: Mapping[str, Any], *, patient: bool = False) -> Any:
    """Run the flow and return its result.

    Raises NightjarError, also for parameters that it refuses and a server that is gone.

    patient: a server that is gone is waited for, and the flow called again: it must resume
    """
    from prefect import tags
    from prefect.exceptions import CancelledRun, ParameterBindError, ParameterTypeError

    from deployments.prefect_server import ensure_server
    from tasks.runs.cancelling import AGAIN
    from tasks.runs.edge_runs import prefect_is_away

    _say_failures_once()
    outage_s = read_settings().outage_s if patient else 0.0
    Patience(outage_s)(ensure_server)
    patience = Patience(outage_s, prefect_is_away)
    try:
        with _signals_interrupt(), tags(TAG, f"{PROCESS}{this_owner()}"):
            return patience(lambda: flow(**parameters))
    except (CancelledRun, KeyboardInterrupt):
        raise KeyboardInterrupt(f"Cancelled. {AGAIN}.") from None
    except (ParameterBindError, ParameterTypeError) as error:
        raise NightjarError(_first_fault(error)) from error
    except Exception as error:
        if prefect_is_away(error):
            raise _gone(error) from error
        raise


def _gone(error: Exception) -> NightjarError:
    """Return the sentence for a Prefect server that went away."""
    said = str(error).splitlines()[0] if str(error) else "no word"
    return NightjarError(
        f"Prefect's server at {prefect_api_url()} does not answer as it should ({type(error).__name__}: {said}). "
        "See that it runs, then run this again: what was done is kept"
    )


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """End a flow in order on SIGTERM and a closed terminal, as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _OnlyNews(logging.Filter):
    """Leaves out what the command says by itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(REPEATED)


def _say_failures_once() -> None:
    """On the terminal; what goes to Prefect's pages is whole."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(each, _OnlyNews) for each in handler.filters):
            handler.addFilter(_OnlyNews())


def _first_fault(error: Exception) -> str:
    """Pydantic's second and third line: the parameter and what is wrong with it, without the value."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = ": ".join(lines[1:3]) if len(lines) > 2 else " ".join(lines)
    return f"{text.partition(' [type=')[0].lstrip('- ')}. Correct that option: --help says what it takes"
