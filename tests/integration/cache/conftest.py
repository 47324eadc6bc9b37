"""A cache, and a Valkey behind a proxy to trouble it with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from redis.asyncio import Redis

from app import cache as cache_module
from app.cache import Cache
from tests.caching import PATIENT, cache_at
from tests.faults import Proxy, Server, private_server, proxy_before


@pytest.fixture(autouse=True)
def _a_logger_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was used before may be bound to settings of another test."""
    monkeypatch.setattr(cache_module, "log", structlog.get_logger())


@pytest.fixture
async def cache(redis: Redis, redis_url: str) -> AsyncIterator[Cache]:
    async with cache_at(redis_url, **PATIENT) as cache:
        yield cache


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with private_server(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[tuple[Proxy, str]]:
    async with proxy_before(server.port) as proxy:
        yield proxy
