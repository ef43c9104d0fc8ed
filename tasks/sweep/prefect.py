"""Part of the sweep for Prefect: end runs whose process has died, and free the slots that they held.

The ledger decides. Prefect's states are for display and for its own concurrency limits.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled, Crashed

from storage.ledger import recovery
from storage.ledger.recovery import LedgerRun
from storage.sql.database import Database
from tasks.site.owner import PROCESS, TAG, host_name, is_dead
from tasks.sweep.report import Report

SILENT_S = 120.0  # of a worker, which sends heartbeats every 30 s, and of a flow with heartbeats
HEARTBEAT_LOST_S = 300.0  # of a flow whose worker is alive: it may be cut off from the server for a while
PENDING_S = 600.0  # a process takes seconds to start, on a Pi half a minute
GRACE_S = 120.0  # for a run to finish after the ledger has recorded its end
RECENT_S = 14 * recovery.DAY_S  # maximum age of the batches whose runs are checked, whoever started them
RUNS_AT_ONCE = 200
SLOT_LOOK_S = 2.0
ACTIVE = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
OPEN = [*ACTIVE, StateType.SCHEDULED, StateType.PAUSED]


@dataclass(frozen=True)
class ObservedRun:
    """State of a run on the server. since_s: seconds in this state

    worker_s, heartbeat_s: seconds since the last heartbeat of its worker and of the run; None = never
    owner: the command's process that executes it, if there is no worker
    """

    name: str
    state: StateType
    since_s: float
    worker: str | None = None
    worker_s: float | None = None
    heartbeat_s: float | None = None
    owner: str | None = None


class EndState(NamedTuple):
    """State in which a run is ended. cancelled: Cancelled, otherwise Crashed"""

    cancelled: bool
    reason: str

    def state(self) -> "State[None]":
        message = f"nightjar sweep: {self.reason}"
        return Cancelled(message=message) if self.cancelled else Crashed(message=message)


def end_state_of(run: ObservedRun, known: LedgerRun | None) -> EndState | None:
    """Return the state in which to end a run; None if it may continue."""
    if known and _was_restarted(run, known):
        known = None
    if known and known.ended and run.state in OPEN:
        over = f"in the ledger, {known.what} is {known.status}"
        return EndState(run.state not in (StateType.RUNNING, StateType.PENDING), over)
    if run.state == StateType.PENDING and run.since_s > PENDING_S:
        return EndState(False, f"it was pending for {run.since_s / 60:.0f} min, so its worker has died")
    if run.state == StateType.CANCELLING and run.since_s > PENDING_S:
        return EndState(True, f"it was cancelling for {run.since_s / 60:.0f} min without an answer")
    if run.state == StateType.RUNNING and (why := _reason_dead(run, known)):
        return EndState(False, why)
    return None


def _was_restarted(run: ObservedRun, known: LedgerRun) -> bool:
    """Return True if a newer process has the run than the one in the ledger, as after Retry in Prefect's UI."""
    return bool(run.owner and known.owner) and run.owner != known.owner and not is_dead(str(run.owner))


def _reason_dead(run: ObservedRun, known: LedgerRun | None) -> str | None:
    """Return the reason to consider a running run dead; None = it may be alive."""
    owner = known.owner if known and known.owner else run.owner
    if owner and is_dead(owner):
        return f"its process {owner} has ended"
    if (known and known.leasing) or _is_alive(owner):
        return None
    if run.heartbeat_s is not None and run.heartbeat_s > HEARTBEAT_LOST_S:
        return f"it sent no heartbeat for {run.heartbeat_s:.0f} s"
    if run.heartbeat_s is not None and run.heartbeat_s <= SILENT_S:
        return None
    if run.worker and run.since_s > SILENT_S and (run.worker_s is None or run.worker_s > SILENT_S):
        silent = "is unknown" if run.worker_s is None else f"sent no heartbeat for {run.worker_s:.0f} s"
        return f"its worker {run.worker} {silent}, and neither did the run itself"
    return None


