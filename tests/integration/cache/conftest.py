"""A cache, and a Valkey behind a proxy to trouble it with."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import structlog
from redis.asyncio import Redis

from app import cache as cache_module
from app import presence
from app.cache import Cache
from tests.caching import PATIENT, cache_at
from tests.faults import proxy, server

__all__ = ["proxy", "server"]


@pytest.fixture(autouse=True)
def _a_logger_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was used before may be bound to settings of another test."""
    for module in (cache_module, presence):
        monkeypatch.setattr(module, "log", structlog.get_logger())


@pytest.fixture
async def cache(redis: Redis, redis_url: str) -> AsyncIterator[Cache]:
    async with cache_at(redis_url, **PATIENT) as cache:
        yield cache
