"""Whether Redis is there, and how long to wait for it."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import structlog

from app.settings import Settings

log = structlog.get_logger()

STEPS = 10  # of one timeout


class Breaker:
    """Lets everyone through until something fails; then nobody for a while, then one at a time to try."""

    def __init__(self, settings: Settings, patience: float, *, absent: bool) -> None:
        """`absent`: there is no Redis, and never will be."""
        self._pause = settings.redis_retry_after
        self._trial = patience
        self._retry_at: float | None = math.inf if absent else None

    @property
    def open(self) -> bool:
        return self._retry_at is not None

    def admits(self) -> bool:
        if self._retry_at is None:
            return True
        now = time.monotonic()
        if now < self._retry_at:
            return False
        # The next may try when this trial is over, even if it was cancelled and nobody heard how it went.
        self._retry_at = now + self._trial + self._pause
        return True

    def fails(self, error: Exception) -> None:
        if not self.open:
            log.warning("redis_is_away", reason=reason(error), retry_after=self._pause)
        self._retry_at = time.monotonic() + self._pause

    def works(self) -> None:
        if self.open:
            log.info("redis_is_back")
        self._retry_at = None


class Patience:
    """asyncio.timeout, but in steps. A single look at the clock comes late when this process was busy elsewhere, and
    gives up on an answer that has already arrived: a busy moment must not pass for an outage."""

    def __init__(self, seconds: float) -> None:
        self._step = seconds / STEPS
        self._limit = asyncio.timeout(None)
        self.left = STEPS

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._step, self._wait)

    async def __aexit__(self, *raised: Any) -> None:
        self._timer.cancel()
        await self._limit.__aexit__(*raised)

    def _wait(self) -> None:
        self.left -= 1
        if self.left:
            self._timer = self._loop.call_later(self._step, self._wait)
        else:
            self._limit.reschedule(self._loop.time())


def reason(error: BaseException) -> str:
    """Never the text of an answer: a server may repeat what it was sent, the password included."""
    cause = error.__context__
    return f"{type(error).__name__}: {cause}" if isinstance(cause, OSError) else type(error).__name__
