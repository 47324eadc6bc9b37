"""Whoever is held up between reading a record and putting it into Redis, while a newer one comes and is lost again:
nobody reads the older from then on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.cache import Cache
from app.database import transaction
from app.performance import Performance
from app.relay import Relay
from app.settings import Settings
from tests.caching import PATIENT, key
from tests.faults import Server, server
from tests.working import until

__all__ = ["server"]

pytestmark = pytest.mark.usefixtures("school")

LOSSES = ["emptied", "restarted", "evicted", "missed"]


@dataclass(frozen=True)
class Process:
    cache: Cache
    performance: Performance
    relay: Relay


@dataclass(frozen=True)
class Scene:
    """Of the processes one is held up, one does what there is to do meanwhile, and one has heard of nothing."""

    engine: AsyncEngine
    server: Server
    held: Process
    other: Process
    stranger: Process

    async def change(self) -> None:
        async with transaction(self.engine) as connection:
            await connection.execute(text("UPDATE class_performance SET total_points = total_points + 1"))

    async def tell(self) -> None:
        await until(self.other.relay.run_once)

    async def lose(self, how: str) -> None:
        async with self.server.client() as client:
            if how == "emptied":
                await client.flushall()
            elif how == "evicted":
                await client.delete(await key(client, "algebra"))
            elif how == "missed":
                await client.delete(await key(client, "algebra"))
                await self.other.cache.lease_many(["algebra"])
        if how == "restarted":
            self.server.kill()
            self.server.restart()
            await self.server.until_listening()

    async def version(self, process: Process) -> int:
        (record,) = await process.performance.get_many(["algebra"])
        assert record is not None
        return record.version


@pytest.fixture
async def scene(engine: AsyncEngine, settings: Settings, server: Server) -> AsyncIterator[Scene]:
    own = settings.model_copy(update={"redis_url": SecretStr(server.url), "redis_retry_after": 0.05, **PATIENT})
    caches = [Cache(own) for _ in range(3)]
    processes = [Process(cache, Performance(engine, cache), Relay(engine, cache)) for cache in caches]
    await until(processes[0].relay.run_once)
    yield Scene(engine, server, *processes)
    for cache in caches:
        await cache.close()


class Hold:
    """Holds the next call of a method, before it does anything."""

    def __init__(self, cache: Cache, method: str) -> None:
        self._called, self._go_on = asyncio.Event(), asyncio.Event()
        self._original = getattr(cache, method)
        setattr(cache, method, self._wait)

    async def _wait(self, *arguments: Any, **options: Any) -> Any:
        self._called.set()
        await self._go_on.wait()
        return await self._original(*arguments, **options)

    async def reached(self) -> None:
        async with asyncio.timeout(10):
            await self._called.wait()

    def release(self) -> None:
        self._go_on.set()


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_reader(scene: Scene, loss: str) -> None:
    await scene.lose("emptied")
    hold = Hold(scene.held.cache, "fill_many")
    reading = asyncio.create_task(scene.version(scene.held))
    await hold.reached()
    await scene.change()
    await scene.tell()
    await scene.lose(loss)
    hold.release()
    assert await reading == 1
    for process in (scene.stranger, scene.other):
        assert await scene.version(process) == 2


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_mutation_after_its_commit(scene: Scene, loss: str) -> None:
    await scene.change()
    records = await Performance(scene.engine, Cache(Settings())).get_many(["algebra"])
    await scene.change()
    await scene.tell()
    await scene.lose(loss)
    await scene.held.performance.publish([record for record in records if record])
    for process in (scene.stranger, scene.other, scene.held):
        assert await scene.version(process) == 3


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_relay(scene: Scene, loss: str) -> None:
    await scene.change()
    hold = Hold(scene.held.cache, "put_many")
    telling = asyncio.create_task(scene.held.relay.run_once())
    await hold.reached()
    await scene.change()
    await scene.tell()
    await scene.lose(loss)
    hold.release()
    await telling
    for process in (scene.stranger, scene.other):
        assert await scene.version(process) == 3


async def test_a_relay_whose_line_to_the_database_was_cut_meanwhile_looks_again(scene: Scene) -> None:
    await scene.change()
    hold = Hold(scene.held.cache, "put_many")
    telling = asyncio.create_task(scene.held.relay.run_once())
    await hold.reached()
    async with scene.engine.connect() as connection:
        await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction' "
                "AND pid <> pg_backend_pid() AND datname = current_database()"
            )
        )
    await scene.change()
    await scene.tell()
    await scene.lose("emptied")
    hold.release()
    (broken,) = await asyncio.gather(telling, return_exceptions=True)
    assert isinstance(broken, Exception)
    await scene.held.relay.run_once()
    assert await scene.version(scene.stranger) == 3


async def test_who_misses_what_another_is_looking_for_may_fill_it_too(scene: Scene) -> None:
    await scene.lose("emptied")
    hold = Hold(scene.held.cache, "fill_many")
    reading = asyncio.create_task(scene.version(scene.held))
    await hold.reached()
    assert await scene.version(scene.other) == 1
    assert "algebra" in await scene.stranger.cache.get_many(["algebra"])
    hold.release()
    await reading
    assert "algebra" in await scene.stranger.cache.get_many(["algebra"])


async def test_what_its_author_has_changed_he_reads_even_where_redis_took_nothing(scene: Scene) -> None:
    await scene.version(scene.other)
    async with scene.server.client() as client:
        await client.replicaof("127.0.0.1", "1")
        await scene.change()
        records = await Performance(scene.engine, Cache(Settings())).get_many(["algebra"])
        await scene.other.performance.publish([record for record in records if record])
        assert await scene.version(scene.other) == 2
        await client.replicaof("NO", "ONE")