def _is_alive(owner: str | None) -> bool:
    return bool(owner) and str(owner).startswith(f"{host_name()}:") and not is_dead(str(owner))


def sweep_prefect(engine: Database | None, second_look_s: float, report: Report) -> None:
    """End dead runs, then correct the slots. Raises httpx's and Prefect's errors if the server is unreachable."""
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 2}), get_client(sync_client=True) as client:
        suspects = _find_dead_runs(client, engine)
        if suspects:
            # A restarted server has received no heartbeats for a while, so silent runs are checked twice.
            time.sleep(second_look_s)
            again = _find_dead_runs(client, engine)
            for run_id, (run, end_state) in again.items():
                if run_id in suspects:
                    _end(client, run, end_state, report)
        _free_slots(client, report)


def _find_dead_runs(client: SyncPrefectClient, engine: Database | None) -> dict[UUID, tuple[FlowRun, EndState]]:
    look = _ServerView(client)
    runs = {run.id: run for run in look.our_runs(engine)}
    known = recovery.known_runs(engine, [str(run_id) for run_id in runs], GRACE_S) if engine is not None else {}
    end_states = ((run, end_state_of(look.observe(run), known.get(str(run.id)))) for run in runs.values())
    return {run.id: (run, end_state) for run, end_state in end_states if end_state}


class _ServerView:
    """State of the server, by the server's clock. Workers are read once per pool."""

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client
        self._now = parsedate_to_datetime(client.hello().headers["Date"])
        self._workers: dict[str, dict[str, datetime]] = {}

    def our_runs(self, engine: Database | None) -> Iterator[FlowRun]:
        """Yield the runs with Nightjar's tag, and those of the ledger's batches."""
        state = FlowRunFilterState(type=FlowRunFilterStateType(any_=OPEN))
        yield from self._runs(FlowRunFilter(state=state, tags=FlowRunFilterTags(all_=[TAG])))
        recent = recovery.recent_runs(engine, RECENT_S) if engine is not None else []
        for start in range(0, len(recent), RUNS_AT_ONCE):
            some = [UUID(run_id) for run_id in recent[start : start + RUNS_AT_ONCE]]
            yield from self._runs(FlowRunFilter(state=state, id=FlowRunFilterId(any_=some)))

    def _runs(self, wanted: FlowRunFilter) -> Iterator[FlowRun]:
        offset = 0
        while page := self._client.read_flow_runs(flow_run_filter=wanted, limit=RUNS_AT_ONCE, offset=offset):
            yield from page
            offset += len(page)

    def observe(self, run: FlowRun) -> ObservedRun:
        state = run.state_type or StateType.SCHEDULED
        since_s = self._ago(run.state.timestamp) if run.state else 0.0
        if state != StateType.RUNNING:
            return ObservedRun(run.name, state, since_s)
        worker = run.labels.get("prefect.worker.name")
        pool = run.labels.get("prefect.work-pool.name") or run.work_pool_name
        heard = self._workers_of(str(pool)).get(str(worker)) if worker and pool else None
        beat = self._last_heartbeat(run.id)
        worker_s, heartbeat_s = self._ago(heard) if heard else None, self._ago(beat) if beat else None
        owner = next((tag.removeprefix(PROCESS) for tag in run.tags if tag.startswith(PROCESS)), None)
        return ObservedRun(run.name, state, since_s, str(worker) if worker else None, worker_s, heartbeat_s, owner)

    def _ago(self, then: datetime) -> float:
        return (self._now - then).total_seconds()

    def _workers_of(self, pool: str) -> dict[str, datetime]:
        if pool not in self._workers:
            self._workers[pool] = {}
            with suppress(ObjectNotFound):
                for worker in self._client.read_workers_for_work_pool(pool):
                    if worker.last_heartbeat_time:
                        self._workers[pool][worker.name] = worker.last_heartbeat_time
        return self._workers[pool]

    def _last_heartbeat(self, run_id: UUID) -> datetime | None:
        """Return the time at which the server received it, since the run's own clock may be wrong."""
        day = timedelta(days=1)
        wanted = EventFilter(
            event=EventNameFilter(name=["prefect.flow-run.heartbeat"]),
            resource=EventResourceFilter(id=[f"prefect.flow-run.{run_id}"]),
            occurred=EventOccurredFilter(since=self._now - 14 * day, until=self._now + day),
        )
        events = self._client.read_events(wanted, limit=1).events
        return events[0].received if events else None


