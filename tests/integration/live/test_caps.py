"""How much one viewer may have open at a time: no way around it, and nothing left of it afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from app.settings import Settings
from app.views import Views
from tests.live import Live, live
from tests.wires import WATCH
from tests.working import measured, until

CAPS = {"max_operations_per_connection": 4, "max_subscriptions_per_viewer": 6, "max_connections_per_viewer": 3}


@pytest.fixture
async def house(settings: Settings, redis: Redis, world: AsyncEngine) -> AsyncIterator[Live]:
    async with live(settings.model_copy(update=CAPS)) as house:
        yield house


def open_now() -> float:
    return measured("classperf_subscriptions")


async def none_open() -> None:
    await until(_none_is_open)


async def _none_is_open() -> bool:
    return not open_now() and not measured("classperf_watches")


async def refused(wire: Any, id_: str) -> bool:
    message = await wire.hear()
    assert message["id"] == id_
    if message["type"] == "next":
        return False
    assert message["type"] == "error"
    assert message["payload"][0]["extensions"]["code"] == "TOO_MANY_OPERATIONS"
    return True


async def test_a_connection_has_so_many_operations(house: Live) -> None:
    async with house.socket() as wire:
        found = [await refused(wire, await wire.watch("n1")) for _ in range(6)]
        assert found == [False] * 4 + [True] * 2
        assert open_now() == 4
        await wire.start("{ viewer { id } }")
        assert (await wire.hear())["type"] == "error"


async def test_a_viewer_has_so_many_subscriptions_on_all_connections_together(house: Live) -> None:
    async with house.socket() as one, house.socket() as two, house.socket(house.token(subject="else")) as other:
        for _ in range(4):
            assert not await refused(one, await one.watch("n1"))
        found = [await refused(two, await two.watch("n1")) for _ in range(3)]
        assert found == [False, False, True]
        async with house.stream(WATCH, {"ids": ["n1"]}) as stream:
            assert stream.response.status_code == 429
            body = await stream.response.aread()
            assert b"TOO_MANY_OPERATIONS" in body
        assert not await refused(other, await other.watch("n1"))
        await one.stop("1")
        async with asyncio.timeout(10):
            while await refused(two, await two.watch("n1")):
                pass
    await none_open()


async def test_queries_are_no_subscriptions(house: Live) -> None:
    async with house.socket() as one, house.socket() as two:
        for wire in (one, one, one, one, two, two):
            await wire.watch("n1")
            await wire.see()
        await two.start("{ viewer { id } }")
        assert await two.next() == {"viewer": {"id": "somebody"}}


async def test_a_viewer_has_so_many_connections(house: Live) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(house.socket())
        for _ in range(2):
            async with house.dial() as wire:
                await wire.init(house.token())
                code, reason = await wire.closed()
                assert (code, reason) == (1013, "You have 3 connections here already; end some first.")
        await stack.enter_async_context(house.socket(house.token(subject="else")))
    async with house.socket(), house.socket(), house.socket():
        pass


async def test_what_is_still_ending_counts(house: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast a client says complete and subscribes again."""
    ending = asyncio.Event()
    running = most = 0
    watch = Views.watch

    async def watch_and_end_slowly(*arguments: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            async for update in watch(*arguments):
                yield update
        finally:
            while not ending.is_set():
                try:
                    await ending.wait()
                except asyncio.CancelledError:
                    continue
            running -= 1

    monkeypatch.setattr(Views, "watch", watch_and_end_slowly)
    async with house.socket() as wire:
        for _ in range(4):
            id_ = await wire.watch("n1")
            assert not await refused(wire, id_)
            await wire.stop(id_)
        for _ in range(20):
            id_ = await wire.watch("n1")
            assert await refused(wire, id_)
            await wire.stop(id_)
        assert (running, most, open_now()) == (4, 4, 4)
        ending.set()
        async with asyncio.timeout(10):
            while await refused(wire, await wire.watch("n1")):
                pass
    await none_open()


async def test_nothing_is_left_of_who_leaves(house: Live) -> None:
    for rudely in (False, True):
        async with house.socket() as wire:
            for _ in range(4):
                await wire.watch("n1")
            await wire.follow()
            if rudely:
                wire.connection.transport.abort()
        await none_open()
    async with house.stream(WATCH, {"ids": ["n1"]}) as stream:
        await stream.see()
        assert open_now() == 1
    await none_open()


async def test_who_subscribes_and_completes_in_one_breath_leaves_nothing(house: Live) -> None:
    """Some are cancelled before they have begun."""
    async with house.socket() as wire:
        for _ in range(100):
            await wire.stop(await wire.watch("n1"))
        await none_open()
        await wire.say({"type": "ping"})
        while (await wire.hear())["type"] != "pong":
            pass
        assert not await refused(wire, await wire.watch("n2"))
