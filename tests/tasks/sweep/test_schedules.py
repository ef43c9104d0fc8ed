"""Times that a schedule demanded, also across daylight saving."""

from datetime import UTC, datetime, timedelta

import pytest
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule

from tasks.sweep.schedules import last_time

NIGHTLY = CronSchedule(cron="0 1 * * *", timezone="Europe/Berlin")


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("2026-11-28T00:00:01+00:00", "2026-11-28T00:00:00+00:00"),
        ("2026-11-27T23:59:59+00:00", "2026-11-27T00:00:00+00:00"),
        ("2026-03-29T12:00:00+00:00", "2026-03-29T00:00:00+00:00"),
        ("2026-03-30T12:00:00+00:00", "2026-03-29T23:00:00+00:00"),
        ("2026-10-25T12:00:00+00:00", "2026-10-24T23:00:00+00:00"),
        ("2026-10-26T12:00:00+00:00", "2026-10-26T00:00:00+00:00"),
    ],
)
def test_the_last_time_of_a_cron_schedule(before: str, expected: str) -> None:
    assert last_time(NIGHTLY, datetime.fromisoformat(before)) == datetime.fromisoformat(expected)


def test_the_last_time_of_an_interval() -> None:
    anchor = datetime(2026, 11, 1, 1, tzinfo=UTC)
    schedule = IntervalSchedule(interval=timedelta(hours=12), anchor_date=anchor)
    assert last_time(schedule, anchor + timedelta(hours=30)) == anchor + timedelta(hours=24)
    assert last_time(schedule, anchor - timedelta(hours=1)) is None


def test_other_schedules_demand_nothing() -> None:
    schedule = RRuleSchedule(rrule="FREQ=DAILY", timezone="UTC")
    assert last_time(schedule, datetime(2026, 11, 28, tzinfo=UTC)) is None
