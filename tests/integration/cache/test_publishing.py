"""What is put is told to who listens, in one script; and what was deleted stays so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from app.cache import DELETED_SECONDS, Cache
from app.connections import Connections
from app.settings import Settings
from tests.caching import PATIENT, cache_at, key, record, remember_unknown
from tests.faults import Server


@asynccontextmanager
async def hearing(redis: Redis, url: str) -> AsyncIterator[Any]:
    """A function that gives the messages that came since it was last asked."""
    async with redis.pubsub() as listener:
        await listener.subscribe(Connections.to(Settings(redis_url=url)).channel(""))

        async def messages() -> list[bytes]:
            found = []
            while message := await listener.get_message(timeout=0.1):
                if message["type"] == "message":
                    found.append(message["data"])
            return found

        await messages()
        yield messages


def told(version: int) -> bytes:
    return b"c1\0%d %b" % (version, record(version=version).to_json())


async def test_only_who_publishes_is_heard(cache: Cache, redis: Redis, redis_url: str) -> None:
    async with hearing(redis, redis_url) as messages:
        assert await cache.put_many([record()])
        assert await cache.remove_many({"c2": 3})
        assert await messages() == []
        assert await cache.put_many([record(version=2)], publish=True)
        assert await cache.remove_many({"c1": 2}, publish=True)
        assert await messages() == [told(2), b"c1\x002"]


async def test_what_is_no_news_to_the_cache_is_told_all_the_same_but_nothing_older(
    cache: Cache, redis: Redis, redis_url: str
) -> None:
    async with hearing(redis, redis_url) as messages:
        for version in (2, 2, 1):
            assert await cache.put_many([record(version=version)], publish=True)
        assert await messages() == [told(2)] * 3
        assert await cache.get_many(["c1"]) == {"c1": record(version=2)}
        await cache.remove_many({"c1": 2}, publish=True)
        assert await cache.put_many([record(version=2)], publish=True)
        assert await messages() == [b"c1\x002"] * 2


async def test_databases_of_one_server_do_not_hear_each_other(redis: Redis, redis_url: str) -> None:
    async with hearing(redis, redis_url) as messages, cache_at(redis_url[:-1] + "1", **PATIENT) as neighbour:
        assert await neighbour.put_many([record()], publish=True)
        assert await messages() == []


async def test_what_a_process_has_heard_bounds_what_it_reads(cache: Cache, redis: Redis) -> None:
    await cache.put_many([record(version=5)])
    for value, is_newest, found in (
        (b"4 {}", False, {"c1": record(version=5)}),
        (b"5 {}", True, {"c1": record(version=5)}),
        (b"5", True, {}),
        (b"5 {}", False, {}),
        (b"6 {}", True, {}),
    ):
        assert cache.hear("c1", value) is is_newest
        assert await cache.get_many(["c1"]) == found


@pytest.mark.parametrize("order", [(4, "gone 5", 5), (5, "gone 5"), ("gone 5", 5, 4), ("gone 5", "unknown", 5)])
async def test_what_was_deleted_stays_deleted_whatever_the_order(cache: Cache, order: tuple[Any, ...]) -> None:
    for step in order:
        if step == "unknown":
            await remember_unknown(cache, ["c1"])
        elif step == "gone 5":
            await cache.remove_many({"c1": 5})
        else:
            await cache.put_many([record(version=step)])
    assert await cache.get_many(["c1"]) == {"c1": None}


async def test_a_record_made_anew_takes_its_place_and_a_late_deletion_does_not(cache: Cache, redis: Redis) -> None:
    await cache.remove_many({"c1": 5})
    assert await redis.pttl(await key(redis, "c1")) > DELETED_SECONDS * 890
    await cache.put_many([record(version=6)])
    await cache.remove_many({"c1": 5})
    assert await cache.get_many(["c1"]) == {"c1": record(version=6)}


async def test_the_same_version_of_a_class_with_another_status_takes_its_place(cache: Cache) -> None:
    await cache.put_many([record()])
    await cache.put_many([record(status="ARCHIVED")])
    assert await cache.get_many(["c1"]) == {"c1": record(status="ARCHIVED")}


async def test_what_cannot_be_written_takes_the_older_with_it_and_is_told(
    cache: Cache, redis: Redis, redis_url: str
) -> None:
    async with hearing(redis, redis_url) as messages:
        await cache.put_many([record(version=4), record("c2")])
        assert await cache.put_many([record(version=5, custom={"huge": 2**70}), record("c2", 2)], publish=True)
        assert await cache.get_many(["c1", "c2"]) == {"c2": record("c2", 2)}
        await cache.put_many([record(version=4)])
        assert await cache.get_many(["c1"]) == {}
        assert (await messages())[0] == b"c1\x005 "


async def test_a_full_server_tells_and_keeps_nothing_older(server: Server) -> None:
    async with (
        server.client() as client,
        cache_at(server.url, **PATIENT) as cache,
        hearing(client, server.url) as messages,
    ):
        await cache.put_many([record(version=1)])
        await client.config_set("maxmemory-policy", "noeviction")
        await client.config_set("maxmemory", 1)
        assert await cache.put_many([record(version=2)], publish=True)
        assert await cache.get_many(["c1"]) == {}
        assert await messages() == [told(2)]


async def test_a_server_that_may_not_write_tells_but_it_is_not_done(server: Server) -> None:
    """A replica; so does one that cannot save its data to disk."""
    async with (
        server.client() as client,
        cache_at(server.url, **PATIENT) as cache,
        hearing(client, server.url) as messages,
    ):
        await cache.put_many([record(version=1)])
        await client.replicaof("127.0.0.1", "1")
        with capture_logs() as logs:
            for _ in range(2):
                assert not await cache.put_many([record(version=2)], publish=True)
        assert [(line["event"], line["reason"]) for line in logs] == [("redis_refuses_writes", "ReadOnlyError")]
        assert await messages() == [told(2), told(2)]
        await client.replicaof("NO", "ONE")
        assert await cache.put_many([record(version=2)])


async def test_whoever_is_away_has_not_taken_anything(server: Server) -> None:
    async with cache_at(server.url) as cache:
        server.kill()
        assert not await cache.put_many([record()], publish=True)
        assert not await cache.remove_many({"c1": 1}, publish=True)
        assert cache.is_away


async def test_a_patient_cache_waits_longer(server: Server) -> None:
    async def stop_for_a_while() -> None:
        server.pause()
        await asyncio.sleep(0.5)
        server.resume()

    cache = Cache(Settings(redis_url=server.url), patience=5.0)
    await cache.get_many(["c1"])
    stopped = asyncio.create_task(stop_for_a_while())
    await asyncio.sleep(0.05)
    assert await cache.put_many([record()])
    await stopped
    await cache.close()
