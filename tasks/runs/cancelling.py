"""Cancellation of runs by Ctrl-C, a signal or Prefect's UI: they end as Cancelled, not as Crashed."""

import contextvars
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from typing import ParamSpec, TypeVar, cast
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.objects import StateType
from prefect.exceptions import TerminationSignal
from prefect.runtime import flow_run
from prefect.states import Cancelled

from models.types import NightjarError
from tasks.runs.run_state import RESUME_HINT
from tasks.runs.tags import tag_run

P = ParamSpec("P")
R = TypeVar("R")

POLL_EVERY_S = 3.0
STOPPED = (StateType.CANCELLING, StateType.CANCELLED)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class BatchCancelled(NightjarError):
    """The batch was cancelled in Prefect."""


def is_cancel(error: BaseException) -> bool:
    """Return True if a user or the system requested the end and nothing failed."""
    return isinstance(error, KeyboardInterrupt | TerminationSignal | BatchCancelled)


def cancellable(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a flow's function so that a cancelled run ends as Cancelled instead of Crashed.

    The run gets the tags by which the sweep finds it if its process is killed.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            tag_run()
            with _cancel_interrupts():
                return function(*args, **kwargs)
        except BaseException as error:
            if not is_cancel(error):
                raise
            return cast(R, Cancelled(message=f"Cancelled. {RESUME_HINT}."))

    return run


@contextmanager
def signals_ignored() -> Iterator[None]:
    """Ignore signals during the final ledger writes: a second Ctrl-C would leave the batch as running."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _cancel_interrupts() -> Iterator[None]:
    """Let Cancel in Prefect's UI interrupt the main thread, as Ctrl-C does.

    A command has no worker that would do this, and Prefect's workers do not cancel a started run.
    """
    run_id = flow_run.get_id()
    if not run_id or threading.current_thread() is not threading.main_thread():
        yield
        return
    over, lock = threading.Event(), threading.Lock()
    context = contextvars.copy_context()  # it contains Prefect's settings
    poller = threading.Thread(target=context.run, args=(_poll, UUID(run_id), over, lock), daemon=True)
    poller.start()
    try:
        yield
    finally:
        with lock:
            over.set()


def _poll(run_id: UUID, over: threading.Event, lock: threading.Lock) -> None:
    with get_client(sync_client=True) as client:
        while not over.wait(POLL_EVERY_S):
            with suppress(Exception):  # the server is unavailable: the next poll may succeed
                state = client.read_flow_run(run_id).state
                if state is not None and state.type in STOPPED:
                    break
        else:
            return
    with lock:
        if not over.is_set():
            signal.pthread_kill(cast(int, threading.main_thread().ident), signal.SIGINT)
