"""Cancelling a run, by Ctrl-C, by a signal, or by Cancel on Prefect's pages: it ends as cancelled, not as crashed."""

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
from tasks.runs.tags import tag_run

P = ParamSpec("P")
R = TypeVar("R")

AGAIN = "What was done is kept. Run it again to continue"
LOOK_EVERY_S = 3.0
STOPPED = (StateType.CANCELLING, StateType.CANCELLED)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CalledOff(NightjarError):
    """Somebody has cancelled the batch in Prefect."""


def is_cancel(error: BaseException) -> bool:
    """Return True if a person or the system requested the end and nothing failed."""
    return isinstance(error, KeyboardInterrupt | TerminationSignal | CalledOff)


def cancellable(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a flow's function so that a cancelled run ends as Cancelled instead of Crashed.

    Its run has the tags by which the sweep sees the end of a process that was killed.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            tag_run()
            with _cancel_is_heard():
                return function(*args, **kwargs)
        except BaseException as error:
            if not is_cancel(error):
                raise
            return cast(R, Cancelled(message=f"Cancelled. {AGAIN}."))

    return run


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold signals back during the final ledger writes: a second Ctrl-C would leave the batch running in it."""
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
def _cancel_is_heard() -> Iterator[None]:
    """While it lasts, Cancel on Prefect's pages interrupts the main thread as Ctrl-C does.

    Nobody else would tell: a command has no worker, and a worker of Prefect's leaves a run that has begun to itself.
    """
    run_id = flow_run.get_id()
    if not run_id or threading.current_thread() is not threading.main_thread():
        yield
        return
    over, lock = threading.Event(), threading.Lock()
    context = contextvars.copy_context()  # Prefect's settings are in it
    look = threading.Thread(target=context.run, args=(_look, UUID(run_id), over, lock), daemon=True)
    look.start()
    try:
        yield
    finally:
        with lock:
            over.set()


def _look(run_id: UUID, over: threading.Event, lock: threading.Lock) -> None:
    with get_client(sync_client=True) as client:
        while not over.wait(LOOK_EVERY_S):
            with suppress(Exception):  # the server is away: it is asked again
                state = client.read_flow_run(run_id).state
                if state is not None and state.type in STOPPED:
                    break
        else:
            return
    with lock:
        if not over.is_set():
            signal.pthread_kill(cast(int, threading.main_thread().ident), signal.SIGINT)
