"""What listens: uvicorn, told to be strict with those who do not read, and to end streams in good order."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from app.observability import CLIENTS_DROPPED
from app.settings import Settings

DRAIN_SECONDS = 8
PING_SECONDS, PONG_SECONDS = 4.0, 5.0
"""Between pings, and for the answer: who reads nothing is found out also where all that is said finds room."""
LOOK_SECONDS = 2.0
LOOKS = 3
"""How often is looked at what waits for a client: if that many times it has taken nothing, it is sent away."""
UNACKNOWLEDGED_SECONDS = 8
UNSENT_BYTES = 32_768
"""How much of what is said waits in the system for a client to take what was said before."""

Welcome = Callable[[], Awaitable[None]]


class Server(uvicorn.Server):
    """`welcome` is called once it listens; `draining` is set before anybody is sent away."""

    def __init__(self, config: uvicorn.Config, welcome: Welcome | None, draining: asyncio.Event) -> None:
        super().__init__(config)
        self._welcome = welcome
        self._draining = draining

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sys.platform == "linux":
            for server in self.servers:
                _be_strict(server.sockets)
        if self.started and self._welcome:
            await self._welcome()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """An open stream would hold it up until it is cut off."""
        self._draining.set()
        await super().shutdown(sockets)


class _Impatient(asyncio.Protocol):
    """Hangs up on a client that takes nothing of what waits for it. One that takes a little at a time may stay."""

    transport: asyncio.Transport
    _timer: asyncio.TimerHandle | None = None
    _left = 0
    _looks = 0

    def pause_writing(self) -> None:
        super().pause_writing()
        self._looks = 0
        self._look_again()

    def resume_writing(self) -> None:
        self._stop_looking()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_looking()
        super().connection_lost(exc)

    def _look(self) -> None:
        self._looks = self._looks + 1 if self.transport.get_write_buffer_size() >= self._left else 0
        if self._looks < LOOKS:
            self._look_again()
        else:
            CLIENTS_DROPPED.inc()
            self.transport.abort()

    def _look_again(self) -> None:
        self._left = self.transport.get_write_buffer_size()
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _stop_looking(self) -> None:
        if self._timer:
            self._timer.cancel()


class HttpProtocol(_Impatient, HttpToolsProtocol):
    pass


class WebSocketProtocol(_Impatient, WebSocketsSansIOProtocol):
    """From a client that does not read nothing is read: it could ask for any number of answers, or of pongs."""

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not (self.read_paused or self.transport.is_closing()):
            self.transport.resume_reading()

    def keepalive_timeout(self) -> None:
        """Over a slow line the ping may still wait behind what was said before."""
        if self.transport.get_write_buffer_size():
            self.pong_timer = self.loop.call_later(PONG_SECONDS, self.keepalive_timeout)
        else:
            CLIENTS_DROPPED.inc()
            super().keepalive_timeout()

    async def receive(self):  # type: ignore[no-untyped-def]
        await self.writable.wait()
        return await super().receive()


def configure(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_max_size=settings.max_body_bytes,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PONG_SECONDS,
        # Costs memory for each connection, and time for each message to each client.
        ws_per_message_deflate=False,
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


def _be_strict(listening: Sequence[socket.socket]) -> None:
    """Connections have it from the socket that they come in by. Pings are of no use where nothing can be written."""
    for listener in listening:
        with socket.socket(fileno=os.dup(listener.fileno())) as line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_SECONDS * 1000)
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
