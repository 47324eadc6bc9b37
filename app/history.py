"""What records were: every version, or the last of each interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.metrics import METRIC_NAMES

MOST_VERSIONS = 1_000


class Interval(StrEnum):
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Span(NamedTuple):
    """Versions of a class made from `begins` until just before `ends`; null is unbounded."""

    class_id: str
    begins: datetime | None = None
    ends: datetime | None = None
    interval: Interval | None = None


# Days, weeks and months are the school's. Without an interval every version is a group of its own.
READ = text(f"""
    SELECT span.number, version, cause, pinned_metrics, at, {", ".join(METRIC_NAMES)}
    FROM unnest(CAST(:numbers AS int[]), CAST(:class_ids AS text[]), CAST(:begins AS timestamptz[]),
                CAST(:ends AS timestamptz[]), CAST(:intervals AS text[]))
         AS span (number, class_id, begins, ends, width)
    CROSS JOIN LATERAL (
        SELECT DISTINCT ON (coalesce(date_trunc(span.width, h.at, s.time_zone), 'infinity'),
                            CASE WHEN span.width IS NULL THEN h.version END) h.*
        FROM class_performance_history h
        JOIN class c ON c.id = h.class_id JOIN school s ON s.id = c.school_id
        WHERE h.class_id = span.class_id
          AND (span.begins IS NULL OR h.at >= span.begins) AND (span.ends IS NULL OR h.at < span.ends)
        ORDER BY coalesce(date_trunc(span.width, h.at, s.time_zone), 'infinity') DESC,
                 CASE WHEN span.width IS NULL THEN h.version END DESC, h.version DESC
        LIMIT {MOST_VERSIONS}
    ) AS found
    ORDER BY span.number, version
""")


@dataclass(frozen=True, slots=True)
class History:
    engine: AsyncEngine

    async def get_many(self, spans: Sequence[Span]) -> list[list[Row[Any]]]:
        """For each span its versions, oldest first, the newest 1,000 at the most."""
        parameters = {
            "numbers": list(range(len(spans))),
            "class_ids": [span.class_id for span in spans],
            "begins": [span.begins for span in spans],
            "ends": [span.ends for span in spans],
            "intervals": [span.interval and span.interval.value for span in spans],
        }
        async with self.engine.connect() as connection:
            rows = (await connection.execute(READ, parameters)).all()
        found = {number: list(group) for number, group in groupby(rows, key=attrgetter("number"))}
        return [found.get(number, []) for number in range(len(spans))]
