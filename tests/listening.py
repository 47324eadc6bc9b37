"""A process that listens, as far as the hub is concerned, and a class to watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.cache import Cache
from app.database import create_engine, transaction
from app.events import Publications
from app.performance import Performance, recalculate_many
from app.relay import Relay
from app.settings import Settings
from app.watching import Hub, Update, Watch
from tests.working import until

PATIENCE = 20.0  # a busy machine; nothing here depends on being quick
QUIET = 0.15


@dataclass(frozen=True)
class Listener:
    engine: AsyncEngine
    cache: Cache
    performance: Performance
    publications: Publications
    hub: Hub
    relay: Relay

    async def execute(self, statement: str, **parameters: Any) -> None:
        async with transaction(self.engine) as connection:
            await connection.execute(text(statement), parameters)

    async def change(self, class_id: str) -> int:
        """As a program would that knows only SQL; the new version. Nobody is told."""
        async with transaction(self.engine) as connection:
            statement = "UPDATE class_performance SET highest_grade = version WHERE class_id = :id RETURNING version"
            return int((await connection.execute(text(statement), {"id": class_id})).scalar_one())

    async def tell(self) -> None:
        while await self.relay.run_once():
            pass

    async def change_and_tell(self, class_id: str) -> int:
        version = await self.change(class_id)
        await self.tell()
        return version

    async def until_connected(self, connected: bool = True) -> None:
        async def is_so() -> bool:
            return self.publications.connected is connected

        await until(is_so)


@asynccontextmanager
async def listening(settings: Settings, *, connected: bool = True) -> AsyncIterator[Listener]:
    engine, cache, publications = create_engine(settings), Cache(settings), Publications(settings)
    performance = Performance(engine, cache)
    hub = Hub(settings, engine, cache, performance, publications)
    listener = Listener(engine, cache, performance, publications, hub, Relay(engine, Cache(settings, patience=1.0)))
    hub.start()
    try:
        if connected:
            await listener.until_connected()
        yield listener
    finally:
        await hub.close()
        await cache.close()
        await listener.relay._cache.close()
        await engine.dispose()


async def take(watch: Watch) -> tuple[str, int | None]:
    """The next update, by its version."""
    async with asyncio.timeout(PATIENCE):
        return brief(await anext(watch))


async def take_all(watch: Watch, quiet: float = QUIET) -> list[tuple[str, int | None]]:
    """What comes until nothing comes."""
    found = []
    while True:
        try:
            async with asyncio.timeout(quiet):
                found.append(brief(await anext(watch)))
        except TimeoutError:
            return found


def brief(update: Update) -> tuple[str, int | None]:
    return update.class_id, update.record.version if update.record else None


async def take_until(watch: Watch, class_id: str, version: int) -> list[int]:
    """The versions of the class, up to this one."""
    versions: list[int] = []
    while not versions or versions[-1] < version:
        found, number = await take(watch)
        if found == class_id and number is not None:
            versions.append(number)
    return versions


async def create(listener: Listener, class_id: str, school_id: str = "north") -> None:
    await listener.execute(
        "INSERT INTO class (id, school_id, title) VALUES (:id, :school, '') ON CONFLICT DO NOTHING",
        id=class_id,
        school=school_id,
    )
    async with transaction(listener.engine) as connection:
        await recalculate_many(connection, [class_id])
    await listener.tell()


async def delete(listener: Listener, class_id: str) -> None:
    """With all it has, in one transaction."""
    async with transaction(listener.engine) as connection:
        for table in ("class_performance_history", "class_performance"):
            await connection.execute(text(f"DELETE FROM {table} WHERE class_id = :id"), {"id": class_id})
        await connection.execute(text("DELETE FROM class WHERE id = :id"), {"id": class_id})
    await listener.tell()
