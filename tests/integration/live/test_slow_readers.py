"""Who reads slowly gets the newest; who does not read at all is sent away, and troubles nobody."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from base64 import b64encode
from pathlib import Path
from subprocess import Popen

import orjson
import pytest

from app import server
from tests.live import Live, not_reading
from tests.wires import LARGE, WATCH

MANY = 120
LISTENING, OVER = "0A", "06"  # states in /proc/net/tcp
Apart = tuple[Live, Popen[bytes]]


async def test_who_reads_slowly_gets_the_newest_and_not_all_that_led_to_it(house: Live) -> None:
    async with not_reading(house) as wire:
        await house.change("n1", times=MANY)
        found = []
        while not found or found[-1] != ("n1", MANY + 1):
            found.append(await wire.see())
        assert len(found) < MANY / 2
        assert found == sorted(set(found))


async def test_who_takes_a_little_at_a_time_may_stay(house: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than one who takes nothing, within one large event."""
    monkeypatch.setattr(server, "LOOK_SECONDS", 0.7)
    enough = time.monotonic() + 2.5 * server.LOOKS * server.LOOK_SECONDS

    def trickle() -> None:
        with upgraded(house) as line:
            line.sendall(
                init(house) + frame(1, orjson.dumps({"id": "1", "type": "subscribe", "payload": {"query": LARGE}}))
            )
            while time.monotonic() < enough:
                assert line.recv(2_048)
                time.sleep(0.05)

    async with asyncio.TaskGroup() as group:
        trickling = group.create_task(asyncio.to_thread(trickle))
        while not trickling.done():
            await house.change("n1")


async def test_who_does_not_read_is_sent_away_and_the_others_are_not_kept_waiting(apart: Apart) -> None:
    house, _ = apart
    async with house.socket() as other, not_reading(house) as deaf:
        await other.watch("n1")
        assert await other.see() == ("n1", 1)
        begun, waits = time.monotonic(), []
        while "classperf_sockets 2.0" in await house.measured():
            sent = time.monotonic()
            await house.change("n1")
            await other.see()
            waits.append(time.monotonic() - sent)
            assert sent - begun < 11
            await asyncio.sleep(0.02)
        assert time.monotonic() - begun > 5  # it was not sent away for a moment's delay
        assert sorted(waits)[len(waits) // 2] < 0.25
        await house.until("classperf_subscriptions 1.0")
        await house.until("classperf_watches 1.0")
        while lines(house.port) > 1:
            assert time.monotonic() - begun < 14
            await asyncio.sleep(0.1)
        assert (await deaf.closed())[0] == 1006


async def test_who_does_not_read_is_found_out_also_where_all_that_is_said_finds_room(apart: Apart) -> None:
    house, _ = apart
    subscribe = {"id": "1", "type": "subscribe", "payload": {"query": WATCH, "variables": {"ids": ["n1"]}}}
    with await asyncio.to_thread(upgraded, house) as line:
        line.sendall(init(house) + frame(1, orjson.dumps(subscribe)))
        await house.until("classperf_subscriptions 1.0")
        begun = time.monotonic()
        while "classperf_sockets 1.0" in await house.measured():
            await house.change("n1")
            assert time.monotonic() - begun < 12
            await asyncio.sleep(0.2)
    assert time.monotonic() - begun > 4


async def test_a_stream_that_is_not_read_ends_too(apart: Apart) -> None:
    house, _ = apart
    async with house.stream(LARGE) as stream:
        assert await stream.see() == ("n1", 1)
        begun = time.monotonic()
        while "classperf_streams 1.0" in await house.measured():
            await house.change("n1")
            assert time.monotonic() - begun < 12
        await house.until("classperf_subscriptions 0.0")


UPGRADE = f"""GET /graphql HTTP/1.1
Host: x
Upgrade: websocket
Connection: Upgrade
Sec-WebSocket-Version: 13
Sec-WebSocket-Key: {b64encode(bytes(16)).decode()}
Sec-WebSocket-Protocol: graphql-transport-ws

"""


def upgraded(house: Live) -> socket.socket:
    """A line that speaks WebSocket, for who wants to be rude."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
    line.settimeout(5)
    line.connect(("127.0.0.1", house.port))
    line.sendall(UPGRADE.replace("\n", "\r\n").encode())
    assert b"101" in line.recv(4_096)
    return line


def init(house: Live) -> bytes:
    return frame(1, b'{"type":"connection_init","payload":{"Authorization":"Bearer %b"}}' % house.token().encode())


def frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else struct.pack("!BH", 0x80 | 126, size)
    return bytes([0x80 | opcode]) + length + b"\0\0\0\0" + payload


FLOODS = {
    "pings of the WebSocket": frame(9, b"x" * 125),
    "pings of the protocol": frame(1, b'{"type":"ping","payload":{"a":"' + b"x" * 300 + b'"}}'),
    "pongs among pings": frame(1, b'{"type":"pong"}') + frame(9, b"x" * 125),
    "subscriptions": frame(1, b'{"type":"subscribe","id":"1","payload":{"query":"{"}}'),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_who_only_writes_is_not_heard_for_long(apart: Apart, flood: bytes) -> None:
    """Answers that nobody takes do not pile up."""
    house, process = apart

    def pour() -> int:
        with upgraded(house) as line:
            line.sendall(init(house))
            line.settimeout(2)
            poured = 0
            try:
                while poured < 100_000_000:
                    poured += line.send(flood * 200)
            except OSError:
                pass
            return poured

    before = memory(process.pid)
    poured = await asyncio.to_thread(pour)
    assert poured < 20_000_000
    assert memory(process.pid) - before < 30_000_000
    async with house.socket() as wire:
        await wire.watch("n1")
        assert await wire.see() == ("n1", 1)


def lines(port: int) -> int:
    """How many connections the system holds for whoever listens here."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] not in (LISTENING, OVER) for row in rows)


def memory(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
