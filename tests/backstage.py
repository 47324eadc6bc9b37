"""Two workers in a thread of their own, so that they are really in the way of whoever writes meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from app import gradebook
from app.cache import Cache
from app.database import create_engine, transaction
from app.errors import NotReady, Rejected
from app.performance import recalculate_many
from app.records import Record
from app.settings import Settings
from app.worker import Worker

PATIENCE = 30.0
WORKERS = 2


class Backstage:
    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self._settings = settings
        self._loop = loop
        self._engine: AsyncEngine
        self._cache: Cache
        self._workers: list[tuple[Worker, asyncio.Task[None]]] = []

    def do(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(PATIENCE)

    async def open(self) -> None:
        self._engine = create_engine(self._settings)
        self._cache = Cache(self._settings)
        self._workers = [self._hire() for _ in range(WORKERS)]

    async def close(self) -> None:
        for worker, _ in self._workers:
            worker.stop()
        await asyncio.gather(*(task for _, task in self._workers))
        await self._cache.close()
        await self._engine.dispose()

    async def replace(self) -> None:
        """The oldest goes, another comes."""
        worker, task = self._workers.pop(0)
        self._workers.append(self._hire())
        worker.stop()
        await task

    def _hire(self) -> tuple[Worker, asyncio.Task[None]]:
        worker = Worker(self._settings)
        return worker, asyncio.create_task(worker.run())

    async def record(self, kind: str, fact: dict[str, Any]) -> None:
        """By the gradebook, which knows which fact is the newer. Connections are cut here, and facts sent again."""
        while True:
            try:
                async with transaction(self._engine) as connection:
                    await gradebook.record(connection, kind, [gradebook.KINDS[kind].model_validate(fact)])
                return
            except Rejected:
                return
            except NotReady:
                continue

    async def recalculate(self, class_ids: Sequence[str]) -> None:
        """As a request does that waits for the result."""
        with suppress(NotReady):
            async with transaction(self._engine) as connection:
                await recalculate_many(connection, class_ids)

    async def cached(self, class_ids: Sequence[str]) -> dict[str, Record | None]:
        return await self._cache.get_many(class_ids)


@contextmanager
def backstage(settings: Settings) -> Iterator[Backstage]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="backstage")
    thread.start()
    stage = Backstage(settings, loop)
    try:
        stage.do(stage.open())
        yield stage
        stage.do(stage.close())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
