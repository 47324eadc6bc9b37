"""A Valkey of a test's own, and a proxy in front of it: to stop, to kill, to lose and to count."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app import devservices

PASSWORD = "a-password-of-the-tests"


class Server:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process, self.port = devservices._start_valkey(directory, PASSWORD, contextlib.ExitStack())
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def restart(self, *options: str) -> None:
        command: list[str | Path] = [devservices._valkey_binary(), self._directory / "valkey.conf", *options]
        self._process = devservices._spawn(command, self._directory / "server.log")

    async def until_listening(self) -> None:
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", self.port)).close()
                    return
                await asyncio.sleep(0.01)

    def stop(self) -> None:
        devservices._stop(self._process, signal.SIGTERM)

    def client(self) -> Redis:
        return Redis.from_url(self.url)


@contextlib.contextmanager
def private_server(directory: Path) -> Iterator[Server]:
    server = Server(directory)
    try:
        yield server
    finally:
        server.stop()


class Proxy:
    """Passes everything on until told otherwise; `received` is what the clients sent."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self._losing = False
        self._refusing = False
        self._writers: set[StreamWriter] = set()
        self._dead: set[StreamWriter] = set()
        self.connections = 0
        self.received = bytearray()

    def count(self, command: str) -> int:
        return self.received.upper().count(f"\r\n{command}\r\n".encode())

    def lose(self) -> None:
        """Half open: whatever is sent is lost, on these connections for ever, and nobody is told."""
        self._losing = True
        self._dead |= self._writers

    def pass_on(self) -> None:
        """New connections work again."""
        self._losing = False

    def refuse(self) -> None:
        """New connections are closed at once."""
        self._refusing = True

    def accept(self) -> None:
        self._refusing = False

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.connections += 1
        if self._refusing:
            return
        back, forth = await asyncio.open_connection("127.0.0.1", self._behind)
        ends = {writer, forth}
        self._writers |= ends
        if self._losing:
            self._dead |= ends
        try:
            await asyncio.gather(self._pump(reader, forth, self.received), self._pump(back, writer, bytearray()))
        finally:
            self._writers -= ends
            forth.close()

    async def _pump(self, reader: StreamReader, writer: StreamWriter, seen: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                seen += data
                if writer not in self._dead:
                    writer.write(data)
                    await writer.drain()
        if writer not in self._dead:
            writer.close()


@contextlib.asynccontextmanager
async def proxy_before(port: int) -> AsyncIterator[tuple[Proxy, str]]:
    proxy = Proxy(port)
    async with _listening(proxy.serve) as address:
        yield proxy, f"redis://:{PASSWORD}@{address}/0"
        proxy.cut()


@contextlib.asynccontextmanager
async def always_answering(answer: bytes) -> AsyncIterator[str]:
    """Something that is no Redis in order: it gives one answer to everything."""

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        while await reader.read(65_536):
            writer.write(answer)

    async with _listening(serve) as address:
        yield f"redis://:{PASSWORD}@{address}/0"


@contextlib.asynccontextmanager
async def _listening(serve: Callable[[StreamReader, StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    tasks = set()

    async def connected(reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        tasks.add(task)
        try:
            with contextlib.suppress(OSError):
                await serve(reader, writer)
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the transports close at the next turn


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with private_server(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[tuple[Proxy, str]]:
    async with proxy_before(server.port) as proxy:
        yield proxy
