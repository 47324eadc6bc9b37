"""A Redis that comes back as it was some time ago: nothing it holds from then is ever read."""

from __future__ import annotations

import asyncio

import pytest

from app.cache import Cache
from app.connections import CONNECTIONS
from tests.caching import PATIENT, cache_at, key, record
from tests.faults import PASSWORD, Proxy, Server


async def lose_the_last_second(server: Server, cache: Cache) -> None:
    """A file is written at version 4; version 5 is put and lost."""
    await cache.put_many([record(version=4)])
    async with server.client() as client:
        await client.save()
    await cache.put_many([record(version=5)])
    server.kill()
    server.restart()
    await server.until_listening()


async def test_what_was_restored_from_a_file_is_not_read(server: Server) -> None:
    """The connections of before are renewed silently, in the middle of a question."""
    async with cache_at(server.url, **PATIENT) as cache:
        await asyncio.gather(*(cache.get_many(["c1"]) for _ in range(CONNECTIONS)))
        await lose_the_last_second(server, cache)
        assert await asyncio.gather(*(cache.get_many(["c1"]) for _ in range(50))) == [{}] * 50
        async with server.client() as client:
            (restored,) = await client.keys("*c1")
            assert (await client.get(restored)).startswith(b"4 ")


async def test_what_was_restored_does_not_come_back_with_a_process_that_slept(server: Server) -> None:
    async with cache_at(server.url, **PATIENT) as sleeper, cache_at(server.url, **PATIENT) as other:
        await sleeper.put_many([record("c2")])
        await lose_the_last_second(server, other)
        assert await sleeper.get_many(["c1", "c2"]) == {}
        await sleeper.put_many([record(version=5)])
        assert await other.get_many(["c1"]) == {"c1": record(version=5)}
        await other.put_many([record(version=6)])
        assert await sleeper.get_many(["c1", "c2"]) == {"c1": record(version=6)}


async def test_a_record_put_after_the_restart_is_found_whatever_was_restored(server: Server) -> None:
    async with cache_at(server.url, **PATIENT) as cache:
        await lose_the_last_second(server, cache)
        await cache.put_many([record(version=5)])
        assert await cache.get_many(["c1"]) == {"c1": record(version=5)}


async def test_emptying_is_no_restart(server: Server) -> None:
    async with cache_at(server.url, **PATIENT) as cache, server.client() as client:
        await cache.put_many([record()])
        before = await key(client, "c1")
        await client.flushall()
        assert await cache.get_many(["c1"]) == {}
        await cache.put_many([record()])
        assert await client.keys("*") == [before.encode()]


async def test_where_the_user_may_not_ask_which_server_it_is_the_cache_still_works(server: Server) -> None:
    async with server.client() as client:
        await client.acl_setuser(
            "app", enabled=True, passwords=["+pw"], keys=["*"], channels=["*"], commands=["+@all", "-info"]
        )
    async with cache_at(server.url.replace(f":{PASSWORD}", "app:pw"), **PATIENT) as cache:
        await cache.put_many([record()])
        assert await cache.get_many(["c1"]) == {"c1": record()}


async def test_a_question_costs_no_more_commands_than_before(server: Server, proxy: tuple[Proxy, str]) -> None:
    between, url = proxy
    async with cache_at(url, **PATIENT) as cache:
        for _ in range(20):
            await cache.get_many(["c1"])
    assert between.count("INFO") == between.connections == 1


@pytest.mark.parametrize("turns", range(0, 30, 3))
async def test_a_restart_at_any_moment_of_a_question_serves_nothing_old(server: Server, turns: int) -> None:
    async with cache_at(server.url, redis_timeout=5.0, redis_retry_after=0.01) as cache:
        await cache.put_many([record(version=4)])
        async with server.client() as client:
            await client.save()
        await cache.put_many([record(version=5)])
        asking = asyncio.create_task(cache.get_many(["c1"]))
        for _ in range(turns):
            await asyncio.sleep(0)
        server.kill()
        server.restart()
        await server.until_listening()
        assert await asking in ({}, {"c1": record(version=5)})
        async with asyncio.timeout(10):
            while cache.is_away:
                assert await cache.get_many(["c1"]) == {}
                await asyncio.sleep(0.02)
        assert await cache.get_many(["c1"]) == {}
