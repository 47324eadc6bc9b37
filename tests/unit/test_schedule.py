"""When a job is due next: strictly later, and as cron has it where the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.errors import Misconfigured
from app.schedule import next_due
from app.settings import Settings
from app.worker import Worker

URL = "postgresql://nobody@127.0.0.1:1/nowhere"


@pytest.mark.parametrize(
    ("when", "after", "due"),
    [
        ("0 3 * * * UTC", "2026-03-01T02:59:59.999999+00:00", "2026-03-01T03:00:00+00:00"),
        ("0 3 * * * UTC", "2026-03-01T03:00:00+00:00", "2026-03-02T03:00:00+00:00"),
        ("0 3 * * * America/New_York", "2026-07-01T00:00:00+00:00", "2026-07-01T07:00:00+00:00"),
        # The clocks go forward: 01:30 does not come, and the job is done when the gap ends.
        ("30 1 * * * Europe/London", "2026-03-28T12:00:00+00:00", "2026-03-29T01:00:00+00:00"),
        # The clocks go back: 01:30 comes twice, and the job is done the first time only.
        ("30 1 * * * Europe/London", "2026-10-24T12:00:00+00:00", "2026-10-25T00:30:00+00:00"),
        ("30 1 * * * Europe/London", "2026-10-25T00:30:00+00:00", "2026-10-26T01:30:00+00:00"),
        ("0,30 1 * * * Europe/London", "2026-10-25T01:00:00+00:00", "2026-10-26T01:00:00+00:00"),
        ("*/20 * * * * Europe/London", "2026-10-25T00:40:00+00:00", "2026-10-25T01:00:00+00:00"),
        ("0 0 29 2 * UTC", "2026-03-01T00:00:00+00:00", "2028-02-29T00:00:00+00:00"),
    ],
)
def test_next_due(when: str, after: str, due: str) -> None:
    assert next_due(when, datetime.fromisoformat(after)) == datetime.fromisoformat(due)


@pytest.mark.parametrize("zone", ["Europe/London", "America/Havana", "Pacific/Apia", "Atlantic/Azores"])
@pytest.mark.parametrize("cron", ["0 3 * * *", "30 1 * * *", "15,45 0-2 * * *", "*/7 * * * *", "0 */5 * * *"])
def test_time_never_stands_still_on_the_days_the_clocks_change(cron: str, zone: str) -> None:
    for begins in (
        datetime(2026, 3, 7, tzinfo=UTC),
        datetime(2026, 10, 24, tzinfo=UTC),
        datetime(2011, 12, 29, tzinfo=UTC),
    ):
        at = begins
        while at < begins + timedelta(days=3):
            later = next_due(f"{cron} {zone}", at)
            assert at < later <= at + timedelta(days=2)
            at = later


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nightly_cron", "at three"),
        ("nightly_cron", "0 3 * *"),
        ("nightly_cron", "0 0 30 2 *"),
        ("nightly_cron", "61 3 * * *"),
        ("schedule_time_zone", "London"),
        ("schedule_time_zone", ""),
        ("schedule_time_zone", "../../etc/passwd"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_told_at_once(name: str, value: str) -> None:
    with pytest.raises(Misconfigured, match=name.upper()):
        Worker(Settings(**{"database_url": URL, name: value}))


def test_a_worker_needs_a_database() -> None:
    with pytest.raises(Misconfigured, match="DATABASE_URL"):
        Worker(Settings(database_url=""))
