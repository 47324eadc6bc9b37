"""The relay before a Redis in every kind of trouble: nothing that changed is left untold."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app import database
from app import relay as relay_module
from app.settings import Settings
from tests.faults import Proxy, Server, proxy, server
from tests.relaying import drain, execute, relay_at, untold, version_in
from tests.serving import statements
from tests.working import until

__all__ = ["proxy", "server"]

pytestmark = pytest.mark.usefixtures("school")


@pytest.fixture(autouse=True)
def _no_long_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "REST_SECONDS", 0.05)


def kill(server: Server, between: Proxy) -> None:
    server.kill()


def stop(server: Server, between: Proxy) -> None:
    server.pause()


def lose(server: Server, between: Proxy) -> None:
    between.lose()


@pytest.mark.parametrize("fault", [kill, stop, lose])
async def test_what_changes_while_redis_is_away_is_kept_and_told_when_it_is_back(
    engine: AsyncEngine, settings: Settings, server: Server, proxy: tuple[Proxy, str], fault: Any
) -> None:
    between, url = proxy
    async with relay_at(engine, settings, url) as (relay, cache):
        await drain(relay, engine)
        fault(server, between)
        for _ in range(3):
            await execute(engine, "UPDATE class_performance SET total_points = total_points + 1")
            assert await relay.run_once() == 0
        assert await untold(engine) == 6
        between.pass_on()
        server.restart() if fault is kill else server.resume()
        await drain(relay, engine)
        assert await version_in(cache) == 4


async def test_while_redis_is_away_trying_costs_nothing(
    engine: AsyncEngine, settings: Settings, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "REST_SECONDS", 60)
    async with relay_at(engine, settings, server.url) as (relay, _):
        server.kill()
        assert await relay.run_once() == 0
        with statements() as seen:
            for _ in range(100):
                assert await relay.run_once() == 0
        assert seen == []


async def test_a_redis_that_may_not_write_gets_it_later_and_nobody_waits_behind(
    engine: AsyncEngine, settings: Settings, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who listen are told of all, also of those after the first batch."""
    monkeypatch.setattr(relay_module, "ROWS", 1)
    monkeypatch.setattr(relay_module, "CLAIM", text(relay_module.CLAIM.text.replace("LIMIT 500", "LIMIT 1")))
    async with relay_at(engine, settings, server.url) as (relay, cache), server.client() as client:
        await drain(relay, engine)
        await client.replicaof("127.0.0.1", "1")
        async with client.pubsub() as listener:
            await listener.psubscribe("class-performance:*")
            await listener.get_message(timeout=5)
            await execute(engine, "UPDATE class_performance SET total_points = 5")
            assert [await relay.run_once() for _ in range(2)] == [0, 0]
            told = [await listener.get_message(timeout=5) for _ in range(2)]
        assert sorted(message["data"].partition(b"\0")[0] for message in told if message) == [b"algebra", b"biology"]
        assert await untold(engine) == 2
        await client.replicaof("NO", "ONE")
        await drain(relay, engine)
        assert await version_in(cache) == 2


async def test_a_full_redis_holds_nothing_up(engine: AsyncEngine, settings: Settings, server: Server) -> None:
    async with relay_at(engine, settings, server.url) as (relay, cache), server.client() as client:
        await drain(relay, engine)
        await client.config_set("maxmemory-policy", "noeviction")
        await client.config_set("maxmemory", 1)
        await execute(engine, "UPDATE class_performance SET total_points = 5")
        assert await relay.run_once() == 2
        assert await cache.get_many(["algebra", "biology"]) == {}


async def test_where_there_is_no_redis_nothing_piles_up(engine: AsyncEngine, settings: Settings) -> None:
    async with relay_at(engine, settings, "") as (relay, _):
        assert await relay.run_once() > 0
        assert await untold(engine) == 0


async def test_one_who_is_stopped_in_the_middle_gives_up_what_he_claimed(
    engine: AsyncEngine, settings: Settings, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "IDLE_SECONDS", 1)
    line = database.create_engine(settings)
    async with (
        relay_at(line, settings, redis_url) as (stopped, stopped_cache),
        relay_at(engine, settings, redis_url) as (other, _),
    ):
        await drain(other, engine)
        await execute(engine, "UPDATE class_performance SET total_points = 5")
        claimed, may_go_on = asyncio.Event(), asyncio.Event()

        async def stop(*_: Any, **__: Any) -> bool:
            claimed.set()
            await may_go_on.wait()
            return True

        monkeypatch.setattr(stopped_cache, "put_many", stop)
        task = asyncio.create_task(stopped.run_once())
        await claimed.wait()
        assert await other.run_once() == 0
        began = time.monotonic()
        await until(other.run_once)
        assert time.monotonic() - began < 5
        may_go_on.set()
        await asyncio.gather(task, return_exceptions=True)
        assert await untold(engine) == 0
    await line.dispose()
