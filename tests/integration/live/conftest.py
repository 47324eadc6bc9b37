"""A server that listens, and a small world to watch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import Popen

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from app.settings import Settings
from tests.live import Live, live, live_apart


@pytest.fixture
async def house(settings: Settings, redis: Redis, world: AsyncEngine) -> AsyncIterator[Live]:
    """Every class has a record of version 1."""
    async with live(settings) as house:
        yield house


@pytest.fixture
async def apart(
    settings: Settings, redis: Redis, world: AsyncEngine, tmp_path: Path
) -> AsyncIterator[tuple[Live, Popen[bytes]]]:
    """The same as a process of its own."""
    async with live_apart(settings, tmp_path / "serve.log") as (house, process):
        yield house, process
        assert "Exception" not in (tmp_path / "serve.log").read_text()
