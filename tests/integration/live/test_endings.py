"""How subscriptions end that nobody ends: the token expires, or the server stops."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from contextlib import AsyncExitStack
from subprocess import Popen

from tests.live import Live, not_reading
from tests.wires import WATCH

IDS = {"ids": ["n1"]}


async def test_a_socket_is_closed_when_its_token_expires(house: Live) -> None:
    async with house.socket(house.token(lifetime=2)) as wire:
        await wire.watch("n1")
        assert await wire.see() == ("n1", 1)
        begun = time.time()
        assert await wire.closed() == (4403, "The token has expired.")
        assert time.time() - begun < 2.5


async def test_a_stream_ends_when_its_token_expires(house: Live) -> None:
    async with house.stream(WATCH, IDS, token=house.token(lifetime=2)) as stream:
        assert await stream.see() == ("n1", 1)
        kind, payload = await stream.event()
        assert (kind, payload["errors"][0]["extensions"]["code"]) == ("next", "UNAUTHENTICATED")
        assert await stream.event() == ("complete", None)
        assert await stream.event() == ("end", None)


async def test_when_the_server_stops_sockets_and_streams_end_at_once(house: Live) -> None:
    async with house.socket() as one, house.socket() as two, house.stream(WATCH, IDS) as stream:
        for wire in (one, two):
            await wire.watch("n1")
            assert await wire.see() == ("n1", 1)
        assert await stream.see() == ("n1", 1)
        begun = time.monotonic()
        house.stop()
        assert (await one.closed())[0] == (await two.closed())[0] == 1012
        assert await stream.event() == ("complete", None)
        assert await stream.event() == ("end", None)
        assert time.monotonic() - begun < 2


async def test_a_socket_is_told_why_and_not_that_its_subscriptions_are_complete(house: Live) -> None:
    """Clients take up again what was not completed."""
    async with house.socket() as wire:
        await wire.watch("n1")
        await wire.see()
        house.stop()
        with contextlib.suppress(Exception):
            while True:
                message = json.loads(await wire.connection.recv())
                assert message["type"] == "next", message
        assert wire.connection.close_code == 1012


async def test_the_process_ends_in_time_with_everything_open(apart: tuple[Live, Popen[bytes]]) -> None:
    """One of those who watch does not read."""
    house, process = apart
    async with AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(house.socket()) for _ in range(20)]
        streams = [await stack.enter_async_context(house.stream(WATCH, IDS)) for _ in range(20)]
        for wire in wires:
            await wire.watch("n1")
            assert await wire.see() == ("n1", 1)
        deaf = await stack.enter_async_context(not_reading(house))
        await house.change("n1", times=20)
        begun = time.monotonic()
        house.stop()
        assert {(await wire.closed())[0] for wire in wires} == {1012}
        for stream in streams:
            while (await stream.event())[0] == "next":
                pass
            assert await stream.event() == ("end", None)
        assert time.monotonic() - begun < 3
        assert await asyncio.to_thread(process.wait, 10) in (0, 128 + signal.SIGTERM)
        assert time.monotonic() - begun < 10
        await deaf.closed()
