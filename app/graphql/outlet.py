"""The way out to one client: one message at a time."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Send

LAST_SECONDS = 1.0


class Gone(Exception):
    """The client is not there any more."""


class Outlet:
    """Whoever has something to send waits for their turn: for a client who reads slowly nothing piles up here but one
    message of each operation. How long a client may take is the server's to decide (app.server)."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._turn = asyncio.Lock()
        self.gone = False

    async def send(self, message: Message) -> None:
        """Raises Gone, from the first time on at once."""
        async with self._turn:
            if self.gone:
                raise Gone
            try:
                await self._send(message)
            # uvicorn says in several ways that the connection is closed.
            except (OSError, RuntimeError):
                self.gone = True
                raise Gone from None

    async def end(self, *messages: Message) -> None:
        """The last words, to whoever still listens."""
        try:
            async with asyncio.timeout(LAST_SECONDS):
                for message in messages:
                    await self.send(message)
        except (Gone, TimeoutError):
            self.gone = True
