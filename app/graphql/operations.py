"""The operations of one connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from app.errors import TooMany


class Operations:
    """By id, which is free again as soon as one side says complete. Each counts until its task has ended, though:
    otherwise a client could have any number that are still about to end."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: dict[str, asyncio.Task[None]] = {}
        self._running: set[asyncio.Task[None]] = set()

    def __contains__(self, id_: str) -> bool:
        return id_ in self._open

    def require_room(self) -> None:
        """Raises TooMany."""
        if len(self._running) >= self._most:
            raise TooMany(f"This connection has {self._most:,} operations already; end some first.")

    def start(self, id_: str, work: Coroutine[Any, Any, None], ended: Callable[[], None]) -> None:
        """`ended` is called whatever becomes of the work, even if it never begins."""
        task = asyncio.create_task(work)
        self._open[id_] = task
        self._running.add(task)
        task.add_done_callback(lambda _: self._end(id_, task, ended))

    def conclude(self, id_: str) -> bool:
        """By the operation itself, before its last message: whether the client still waits for one."""
        if self._open.get(id_) is not asyncio.current_task():
            return False
        del self._open[id_]
        return True

    def cancel(self, id_: str) -> None:
        if task := self._open.pop(id_, None):
            task.cancel()

    def cancel_all(self) -> None:
        for task in self._running:
            task.cancel()

    async def wait(self) -> None:
        """Until all have ended."""
        await asyncio.gather(*self._running, return_exceptions=True)

    def _end(self, id_: str, task: asyncio.Task[None], ended: Callable[[], None]) -> None:
        self._running.discard(task)
        if self._open.get(id_) is task:
            del self._open[id_]
        ended()
        if not task.cancelled():
            task.exception()
