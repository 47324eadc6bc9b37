"""A listener on the servers that all share, and the small school."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from app.settings import Settings
from tests.faults import proxy, server
from tests.listening import Listener, listening

__all__ = ["proxy", "server"]


@pytest.fixture
async def listener(settings: Settings, redis: Redis, school: None) -> AsyncIterator[Listener]:
    """Nothing is waiting to be told."""
    async with listening(settings) as listener:
        await listener.tell()
        yield listener
