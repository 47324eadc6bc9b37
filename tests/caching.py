"""Records to keep, and caches to keep them in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from redis.asyncio import Redis

from app.cache import Cache
from app.metrics import METRIC_NAMES
from app.records import Record
from app.settings import Settings

MARGIN = 1.0  # seconds a busy machine may add to a limit
PATIENT = {"redis_timeout": 5.0}  # where the limit is not what is tested
NOW = datetime(2026, 3, 2, 7, 55, 1, 250, tzinfo=UTC)
FIRST = Record(
    class_id="c1",
    school_id="s1",
    status="ACTIVE",
    version=1,
    pinned_metrics=["average_grade"],
    explanation={"average_grade": {"students": 3}},
    custom={"näme": ["ü", None, 1.5]},
    last_updated=NOW,
    created_at=NOW - timedelta(days=1),
    updated_at=NOW,
    **{name: 7 if name.endswith("_count") else None for name in METRIC_NAMES} | {"average_grade": 81.25},
)


def record(class_id: str = "c1", version: int = 1, **values: Any) -> Record:
    return replace(FIRST, class_id=class_id, version=version, **values)


async def key(redis: Redis, class_id: str) -> str:
    return f"class-performance:{(await redis.info('server'))['run_id']}:{class_id}"


def new_cache(url: str, **settings: Any) -> Cache:
    return Cache(Settings(redis_url=url, **settings))


@asynccontextmanager
async def cache_at(url: str, **settings: Any) -> AsyncIterator[Cache]:
    cache = new_cache(url, **settings)
    try:
        yield cache
    finally:
        await cache.close()


async def remember_unknown(cache: Cache, class_ids: Sequence[str]) -> None:
    """They were looked for and not found."""
    await cache.fill_many(await cache.lease_many(class_ids), dict.fromkeys(class_ids))
