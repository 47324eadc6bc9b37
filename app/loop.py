"""Something done over and over, that nothing which goes wrong brings to an end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import structlog

from app.observability import LOOP_FAILURES

log = structlog.get_logger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
REST_FOR_WORK, LONGEST_REST = 4, 5.0
SHORTEST_REST = 0.01
"""For more to come together: who is woken a thousand times a second looks a hundred times."""


class Loop:
    """Takes a turn, and the next at once if the turn says that there is more to do; else after a rest, or when rung
    for. A turn that fails is followed by a pause, twice as long each time, that no ringing shortens. Turns that take
    long to find nothing are taken less often."""

    def __init__(self, name: str, turn: Callable[[], Awaitable[bool]], rest: float) -> None:
        self.name = name
        self._turn = turn
        self._rest = rest
        self._bell = asyncio.Event()
        self._stop = asyncio.Event()
        self._pause = 0.0

    def ring(self) -> None:
        self._bell.set()

    def stop(self) -> None:
        """After the turn that is being taken."""
        self._stop.set()
        self._bell.set()

    async def run(self) -> None:
        while not self._stop.is_set():
            self._bell.clear()
            begun = time.monotonic()
            try:
                more = await self._turn()
            except Exception as error:
                await self._fail(error)
                continue
            self._recover()
            if not more:
                rest = max(self._rest, min((time.monotonic() - begun) * REST_FOR_WORK, LONGEST_REST))
                await _wait(self._stop, SHORTEST_REST)
                await _wait(self._bell, rest - SHORTEST_REST)

    async def _fail(self, error: Exception) -> None:
        LOOP_FAILURES.labels(self.name).inc()
        if not self._pause:
            # Never the message: it may quote what was being stored.
            log.error("worker_loop_fails", loop=self.name, error=type(error).__name__)
        self._pause = min(max(FIRST_PAUSE, self._pause * 2), LONGEST_PAUSE)
        await _wait(self._stop, self._pause)

    def _recover(self) -> None:
        if self._pause:
            log.info("worker_loop_is_back", loop=self.name)
        self._pause = 0.0


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(seconds, 0)):
            await event.wait()
