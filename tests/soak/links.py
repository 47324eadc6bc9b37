"""The wires between processes: each passes everything on, until it is told to cut, to delay or to lose."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from typing import Any, cast

BUFFER = 32_768  # bytes at each place where they can wait: a slow reader is to be felt at the other end


class Link:
    """From whoever connects to `port` to one server. Every process has a link of its own to every server."""

    def __init__(self, name: str, behind: int) -> None:
        self.name = name
        self.port = 0
        self.behind = behind
        self.lag = 0.0
        self.losing = False
        self.ends: set[_End] = set()

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Near(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Every connection is reset, at both ends."""
        for end in [*self.ends]:
            end.transport.abort()

    def delay(self, seconds: float) -> None:
        """From now on everything arrives that much later; nothing overtakes anything."""
        self.lag = seconds

    def lose(self) -> None:
        """Half open: what is sent on these connections, and on new ones, is lost for ever, and nobody is told. The
        server keeps its ends open until it has enough of them."""
        self.losing = True
        for end in self.ends:
            end.dead = True

    def heal(self) -> None:
        """New connections work again, and nothing is late any more."""
        self.losing = False
        self.lag = 0.0


class _End(asyncio.Protocol):
    """One of the two ends of a connection."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.dead = link.losing
        self.peer: _End | None = None
        self._late: deque[bytes | None] = deque()
        self._due = 0.0  # when the last of those arrives

    def connection_made(self, transport: Any) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(BUFFER)
        line = transport.get_extra_info("socket")
        for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            line.setsockopt(socket.SOL_SOCKET, buffer, BUFFER)
        self.link.ends.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        self.link.ends.discard(self)
        self._pass_on(None)

    def data_received(self, data: bytes) -> None:
        self._pass_on(data)

    def _pass_on(self, data: bytes | None) -> None:
        """None is the end."""
        if self.dead:
            return
        if self.peer and not self.link.lag and not self._late:
            self._write(data)
            return
        self._late.append(data)
        if self.peer:
            loop = asyncio.get_running_loop()
            self._due = max(self._due, loop.time() + self.link.lag)
            loop.call_at(self._due, self._release)

    def _release(self) -> None:
        """The first of those that are late: so what was sent later stays later."""
        data = self._late.popleft()
        if not self.dead:
            self._write(data)

    def meet(self, peer: _End) -> None:
        """What was said before is said now."""
        self.peer = peer
        while self._late:
            self._release()

    def _write(self, data: bytes | None) -> None:
        if self.peer is None or self.peer.transport.is_closing():
            return
        if data is None:
            self.peer.transport.close()
        else:
            self.peer.transport.write(data)

    def pause_writing(self) -> None:
        if self.peer:
            with contextlib.suppress(RuntimeError):
                self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer:
            with contextlib.suppress(RuntimeError):
                self.peer.transport.resume_reading()


class _Near(_End):
    """The end of whoever connects. What is said before the server is reached waits."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._reaching = asyncio.get_running_loop().create_task(self._reach())

    async def _reach(self) -> None:
        try:
            _, far = await asyncio.get_running_loop().create_connection(
                lambda: _End(self.link), "127.0.0.1", self.link.behind
            )
        except OSError:
            self.transport.abort()
            return
        far.meet(self)
        self.meet(far)
