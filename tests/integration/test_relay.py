"""From PostgreSQL to Redis: nothing that changed is left untold, whatever happens to either."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app import relay as relay_module
from app.cache import Cache
from app.database import transaction
from app.relay import Relay
from app.settings import Settings
from tests.faults import Proxy, Server, proxy, server
from tests.serving import Commands, statements
from tests.working import until

__all__ = ["proxy", "server"]

pytestmark = pytest.mark.usefixtures("school")


@pytest.fixture
def relay(engine: AsyncEngine, cache: Cache) -> Relay:
    return Relay(engine, cache)


@asynccontextmanager
async def relay_at(engine: AsyncEngine, settings: Settings, url: str) -> AsyncIterator[tuple[Relay, Cache]]:
    brisk = settings.model_copy(update={"redis_url": SecretStr(url), "redis_retry_after": 0.05})
    cache = Cache(brisk, patience=0.5)
    yield Relay(engine, cache), cache
    await cache.close()


@pytest.fixture(autouse=True)
def _no_long_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "REST_SECONDS", 0.05)


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


async def test_what_plain_sql_changes_is_put_and_told(
    relay: Relay, engine: AsyncEngine, cache: Cache, redis: Redis
) -> None:
    await drain(relay, engine)
    async with redis.pubsub() as listener:
        await listener.psubscribe("class-performance:*")
        await listener.get_message(timeout=5)
        await execute(engine, "UPDATE class_performance SET average_grade = 12.5 WHERE class_id = 'algebra'")
        assert await relay.run_once() == 1
        message = await listener.get_message(timeout=5)
    assert message is not None
    assert message["data"].startswith(b'algebra\x002 {"class_id":"algebra"')
    record = (await cache.get_many(["algebra"]))["algebra"]
    assert record is not None
    assert (record.version, record.average_grade) == (2, 12.5)
    assert await untold(engine) == 0
    assert await relay.run_once() == 0


async def test_several_changes_are_told_once_and_those_rolled_back_never(
    relay: Relay, engine: AsyncEngine, cache: Cache, redis: Redis
) -> None:
    await drain(relay, engine)
    for _ in range(5):
        await execute(engine, "UPDATE class_performance SET total_points = total_points + 1")
    async with engine.connect() as connection:
        await connection.execute(text("UPDATE class_performance SET total_points = -1"))
        await connection.rollback()
    commands = Commands(redis)
    before = await commands.calls("publish")
    assert await relay.run_once() == 10
    assert await commands.calls("publish") == before + 2
    assert await version_in(cache) == 6


async def test_a_status_and_a_deletion_are_told(relay: Relay, engine: AsyncEngine, cache: Cache) -> None:
    await drain(relay, engine)
    await execute(engine, "UPDATE class SET status = 'ARCHIVED' WHERE id = 'algebra'")
    await execute(engine, "DELETE FROM class_performance WHERE class_id = 'biology'")
    assert await relay.run_once() == 2
    found = await cache.get_many(["algebra", "biology"])
    assert found["algebra"] is not None
    assert found["algebra"].status == "ARCHIVED"
    assert found["biology"] is None


async def test_emptying_the_table_tells_all(relay: Relay, engine: AsyncEngine, cache: Cache) -> None:
    await drain(relay, engine)
    await execute(engine, "TRUNCATE class_performance")
    await drain(relay, engine)
    assert await cache.get_many(["algebra", "biology"]) == {"algebra": None, "biology": None}


async def test_a_thousand_changes_are_few_statements(relay: Relay, engine: AsyncEngine) -> None:
    await drain(relay, engine)
    await execute(
        engine,
        "INSERT INTO class (id, school_id, title) SELECT 'c' || n, 'north', '' FROM generate_series(1, 1000) n",
        "INSERT INTO class_performance (class_id, version) SELECT 'c' || n, 1 FROM generate_series(1, 1000) n",
    )
    with statements() as seen:
        assert [await relay.run_once() for _ in range(3)] == [500, 500, 0]
    assert len(seen) == 2 * 5 + 1


async def test_two_relays_in_any_order_leave_the_newest(
    engine: AsyncEngine, settings: Settings, cache: Cache, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first holds what it has read while the second tells what is newer."""
    async with (
        relay_at(engine, settings, redis_url) as (slow, slow_cache),
        relay_at(engine, settings, redis_url) as (
            fast,
            _,
        ),
    ):
        await drain(fast, engine)
        for change, expected in (
            ("UPDATE class_performance SET total_points = total_points + 1", 3),
            ("DELETE FROM class_performance WHERE class_id = 'algebra'", None),
        ):
            has_read, may_put = asyncio.Event(), asyncio.Event()
            put_many = slow_cache.put_many

            async def held(records: Any, has_read=has_read, may_put=may_put, put=put_many, **options: Any) -> bool:  # type: ignore[no-untyped-def]
                has_read.set()
                await may_put.wait()
                return bool(await put(records, **options))

            monkeypatch.setattr(slow_cache, "put_many", held)
            await execute(engine, "UPDATE class_performance SET total_points = total_points + 1")
            telling = asyncio.create_task(slow.run_once())
            await has_read.wait()
            assert await fast.run_once() == 0
            await execute(engine, change)
            assert await fast.run_once() > 0
            may_put.set()
            await telling
            monkeypatch.setattr(slow_cache, "put_many", put_many)
            assert await untold(engine) == 0
            assert await version_in(cache) == expected


async def test_many_relays_share_the_work_and_readers_never_go_back(
    engine: AsyncEngine, settings: Settings, redis_url: str, redis: Redis
) -> None:
    async with (
        relay_at(engine, settings, redis_url) as (first, _),
        relay_at(engine, settings, redis_url) as (second, _),
        relay_at(engine, settings, redis_url) as (_, reader),
    ):
        done = asyncio.Event()

        async def run(relay: Relay) -> None:
            while not done.is_set() or await untold(engine):
                await relay.run_once()

        async def read() -> list[int]:
            seen = []
            while not done.is_set():
                seen.append(await version_in(reader) or 0)
            return seen

        tasks = [asyncio.create_task(run(relay)) for relay in (first, second)]
        reading = asyncio.create_task(read())
        for _ in range(100):
            await execute(engine, "UPDATE class_performance SET total_points = total_points + 1")
        done.set()
        await asyncio.gather(*tasks)
        versions = await reading
        assert versions == sorted(versions)
        assert await version_in(reader) == 101


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
    monkeypatch.setattr(relay_module, "IMPATIENTLY", text(relay_module.IMPATIENTLY.text.replace("5s", "300ms")))
    async with (
        relay_at(engine, settings, redis_url) as (stopped, stopped_cache),
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
