"""The cache before a Valkey in every kind of trouble."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from app import connections as lines
from app.cache import Cache
from app.records import Record
from app.settings import Settings
from tests.caching import MARGIN, cache_at, record, remember_unknown
from tests.faults import PASSWORD, Proxy, Server, always_answering


async def get_within_limit(cache: Cache, *class_ids: str) -> dict[str, Record | None]:
    began = time.monotonic()
    found = await cache.get_many(class_ids or ["c1"])
    assert time.monotonic() - began < Settings().redis_timeout + MARGIN
    return found


async def until_found(cache: Cache, put: Sequence[Record] = ()) -> None:
    async with asyncio.timeout(10):
        while not await cache.get_many(["c1"]):
            await cache.put_many(put)
            await asyncio.sleep(0.02)


@asynccontextmanager
async def refusing() -> AsyncIterator[str]:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield f"redis://:{PASSWORD}@127.0.0.1:{closed.getsockname()[1]}/0"


@asynccontextmanager
async def mistaken() -> AsyncIterator[str]:
    yield "redis://127.0.0.1:1/0?no_such_option=1"


@asynccontextmanager
async def never_connecting() -> AsyncIterator[str]:
    """A full queue of connections: one more gets no answer at all, as from a machine that is gone."""
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first.connect(full.getsockname())
        yield f"redis://:{PASSWORD}@127.0.0.1:{full.getsockname()[1]}/0"


TROUBLES = {
    "refusing": refusing,
    "mistaken": mistaken,
    "never connecting": never_connecting,
    "silent": lambda: always_answering(b""),
    "loading": lambda: always_answering(b"-LOADING Redis is loading the dataset in memory\r\n"),
    "not for us": lambda: always_answering(f"-ERR unknown command with args: '{PASSWORD}'\r\n".encode()),
    "no redis": lambda: always_answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "absurd": lambda: always_answering(b"*2\r\n:1\r\n$-1\r\n"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_no_trouble_raises_or_takes_longer_than_the_limit(trouble: str) -> None:
    async with TROUBLES[trouble]() as url:
        with capture_logs() as logs:
            for call in (Cache.get_many, Cache.put_many, remember_unknown):
                async with cache_at(url, redis_retry_after=60) as cache:
                    began = time.monotonic()
                    assert not await call(cache, [record()] if call is Cache.put_many else ["c1"])
                    assert time.monotonic() - began < Settings().redis_timeout + MARGIN
                    assert await get_within_limit(cache) == {}
    assert [line["event"] for line in logs] == ["redis_is_away"] * 3
    assert PASSWORD not in str(logs)


def lose(server: Server, proxy: Proxy) -> None:
    proxy.lose()


def stop(server: Server, proxy: Proxy) -> None:
    server.pause()


def kill(server: Server, proxy: Proxy) -> None:
    server.kill()


@pytest.mark.parametrize("fault", [lose, stop, kill])
@pytest.mark.parametrize("crowd", [1, 100])
async def test_when_redis_goes_away_few_ask_and_one_line_is_logged(
    server: Server, proxy: tuple[Proxy, str], fault: Any, crowd: int
) -> None:
    between, url = proxy
    async with cache_at(url, redis_retry_after=60) as cache:
        await cache.put_many([record()])
        assert await cache.get_many(["c1"]) == {"c1": record()}
        fault(server, between)
        with capture_logs() as logs:
            assert await asyncio.gather(*(get_within_limit(cache) for _ in range(crowd))) == [{}] * crowd
            connections, received = between.connections, len(between.received)
            for _ in range(100):
                assert await cache.get_many(["c1"]) == {}
                await cache.put_many([record(version=2)])
                await remember_unknown(cache, ["c2"])
        assert (between.connections, len(between.received)) == (connections, received)
        assert between.count("MGET") <= 1 + lines.CONNECTIONS
        assert [line["event"] for line in logs] == ["redis_is_away"]
        server.resume()


async def test_who_waits_for_a_turn_when_redis_goes_away_does_not_ask(server: Server, proxy: tuple[Proxy, str]) -> None:
    between, url = proxy
    async with cache_at(f"{url}?max_connections=2", redis_timeout=0.4, redis_retry_after=60) as cache:
        await asyncio.gather(*(cache.get_many(["c1"]) for _ in range(10)))
        between.lose()
        connections = between.connections
        first = [asyncio.create_task(cache.get_many(["c1"])) for _ in range(10)]
        await asyncio.sleep(0.2)
        later = [asyncio.create_task(cache.get_many(["c1"])) for _ in range(10)]
        assert await asyncio.gather(*first, *later) == [{}] * 20
        assert between.connections == connections


async def test_a_wrong_password_is_tried_once_and_not_told(server: Server, proxy: tuple[Proxy, str]) -> None:
    between, url = proxy
    async with cache_at(url.replace(PASSWORD, "a-wrong-secret"), redis_retry_after=60) as cache:
        with capture_logs() as logs:
            for _ in range(100):
                assert await get_within_limit(cache) == {}
    assert between.count("AUTH") == 1
    assert [line["reason"] for line in logs] == ["AuthenticationError"]
    assert "a-wrong-secret" not in str(logs)


async def test_during_an_outage_one_at_a_time_tries(server: Server, proxy: tuple[Proxy, str]) -> None:
    between, url = proxy
    async with cache_at(url, redis_retry_after=0.2) as cache:
        await cache.put_many([record()])
        between.lose()
        await cache.get_many(["c1"])
        before = between.connections
        for trial in range(1, 4):
            await asyncio.sleep(0.25)
            assert await asyncio.gather(*(cache.get_many(["c1"]) for _ in range(50))) == [{}] * 50
            assert between.connections == before + trial


async def test_a_trial_that_is_cancelled_leaves_it_to_another(server: Server, proxy: tuple[Proxy, str]) -> None:
    between, url = proxy
    async with cache_at(url, redis_retry_after=0.1) as cache:
        await cache.put_many([record()])
        between.lose()
        await cache.get_many(["c1"])
        await asyncio.sleep(0.15)
        trial = asyncio.create_task(cache.get_many(["c1"]))
        await asyncio.sleep(0.01)
        trial.cancel()
        between.pass_on()
        await until_found(cache)


@pytest.mark.parametrize("fault", [lose, stop, kill])
async def test_redis_is_used_again_when_it_is_back(server: Server, proxy: tuple[Proxy, str], fault: Any) -> None:
    between, url = proxy
    async with cache_at(url, redis_retry_after=0.05) as cache:
        await cache.put_many([record()])
        await asyncio.gather(*(cache.get_many(["c1"]) for _ in range(100)))
        with capture_logs() as logs:
            fault(server, between)
            assert await get_within_limit(cache) == {}
            await asyncio.sleep(0.1)
            assert await get_within_limit(cache) == {}
            between.pass_on()
            server.resume() if fault is not kill else server.restart()
            await until_found(cache, [record()])
            # None of the connections from before is met again, however many are needed at once.
            assert await asyncio.gather(*(cache.get_many(["c1"]) for _ in range(50))) == [{"c1": record()}] * 50
        assert [line["event"] for line in logs] == ["redis_is_away", "redis_is_back"]


async def test_a_restart_between_two_calls_is_not_even_noticed(server: Server) -> None:
    async with cache_at(server.url) as cache:
        await asyncio.gather(*(cache.get_many(["c1"]) for _ in range(50)))
        server.kill()
        server.restart()
        await server.until_listening()
        with capture_logs() as logs:
            await cache.put_many([record()])
            assert await asyncio.gather(*(cache.get_many(["c1"]) for _ in range(50))) == [{"c1": record()}] * 50
        assert logs == []


async def test_a_server_that_is_loading_is_away_and_then_back(server: Server) -> None:
    async with server.client() as client:
        await client.mset({f"filler:{number}": "x" for number in range(2_000)})
        await client.save()
    server.kill()
    server.restart("--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024")
    await server.until_listening()
    async with cache_at(server.url, redis_timeout=1, redis_retry_after=0.05) as cache:
        with capture_logs() as logs:
            await until_found(cache, [record()])
    assert [line["event"] for line in logs] == ["redis_is_away", "redis_is_back"]
    assert logs[0]["reason"] == "BusyLoadingError"


async def test_a_full_server_is_still_read_and_keeps_no_older_record(server: Server) -> None:
    class_ids = [f"c{number}" for number in range(10)]
    async with server.client() as client, cache_at(server.url, redis_retry_after=60) as cache:
        await cache.put_many([record(class_id) for class_id in [*class_ids, "other"]])
        await client.config_set("maxmemory-policy", "noeviction")
        await client.config_set("maxmemory", 1)
        with capture_logs() as logs:
            for class_id in class_ids:
                await cache.put_many([record(class_id, version=2)])
                await remember_unknown(cache, ["nobody"])
                assert await cache.get_many([class_id, "other", "nobody"]) == {"other": record("other")}
        assert [(line["event"], line["reason"]) for line in logs] == [("redis_refuses_writes", "OutOfMemoryError")]
        await client.config_set("maxmemory", 0)
        await cache.put_many([record("c1", version=2)])
        assert await cache.get_many(["c1"]) == {"c1": record("c1", version=2)}
