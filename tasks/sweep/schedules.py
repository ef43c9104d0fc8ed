"""Nights that a schedule of Prefect's server demands, and that no batch of the ledger shows."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from prefect import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.responses import DeploymentResponse
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from models.types import NightjarError
from storage.ledger import recovery
from storage.objects.archive import canonical
from storage.sql.database import Database
from tasks.notify.missing import MissedNight
from tasks.site.owner import TAG

GRACE = timedelta(hours=1)  # for a machine that starts up, and for a night that waits for the one before
EARLY = timedelta(minutes=5)  # between the clocks of Prefect's server and the database
MOST_DEPLOYMENTS = 200


def missed_nights(engine: Database, now: datetime | None = None) -> list[MissedNight]:
    """Return the nights that should have started, by active schedules. Raises httpx's and Prefect's errors."""
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 2}), get_client(sync_client=True) as client:
        deployments = client.read_deployments(deployment_filter=ours, limit=MOST_DEPLOYMENTS)
    found = (_missed(engine, each, now or datetime.now(UTC)) for each in deployments)
    return [night for night in found if night]


def _missed(engine: Database, deployment: DeploymentResponse, now: datetime) -> MissedNight | None:
    archive = deployment.parameters.get("archive")
    expected = max(_due_times(deployment, now), default=None)
    if not archive or expected is None:
        return None
    try:
        location = canonical(str(archive))
    except NightjarError:  # the run fails with the reason
        return None
    newest = recovery.newest_batch(engine, location)
    if newest is not None and (newest.running or newest.started_at >= expected - EARLY):
        return None
    return MissedNight(location, expected, "" if newest is None else _described(newest))


def _described(batch: recovery.NewestBatch) -> str:
    return f"The last one is batch {batch.batch_id} of {batch.started_at:%Y-%m-%d %H:%M} UTC."


def _due_times(deployment: DeploymentResponse, now: datetime) -> Iterator[datetime]:
    """Yield the last time before the grace of each active schedule, unless the schedule is newer."""
    for schedule in deployment.schedules if not deployment.paused else ():
        due = last_time(schedule.schedule, now - GRACE) if schedule.active else None
        since = schedule.updated or schedule.created or deployment.created
        if due is not None and (since is None or due > since):
            yield due


def last_time(schedule: Any, before: datetime) -> datetime | None:
    """Return the last time of a cron or interval schedule before a moment; None for other schedules."""
    if hasattr(schedule, "cron"):
        return _last_of_cron(schedule.cron, ZoneInfo(schedule.timezone or "UTC"), before)
    if hasattr(schedule, "interval"):
        anchor_s, interval_s = schedule.anchor_date.timestamp(), schedule.interval.total_seconds()
        steps = (before.timestamp() - anchor_s) // interval_s
        return datetime.fromtimestamp(anchor_s + steps * interval_s, UTC) if steps >= 0 else None
    return None


def _last_of_cron(cron: str, zone: ZoneInfo, before: datetime) -> datetime:
    """Go back in local time; croniter itself is wrong by an hour in nights of daylight saving."""
    from prefect._vendor.croniter.croniter import croniter

    wall = before.astimezone(zone).replace(tzinfo=None)
    times: Any = croniter(cron, wall)  # type: ignore[no-untyped-call]
    found: datetime = times.get_prev(datetime)
    return found.replace(tzinfo=zone).astimezone(UTC)
