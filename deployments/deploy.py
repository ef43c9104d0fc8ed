"""`nightjar deploy`: create or update the work pools, deployments and automation of a Prefect server.

prefect.yaml lists the deployments. Values that a user has set in the UI are kept: a pool's limit always, parameters
and schedules unless an archive is given here.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
import yaml
from pydantic import ValidationError

from deployments.prefect_server import is_loopback, require_server, server_address
from models.types import NightjarError, refuse_credentials
from storage.objects.archive import canonical
from tasks.batch.check import check_night
from tasks.batch.spec import NightSpec
from tasks.site.settings import prepare_prefect, read_settings, use_prefect_api
from tasks.site.site import open_site

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.events.schemas.automations import AutomationCore

PLAN = Path(__file__).with_name("prefect.yaml")
NIGHTLY = "nightly"
# name -> description, runs at once. The edge pool is limited by its workers only: the slot of a run that died with its
# worker would stay taken until the sweep frees it.
POOLS: dict[str, tuple[str, int | None]] = {
    "central": (
        "Conversion, training and the nightly batch itself. Workers need the database and the artifact store",
        3,
    ),
    "edge": ("Segments of a batch, on Raspberry Pis and sticks. Workers need the artifact store only", None),
}
ZOMBIES = "Nightjar: mark runs whose heartbeats stop as crashed"
SILENCE_S = 90  # three heartbeats


@dataclass(frozen=True)
class NightSchedule:
    """Parameters and times of the schedule. archive, model: None keeps the server's values"""

    archive: str | None = None
    model: str | None = None
    cron: str | None = None
    timezone: str | None = None


def deploy(night: NightSchedule, server: str | None = None) -> None:
    """Update the server. A second call changes nothing. Raises NightjarError."""
    prepare_prefect(read_settings())
    address = server_address(server)
    try:
        _check_names(night)
    except NightjarError as error:
        if is_local(address):
            raise
        click.echo(f"Warning: this machine could not check archive and model: {error}", err=True)
    url = require_server(address)
    use_prefect_api(url)  # before the import of Prefect, which reads it
    _check_time(night)
    click.echo(asyncio.run(_deploy(night)))


def check_schedule(night: NightSchedule) -> None:
    """Raise NightjarError if archive, model, cron or time zone of the schedule are wrong.

    Imports Prefect, so this process cannot talk to a server that is started later.
    """
    _check_names(night)
    _check_time(night)


def _check_time(night: NightSchedule) -> None:
    _schedule({"cron": "0 1 * * *", "slug": NIGHTLY, "active": False}, night)


def _check_names(night: NightSchedule) -> None:
    if (night.archive is None) != (night.model is None):
        raise NightjarError(
            "A nightly batch needs an archive and a model. Give both --archive and --model, or neither."
        )
    refuse_credentials(night.archive or "")
    if night.archive and night.model:
        with open_site() as site:
            check_night(site, NightSpec(night.archive, night.model, dispatch="fleet"))


def is_local(address: str) -> bool:
    """Return True if the server is on this machine, which then runs the nights too."""
    return is_loopback(urlsplit(address if "://" in address else f"http://{address}").hostname or "")


async def _deploy(night: NightSchedule) -> str:
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        for name, (description, limit) in POOLS.items():
            await _ensure_pool(client, name, description, limit)
        for plan in yaml.safe_load(PLAN.read_text())["deployments"]:
            await _ensure_deployment(client, plan, night)
        await _ensure_automation(client)
        return await _describe(client)


async def _ensure_pool(client: "PrefectClient", name: str, description: str, limit: int | None) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    try:
        pool = await client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        await client.create_work_pool(
            WorkPoolCreate(
                name=name,
                type=ProcessWorker.type,
                description=description,
                base_job_template=template,
                concurrency_limit=limit,
            )
        )
        return
    if pool.type != ProcessWorker.type:
        raise NightjarError(
            f"The work pool {name!r} has the type {pool.type!r}, and Nightjar needs 'process'. Delete the pool."
        )
    await client.update_work_pool(name, WorkPoolUpdate(description=description))


