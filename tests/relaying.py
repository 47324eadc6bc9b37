"""Relays, and what they have left to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.cache import Cache
from app.database import transaction
from app.relay import Relay
from app.settings import Settings
from tests.working import until


@asynccontextmanager
async def relay_at(engine: AsyncEngine, settings: Settings, url: str) -> AsyncIterator[tuple[Relay, Cache]]:
    brisk = settings.model_copy(update={"redis_url": SecretStr(url), "redis_retry_after": 0.05})
    cache = Cache(brisk, patience=0.5)
    yield Relay(engine, cache), cache
    await cache.close()


async def execute(engine: AsyncEngine, *commands: str) -> None:
    async with transaction(engine) as connection:
        for command in commands:
            await connection.execute(text(command))


async def untold(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM performance_change"))).scalar_one())


async def drain(relay: Relay, engine: AsyncEngine) -> None:
    async def drained() -> bool:
        await relay.run_once()
        return not await untold(engine)

    await until(drained)


async def version_in(cache: Cache, class_id: str = "algebra") -> int | None:
    record = (await cache.get_many([class_id])).get(class_id)
    return record.version if record else None
