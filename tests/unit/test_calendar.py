from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from app.calendar import start_of_day


@pytest.mark.parametrize(
    ("zone", "day", "start"),
    [
        pytest.param("UTC", "2024-02-29", "2024-02-29T00:00", id="no clock changes"),
        pytest.param("Asia/Kathmandu", "2024-06-01", "2024-05-31T18:15", id="an odd offset"),
        pytest.param("Europe/London", "2024-03-31", "2024-03-31T00:00", id="the clock changes later that day"),
        pytest.param("Europe/London", "2024-04-01", "2024-03-31T23:00", id="the day after"),
        pytest.param("Atlantic/Azores", "2024-03-31", "2024-03-31T01:00", id="midnight is skipped"),
        pytest.param("Atlantic/Azores", "2024-10-27", "2024-10-27T00:00", id="midnight occurs twice"),
        pytest.param("America/Havana", "2024-03-10", "2024-03-10T05:00", id="midnight is skipped in the west"),
        pytest.param("America/Havana", "2024-11-03", "2024-11-03T04:00", id="the hour after midnight occurs twice"),
        pytest.param("Africa/Cairo", "2024-04-26", "2024-04-25T22:00", id="midnight is skipped in the east"),
        pytest.param("Africa/Cairo", "2024-11-01", "2024-10-31T22:00", id="the hour before midnight occurs twice"),
        pytest.param("Pacific/Apia", "2011-12-29", "2011-12-29T10:00", id="the day before the lost day"),
        pytest.param("Pacific/Apia", "2011-12-30", "2011-12-30T10:00", id="a day that never was"),
        pytest.param("Pacific/Apia", "2011-12-31", "2011-12-30T10:00", id="the day after the lost day"),
        pytest.param("America/Toronto", "1919-03-31", "1919-03-31T04:30", id="the gap begins before midnight"),
    ],
)
def test_a_day_starts_at_its_first_instant(zone: str, day: str, start: str) -> None:
    found = start_of_day(date.fromisoformat(day), ZoneInfo(zone))
    assert found == datetime.fromisoformat(start).replace(tzinfo=UTC)


@pytest.mark.parametrize("zone", ["Atlantic/Azores", "America/Havana", "Pacific/Apia", "Africa/Cairo", "Asia/Gaza"])
def test_the_instant_before_is_of_an_earlier_day(zone: str) -> None:
    place = ZoneInfo(zone)
    for number in range(366 * 15):
        day = date(2010, 1, 1) + timedelta(days=number)
        start = start_of_day(day, place)
        assert (start - timedelta(microseconds=1)).astimezone(place).date() < day <= start.astimezone(place).date()
