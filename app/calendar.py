"""Time zones, and days of a school as instants."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo, available_timezones, reset_tzpath

SECOND = timedelta(seconds=1)

# The time zones of the package tzdata, which are as new as PostgreSQL's own. The system's may be years older, and a day
# would begin at another instant here than there.
reset_tzpath(to=())


@cache
def time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


@lru_cache(maxsize=10_000)
def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """Midnight: the earlier if it occurs twice; where it does not occur, the first instant after the gap."""
    midnight = datetime.combine(day, time(), zone)
    late, early = midnight.astimezone(UTC), midnight.replace(fold=1).astimezone(UTC)
    return _end_of_gap(early, late, zone) if early < late else late


def _end_of_gap(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The first instant in (before, after] with the later offset. Clocks change at whole seconds."""
    offset = after.astimezone(zone).utcoffset()
    while after - before > SECOND:
        middle = before + ((after - before) // SECOND // 2) * SECOND
        if middle.astimezone(zone).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return after