async def _ensure_deployment(client: "PrefectClient", plan: dict[str, Any], night: NightSchedule) -> None:
    from prefect.client.schemas.objects import ConcurrencyOptions
    from prefect.exceptions import ObjectNotFound
    from prefect.flows import load_flow_from_entrypoint
    from prefect.utilities.callables import parameter_schema

    flow: Any = load_flow_from_entrypoint(plan["entrypoint"], use_placeholder_flow=False)
    schema = parameter_schema(flow)
    try:
        found = await client.read_deployment_by_name(f"{flow.name}/{plan['name']}")
    except ObjectNotFound:
        found = None
    limit = plan.get("concurrency_limit")
    await client.create_deployment(
        flow_id=await client.create_flow_from_name(flow.name),
        name=plan["name"],
        entrypoint=plan["entrypoint"],
        description=flow.description,
        tags=plan["tags"],
        work_pool_name=plan["work_pool"]["name"],
        parameters=_parameters(plan, night, found, set(schema.properties)),
        schedules=_schedules(plan, night, found),
        concurrency_limit=limit and limit["limit"],
        concurrency_options=limit and ConcurrencyOptions(collision_strategy=limit["collision_strategy"]),
        parameter_openapi_schema=schema.model_dump(exclude_unset=True),
        enforce_parameter_schema=True,
        pull_steps=[],
    )


def _parameters(
    plan: dict[str, Any], night: NightSchedule, found: "DeploymentResponse | None", known: set[str]
) -> dict[str, Any]:
    kept = {name: value for name, value in (found.parameters if found else {}).items() if name in known}
    if plan["name"] != NIGHTLY or night.archive is None:
        return kept
    return {**kept, "archive": canonical(night.archive), "model": night.model}


def _schedules(
    plan: dict[str, Any], night: NightSchedule, found: "DeploymentResponse | None"
) -> "list[DeploymentScheduleCreate]":
    """Return the server's schedules, with Nightjar's own added, or replaced if options were given."""
    from prefect.client.schemas.actions import DeploymentScheduleCreate

    fields = set(DeploymentScheduleCreate.model_fields)
    kept = [
        DeploymentScheduleCreate(**{name: value for name, value in schedule if name in fields and value is not None})
        for schedule in (found.schedules if found else [])
    ]
    ours = [_schedule(each, night) for each in plan.get("schedules", [])]
    if found and night == NightSchedule():
        return kept
    slugs = {schedule.slug for schedule in ours}
    return [schedule for schedule in kept if schedule.slug not in slugs] + ours


def _schedule(plan: dict[str, Any], night: NightSchedule) -> "DeploymentScheduleCreate":
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule

    cron, timezone = night.cron or plan["cron"], night.timezone or read_settings().zone.key
    try:
        schedule = CronSchedule(cron=cron, timezone=timezone)
    except ValidationError as error:
        raise NightjarError(
            f"The schedule {cron!r} in {timezone!r} is not valid ({error.errors()[0]['msg']}). Give five fields such "
            "as '0 1 * * *', and a time zone such as 'Europe/Berlin'."
        ) from None
    return DeploymentScheduleCreate(
        schedule=schedule, slug=plan["slug"], active=plan["active"] or night.archive is not None
    )


async def _ensure_automation(client: "PrefectClient") -> None:
    found = await client.read_automations_by_name(ZOMBIES)
    if found:
        await client.update_automation(found[0].id, _crash_zombies())
    else:
        await client.create_automation(_crash_zombies())


def _crash_zombies() -> "AutomationCore":
    """Mark runs as crashed whose heartbeats stopped before they ended: their workers died.

    Like https://docs.prefect.io/v3/advanced/detect-zombie-flows, except that a waiting run may be silent.
    """
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    ended = ("Completed", "Failed", "Cancelled", "Crashed")
    waiting = ("Paused", "Suspended", "Scheduled", "AwaitingRetry", "AwaitingConcurrencySlot", "Pending")
    heartbeat = "prefect.flow-run.heartbeat"
    return AutomationCore(
        name=ZOMBIES,
        description="Created by 'nightjar deploy'. The results of such a run are kept, and the next run resumes.",
        trigger=EventTrigger(
            after={heartbeat},
            expect={heartbeat, *(f"prefect.flow-run.{state}" for state in (*ended, *waiting))},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=SILENCE_S),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED, message=f"No heartbeat for {SILENCE_S} s: the run died with its worker."
            )
        ],
    )


async def _describe(client: "PrefectClient") -> str:
    nightly = await client.read_deployment_by_name(f"nightly-batch/{NIGHTLY}")
    active = [schedule.schedule for schedule in nightly.schedules if schedule.active]
    if not active:
        return (
            "Deployed. No schedule is active. Run 'nightjar deploy --archive /my/videos --model movenet-multipose', or "
            "set one in the UI."
        )
    what = f"{nightly.parameters.get('model')} on {nightly.parameters.get('archive')}"
    return "\n".join(f"Deployed. {what}: {_in_words(schedule)}." for schedule in active)


def _in_words(schedule: Any) -> str:
    return f"{schedule.cron} ({schedule.timezone})" if hasattr(schedule, "cron") else str(schedule)
