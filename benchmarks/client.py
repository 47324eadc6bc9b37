"""A load generator: a closed loop of raw HTTP/1.1 over a few connections, and little else."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPResponse
from itertools import cycle
from statistics import quantiles
from typing import cast

import uvloop

HOST = "127.0.0.1"
OVERDUE = 10.0


class Wrong(Exception):
    """An answer that is not the one that was checked."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent, and the header line that tells that the answer has the length it had when it was checked."""

    data: bytes
    length: int

    @property
    def mark(self) -> bytes:
        return b"\r\ncontent-length: %d\r\n" % self.length


@dataclass(frozen=True, slots=True)
class Round:
    """Requests, seconds, milliseconds, and the share of a core that the generator used."""

    count: int
    elapsed: float
    p50: float
    p99: float
    busy: float

    @property
    def rate(self) -> float:
        return self.count / self.elapsed


def post(path: str, body: bytes, **headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"host: {HOST}", "content-type: application/json", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join((*lines, "", "")).encode() + body


def ask(port: int, data: bytes) -> bytes:
    """The body of one answer, which must be a good one."""
    with socket.create_connection((HOST, port), OVERDUE) as connection:
        connection.sendall(data)
        response = HTTPResponse(connection)
        response.begin()
        body = response.read()
    if response.status != 200:
        raise Wrong(f"{response.status}: {body[:200]!r}")
    return body


def load(port: int, requests: Sequence[Request], *, connections: int, seconds: float) -> Round:
    """Each connection has requests of its own, and sends the next when the last is answered."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_load(port, requests, connections, seconds))


async def _load(port: int, requests: Sequence[Request], connections: int, seconds: float) -> Round:
    loop = asyncio.get_running_loop()
    clients = [Client(requests[place::connections] or requests) for place in range(connections)]
    for client in clients:
        await loop.create_connection(lambda client=client: client, HOST, port)  # type: ignore[misc]
    began, used = time.perf_counter(), time.process_time()
    async with asyncio.timeout(seconds + OVERDUE):
        await asyncio.gather(*(client.run(began + seconds) for client in clients))
    elapsed, used = time.perf_counter() - began, time.process_time() - used
    return round_of([latency for client in clients for latency in client.latencies], elapsed, used)


def round_of(latencies: list[float], elapsed: float, used: float) -> Round:
    percentiles = quantiles(latencies, n=100) if len(latencies) > 1 else latencies * 99
    return Round(len(latencies), elapsed, percentiles[49] * 1000, percentiles[98] * 1000, used / elapsed)


class Line(asyncio.Protocol):
    """One connection. Reads no more of an answer than it must to know that it is the right one, and complete."""

    def __init__(self) -> None:
        self._head, self._left = b"", 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def close(self) -> None:
        self._transport.close()

    def ask(self, data: bytes, mark: bytes, length: int) -> None:
        self._mark, self._length = mark, length
        self._began = time.perf_counter()
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        if not self._left:
            data = self._head + data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._head = data
                return
            self._head, self._left = b"", end + 4 + self._length
            if not data.startswith(b"HTTP/1.1 200") or data.find(self._mark, 0, end + 2) < 0:
                self.fail(Wrong(data[:500]))
                return
        self._left -= len(data)
        if not self._left:
            self.answered(time.perf_counter())

    def connection_lost(self, _: Exception | None) -> None:
        self.fail(Wrong("The server hung up."))

    def answered(self, now: float) -> None:
        raise NotImplementedError

    def fail(self, wrong: Wrong) -> None:
        raise NotImplementedError


class Client(Line):
    """Asks the next when the last is answered."""

    def __init__(self, requests: Sequence[Request]) -> None:
        super().__init__()
        self._requests = cycle([(request.data, request.mark, request.length) for request in requests])
        self.latencies: list[float] = []

    async def run(self, until: float) -> None:
        self._until = until
        self._done = asyncio.get_running_loop().create_future()
        self.ask(*next(self._requests))
        try:
            await self._done
        finally:
            self.close()

    def answered(self, now: float) -> None:
        self.latencies.append(now - self._began)
        if now < self._until:
            self.ask(*next(self._requests))
        elif not self._done.done():
            self._done.set_result(None)

    def fail(self, wrong: Wrong) -> None:
        if not self._done.done():
            self._done.set_exception(wrong)
