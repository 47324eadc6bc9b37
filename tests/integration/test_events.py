"""Subscriptions to Redis: one line, renewed whenever it is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from app import events, presence
from app.cache import Cache
from app.events import BEAT, SILENT_BEATS, WAKE, Subscription, Wake
from app.settings import Settings
from tests.caching import MARGIN, cache_at, record
from tests.faults import PASSWORD, Proxy, Server, always_answering, proxy, server
from tests.working import until

__all__ = ["proxy", "server"]


@pytest.fixture(autouse=True)
def _a_logger_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (events, presence):
        monkeypatch.setattr(module, "log", structlog.get_logger())


@dataclass
class Ear:
    subscription: Subscription
    heard: list[bytes] = field(default_factory=list)
    gaps: int = 0

    def note_gap(self) -> None:
        self.gaps += 1

    async def until(self, true: Any) -> None:
        async def is_so() -> Any:
            return true(self)

        await until(is_so)


@asynccontextmanager
async def listening_at(url: str, name: str = "", **settings: Any) -> AsyncIterator[Ear]:
    ear = Ear(Subscription(Settings(redis_url=url, redis_retry_after=0.1, **settings), name))
    task = asyncio.create_task(ear.subscription.run(ear.heard.append, ear.note_gap))
    try:
        yield ear
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def connected(ear: Ear) -> bool:
    return ear.subscription.connected


async def test_messages_are_heard_in_order_after_the_first_gap(server: Server) -> None:
    async with listening_at(server.url) as ear, cache_at(server.url) as cache:
        await ear.until(lambda ear: ear.gaps == 1)
        await cache.put_many([record(f"c{number}") for number in range(200)], publish=True)
        await ear.until(lambda ear: len(ear.heard) == 200)
    assert [message.partition(b"\0")[0] for message in ear.heard] == [b"c%d" % number for number in range(200)]
    assert not connected(ear)


@pytest.mark.parametrize("fault", ["cut", "kill", "CLIENT KILL"])
async def test_a_lost_line_is_renewed_and_the_gap_is_told(server: Server, proxy: tuple[Proxy, str], fault: str) -> None:
    between, url = proxy
    async with listening_at(url) as ear, cache_at(server.url, redis_retry_after=0.05) as cache:
        await ear.until(connected)
        with capture_logs() as logs:
            if fault == "cut":
                between.cut()
            elif fault == "kill":
                server.kill()
                server.restart()
            else:
                async with server.client() as client:
                    await client.client_kill_filter(_type="pubsub")
            await ear.until(lambda ear: ear.gaps == 2)

            async def told() -> bool:
                return await cache.put_many([record()], publish=True)

            await until(told)
            await ear.until(lambda ear: ear.heard)
    lines = [line["event"] for line in logs if line["event"].startswith("subscription")]
    assert lines == ["subscription_is_away", "subscription_is_back"]


async def test_a_line_that_is_half_open_is_noticed(server: Server, proxy: tuple[Proxy, str]) -> None:
    between, url = proxy
    async with listening_at(url) as ear:
        await ear.until(connected)
        between.lose()
        between.pass_on()
        began = time.monotonic()
        await ear.until(lambda ear: ear.gaps == 2)
        assert time.monotonic() - began < (SILENT_BEATS + 1) * BEAT + 2 * MARGIN


async def test_a_process_that_was_busy_does_not_take_it_for_a_loss(server: Server) -> None:
    async with listening_at(server.url) as ear:
        await ear.until(connected)
        for _ in range(3):
            time.sleep(SILENT_BEATS * BEAT + 0.2)  # noqa: ASYNC251
            await asyncio.sleep(0.05)
        assert ear.gaps == 1


async def test_a_quiet_line_stays(server: Server, proxy: tuple[Proxy, str]) -> None:
    between, url = proxy
    async with listening_at(url) as ear:
        await ear.until(connected)
        await asyncio.sleep((SILENT_BEATS + 1) * BEAT)
    assert (ear.gaps, between.connections) == (1, 1)


@pytest.mark.parametrize("answer", [b"", b"-ERR no\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"*2\r\n:1\r\n$-1\r\n"])
async def test_what_is_no_redis_is_tried_again_and_told_once(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "CONNECTED_WITHIN", 0.2)
    async with always_answering(answer) as url:
        with capture_logs() as logs:
            async with listening_at(url) as ear:
                await asyncio.sleep(1)
        assert (ear.gaps, connected(ear)) == (0, False)
    assert [line["event"] for line in logs] == ["subscription_is_away"]
    assert PASSWORD not in str(logs)


async def test_where_there_is_no_redis_there_is_nothing_to_do() -> None:
    async with asyncio.timeout(1):
        await Subscription(Settings()).run(print, print)


async def test_a_worker_is_woken_by_anyone_and_records_do_not_wake_it(server: Server) -> None:
    async with listening_at(server.url, WAKE) as ear, cache_at(server.url) as cache:
        await ear.until(connected)
        await cache.put_many([record()], publish=True)
        await Wake(cache).wake()
        await ear.until(lambda ear: ear.heard == [b""])


async def test_waking_while_redis_is_away_costs_little(server: Server) -> None:
    async with cache_at(server.url) as cache:
        server.pause()
        began = time.monotonic()
        for _ in range(50):
            await Wake(cache).wake()
        assert time.monotonic() - began < Settings().redis_timeout + MARGIN
        server.resume()
    await Wake(Cache(Settings())).wake()