def _end(client: SyncPrefectClient, run: FlowRun, end_state: EndState, report: Report) -> None:
    """End the run by force, which the server's own rules would prevent. This frees its deployment's slot."""
    state = end_state.state()
    if not report.dry:
        try:
            client.set_flow_run_state(run.id, state, force=True)
        except (
            PrefectHTTPStatusError
        ) as error:  # for example, a server on SQLite under load: the next sweep tries again
            answer = error.response.status_code
            report.wrong.append(
                f"run {run.name} could not be ended ({end_state.reason}), because the server answered {answer}. Run "
                "the sweep again."
            )
            return
        _end_tasks(client, run, end_state)
    report.did(f"ended run {run.name} as {state.name}: {end_state.reason}")


def _end_tasks(client: SyncPrefectClient, run: FlowRun, end_state: EndState) -> None:
    mine = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    still = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=OPEN)))
    with suppress(PrefectHTTPStatusError):  # they are for display only
        for task in client.read_task_runs(flow_run_filter=mine, task_run_filter=still):
            client.set_task_run_state(task.id, end_state.state(), force=True)


def _free_slots(client: SyncPrefectClient, report: Report) -> None:
    """Set each deployment's count of taken slots to the number of its runs.

    A server that died with its leases in memory counts slots of ended runs, and a slot that was freed twice allows two
    batches at once.
    """
    wrong = _miscounted(client)
    if not wrong:
        return
    time.sleep(SLOT_LOOK_S)  # a run may have started between the two counts
    for limit, (taken, runs) in _miscounted(client).items():
        if wrong.get(limit) != (taken, runs):
            continue
        report.did(f"set the taken slots of limit {limit} from {taken} to {runs}, as its runs need")
        if not report.dry:
            client.update_global_concurrency_limit(limit, GlobalConcurrencyLimitUpdate(active_slots=runs))


def _miscounted(client: SyncPrefectClient) -> dict[str, tuple[int, int]]:
    """Return, per limit with a wrong count, the taken slots and the correct number."""
    found = {}
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    for deployment in client.read_deployments(deployment_filter=ours, limit=RUNS_AT_ONCE):
        if (limit := deployment.global_concurrency_limit) is not None:
            taken = client.read_global_concurrency_limit_by_name(limit.name).active_slots or 0
            least, most = _count_slot_holders(client, deployment.id)
            if not least <= taken <= most:
                found[limit.name] = (taken, max(least, min(taken, most)))
    return found


def _count_slot_holders(client: SyncPrefectClient, deployment_id: UUID) -> tuple[int, int]:
    """Return the minimum and maximum of held slots. A run that waits to retry in its process keeps its slot."""
    mine = DeploymentFilter(id=DeploymentFilterId(any_=[deployment_id]))
    states = FlowRunFilterState(type=FlowRunFilterStateType(any_=[*ACTIVE, StateType.SCHEDULED]))
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=states), deployment_filter=mine, limit=RUNS_AT_ONCE
    )
    waiting = [run.state for run in runs if run.state_type == StateType.SCHEDULED and run.state]
    keeping = sum(state.state_details.deployment_concurrency_lease_id is not None for state in waiting)
    active = sum(run.state_type in ACTIVE for run in runs)
    return active, active + keeping
