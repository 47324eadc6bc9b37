"""Waits, for a bounded time, until everything that was written is calculated and told."""

from __future__ import annotations

import asyncio
import time

import psycopg

from tests.soak.evidence import QUIET, Evidence
from tests.soak.subscribers import Interest

MARGIN = "interval '2 seconds'"  # within which no record may change just because time goes by
LOOK = 0.2
LOOKS = 3  # in a row

# What is still to be done, by name. A connection lost half open keeps its transaction until the server ends it.
LEFT = f"""
SELECT 'changes', count(*), string_agg(coalesce(class_id, school_id, 'all'), ' ') FROM class_change
UNION ALL SELECT 'outbox', count(*), string_agg(class_id, ' ') FROM performance_change
UNION ALL SELECT 'failures', count(*), string_agg(class_id || ' (' || error || ')', ' ') FROM calculation_failure
UNION ALL SELECT 'to change with time', count(*), string_agg(class_id, ' ') FROM class_performance
    WHERE next_change_at < clock_timestamp() + {MARGIN}
UNION ALL SELECT 'without a record', count(*), string_agg(id, ' ') FROM class c
    WHERE NOT EXISTS (SELECT FROM class_performance p WHERE p.class_id = c.id)
UNION ALL SELECT 'transactions', count(*), string_agg(state || ' since ' || xact_start || ': ' || left(query, 60), '; ')
    FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
"""


async def until_calculated(database_url: str, evidence: Evidence, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    looks = 0
    while looks < LOOKS:
        left = await asyncio.to_thread(_left, database_url)
        looks = 0 if left else looks + 1
        if time.monotonic() > deadline:
            evidence.complain(QUIET, f"after {seconds:.0f} s there are left: {left}"[:1500])
            return False
        await asyncio.sleep(LOOK)
    return True


def _left(database_url: str) -> dict[str, str]:
    with psycopg.connect(database_url, connect_timeout=5, autocommit=True) as connection:
        rows = connection.execute(LEFT.encode()).fetchall()
    return {name: f"{count} {what[:300]}" for name, count, what in rows if count}


async def until_told(interests: list[Interest], database_url: str, seconds: float) -> None:
    """When every subscriber has seen the newest of everything, or time is up: which it was, is for others to judge."""
    versions = await asyncio.to_thread(newest, database_url)
    for _ in range(round(seconds / LOOK)):
        if not any(behind(interest, versions) for interest in interests):
            return
        await asyncio.sleep(LOOK)


def newest(database_url: str) -> dict[str, int]:
    with psycopg.connect(database_url, connect_timeout=5) as connection:
        return dict(connection.execute("SELECT class_id, version FROM class_performance").fetchall())


def behind(interest: Interest, versions: dict[str, int]) -> dict[str, tuple[int, int]]:
    """By class, the version seen and the newest."""
    return {
        class_id: (interest.seen.get(class_id, 0), version)
        for class_id, version in versions.items()
        if interest.covers(class_id) and interest.seen.get(class_id, 0) != version
    }
