"""A thin WebSocket client that speaks graphql-transport-ws: it looks at each frame as little as it can."""

from __future__ import annotations

import asyncio
import os
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

import orjson

from benchmarks.client import HOST, Wrong

PATIENCE = 30.0
TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A
NEXT = b'"type":"next"'
NO_MASK = b"\0\0\0\0"  # Clients must mask; this mask changes nothing.

# What was said, and when its last byte had come.
Hear = Callable[[bytes, float], None]


@dataclass(frozen=True, slots=True)
class Operation:
    """What a subscriber asks, and with how many events it is answered at once."""

    token: str
    query: str
    variables: Mapping[str, Any]
    greeting: int

    @property
    def messages(self) -> tuple[bytes, bytes]:
        init = {"type": "connection_init", "payload": {"Authorization": f"Bearer {self.token}"}}
        payload = {"query": self.query, "variables": self.variables}
        return orjson.dumps(init), orjson.dumps({"id": "1", "type": "subscribe", "payload": payload})


class Socket(asyncio.Protocol):
    """One subscriber. What it cannot make sense of ends it, and whoever waits for it."""

    def __init__(self) -> None:
        self._rest = b""
        self._upgraded = False
        self._told: asyncio.Queue[tuple[bytes, float]] = asyncio.Queue()
        self._hear: Hear = lambda text, now: self._told.put_nowait((text, now))
        self.failed: Wrong | None = None

    @classmethod
    async def subscribe(cls, port: int, operation: Operation, hear: Hear) -> Self:
        """Returns when the events of the greeting have come: what is published from now on will be heard."""
        _, socket = await asyncio.get_running_loop().create_connection(cls, HOST, port)
        async with asyncio.timeout(PATIENCE):
            await socket._join(operation, hear)
        return socket

    async def _join(self, operation: Operation, hear: Hear) -> None:
        init, subscribe = operation.messages
        self._transport.write(_upgrade())
        await self._next(b"HTTP/1.1 101")
        self._send(TEXT, init)
        await self._next(b"connection_ack")
        self._send(TEXT, subscribe)
        for _ in range(operation.greeting):
            hear(*await self._next(NEXT))
        self._hear = hear
        while not self._told.empty():
            hear(*self._told.get_nowait())

    async def _next(self, mark: bytes) -> tuple[bytes, float]:
        text, now = await self._told.get()
        if self.failed or mark not in text:
            raise self.failed or Wrong(text[:500])
        return text, now

    def close(self) -> None:
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        data = self._rest + data if self._rest else data
        place = 0 if self._upgraded else self._read_upgrade(data)
        while self._upgraded and len(data) - place >= 2:
            kind, length, start = data[place], data[place + 1], place + 2
            if length > 125:
                wide = 2 if length == 126 else 8
                if len(data) < start + wide:
                    break
                length, start = int.from_bytes(data[start : start + wide], "big"), start + wide
            if len(data) < start + length:
                break
            place = start + length
            if kind == TEXT:
                self._hear(data[start:place], now)
            else:
                self._react(kind, data[start:place])
        self._rest = data[place:]

    def _read_upgrade(self, data: bytes) -> int:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return 0
        self._upgraded = True
        self._hear(data[:end], time.perf_counter())
        return end + 4

    def _react(self, kind: int, text: bytes) -> None:
        if kind == PING:
            self._send(PONG, text)
        else:
            self._fail(Wrong(b"%x: %b" % (kind, text[:500])))

    def _send(self, kind: int, text: bytes) -> None:
        length = len(text)
        size = bytes([0x80 | length]) if length < 126 else b"\xfe" + length.to_bytes(2, "big")
        self._transport.write(bytes([kind]) + size + NO_MASK + text)

    def connection_lost(self, _: Exception | None) -> None:
        self._fail(Wrong("The server hung up."))

    def _fail(self, wrong: Wrong) -> None:
        self.failed = self.failed or wrong
        self._told.put_nowait((b"", 0.0))


def _upgrade() -> bytes:
    lines = (
        "GET /graphql HTTP/1.1",
        f"host: {HOST}",
        "upgrade: websocket",
        "connection: Upgrade",
        f"sec-websocket-key: {b64encode(os.urandom(16)).decode()}",
        "sec-websocket-version: 13",
        "sec-websocket-protocol: graphql-transport-ws",
    )
    return "\r\n".join((*lines, "", "")).encode()
