"""Runs of infer-assignment on the edge pool, by Prefect's API. Their results are in the ledger, not here.

Raises OUTAGES if the API cannot be reached, and NightjarError if the deployment is missing.
"""

from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Literal
from uuid import UUID

import httpx
from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State, StateType, WorkerStatus
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled, Crashed

from models.types import NightjarError
from tasks.runs.run_state import RunState

DEPLOYMENT = "infer-assignment/edge"
POOL = "edge"
# Errors of a server that is unavailable or restarting.
OUTAGES = (httpx.TransportError, PrefectHTTPStatusError)
PASSING = (408, 429)  # timed out, too many requests
RUNS_AT_ONCE = 100  # Prefect returns at most 200 per answer
ANSWER_LIMIT_S = 10.0  # Prefect's default is a minute, half a lease
TAKEN = (StateType.PENDING, StateType.RUNNING)
RequestedAction = Literal["continue", "pause", "stop"]
STOPPED = (StateType.CANCELLING, StateType.CANCELLED)


def prefect_is_away(error: BaseException | None) -> bool:
    """Return True if the server was unreachable or failing, as Prefect's client, flows and tasks report it."""
    if error is None:
        return False
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in PASSING or error.response.status_code >= 500
    unreachable = isinstance(error, RuntimeError) and "Failed to reach API" in str(error)
    return unreachable or isinstance(error, httpx.TransportError) or prefect_is_away(error.__cause__)


class NotDeployedError(NightjarError):
    """Prefect's server has no work pool or no deployment for edge runs."""


def _no_deployment() -> NotDeployedError:
    return NotDeployedError(f"Prefect's server has no deployment {DEPLOYMENT}. Run 'nightjar deploy'.")


class EdgeRuns:
    """Context manager for one connection to Prefect's API."""

    def __enter__(self) -> "EdgeRuns":
        # The client's own retries last minutes, in which no result would be loaded.
        self._held = ExitStack()
        impatient = {PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_API_REQUEST_TIMEOUT: ANSWER_LIMIT_S}
        self._held.enter_context(temporary_settings(impatient))
        self._client = self._held.enter_context(get_client(sync_client=True))
        self._deployment_id: UUID | None = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def start(self, assignment_id: str, batch_id: int) -> str:
        """Start a run and return its id. A repeated call for the same assignment returns the same run."""
        try:
            run = self._client.create_flow_run_from_deployment(
                self._deployment(),
                parameters={"assignment": assignment_id},
                idempotency_key=f"nightjar-{assignment_id}",
                tags=["nightjar", f"batch-{batch_id}"],
            )
        except ObjectNotFound:  # the deployment was deleted, or Prefect's database was reset
            self._deployment_id = None
            raise _no_deployment() from None
        return str(run.id)

    def _deployment(self) -> UUID:
        if self._deployment_id is None:
            try:
                self._deployment_id = self._client.read_deployment_by_name(DEPLOYMENT).id
            except ObjectNotFound:
                raise _no_deployment() from None
        return self._deployment_id

    def states(self, run_ids: list[str]) -> dict[str, RunState]:
        """Return the state of each run that the server knows; an unknown one is missing."""
        found = {}
        for start in range(0, len(run_ids), RUNS_AT_ONCE):
            ids = [UUID(run_id) for run_id in run_ids[start : start + RUNS_AT_ONCE]]
            wanted = FlowRunFilter(id=FlowRunFilterId(any_=ids))
            for run in self._client.read_flow_runs(flow_run_filter=wanted, limit=len(ids)):
                state = run.state
                name, message = (state.name or "", state.message or "") if state else ("", "")
                over, taken = (state.is_final(), state.type in TAKEN) if state else (False, False)
                found[str(run.id)] = RunState(name, over, taken, message)
        return found

    def cancel(self, run_id: str) -> None:
        """Cancel the run, unless it has ended."""
        self._end(run_id, Cancelled(message="The batch no longer needs this run."))

    def crash(self, run_id: str, why: str) -> None:
        self._end(run_id, Crashed(message=why))

    def _end(self, run_id: str, state: "State[Any]") -> None:
        with suppress(ObjectNotFound):
            now = self._client.read_flow_run(UUID(run_id)).state
            if now is None or not now.is_final():
                self._client.set_flow_run_state(UUID(run_id), state, force=True)

    def workers(self) -> list[str]:
        """Return the names of the edge pool's online workers."""
        try:
            found = self._client.read_workers_for_work_pool(POOL)
        except ObjectNotFound:
            raise NotDeployedError(f"Prefect's server has no work pool {POOL}. Run 'nightjar deploy'.") from None
        return sorted(worker.name for worker in found if worker.status == WorkerStatus.ONLINE)

    def requested_action(self, run_id: str) -> RequestedAction:
        """Return the action that was requested for this run, for example in the UI."""
        try:
            state = self._client.read_flow_run(UUID(run_id)).state
        except ObjectNotFound:  # a new server does not know this run
            return "continue"
        if state is not None and state.type in STOPPED:
            return "stop"
        return "pause" if state is not None and state.type == StateType.PAUSED else "continue"
