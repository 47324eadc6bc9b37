"""From PostgreSQL to Redis: nothing that changed is left untold, in whatever order it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.cache import Cache
from app.relay import Relay
from app.settings import Settings
from tests.relaying import drain, execute, relay_at, untold, version_in
from tests.serving import Commands, statements

pytestmark = pytest.mark.usefixtures("school")


@pytest.fixture
async def relay(engine: AsyncEngine, settings: Settings) -> AsyncIterator[Relay]:
    cache = Cache(settings, patience=5.0)
    yield Relay(engine, cache)
    await cache.close()


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
    assert len(seen) == 2 * 4 + 1


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
