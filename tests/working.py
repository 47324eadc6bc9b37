"""Workers in this process, and a way to wait for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database import transaction
from app.settings import Settings
from app.worker import Worker, working

CALCULATED = "classperf_classes_calculated_total"
PATIENCE = 20.0  # a busy machine; nothing here depends on being quick
IDLE = text("""
    SELECT NOT EXISTS (SELECT FROM class_change) AND NOT EXISTS (SELECT FROM performance_change)
       AND NOT EXISTS (SELECT FROM class_performance WHERE next_change_at <= clock_timestamp())
""")


@asynccontextmanager
async def workers(settings: Settings, count: int = 1) -> AsyncIterator[list[Worker]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(working(settings)) for _ in range(count)]


async def until(true: Callable[[], Awaitable[Any]], patience: float = PATIENCE) -> Any:
    """What it gives when it is true."""
    deadline = time.monotonic() + patience
    while not (found := await true()):
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.02)
    return found


async def idle(engine: AsyncEngine, patience: float = PATIENCE) -> None:
    """Until nothing is left to do."""
    await until(lambda: ask(engine, IDLE.text), patience)


async def ask(engine: AsyncEngine, question: str, **parameters: Any) -> Any:
    """The first column of the first row."""
    async with engine.connect() as connection:
        return (await connection.execute(text(question), parameters)).scalar()


async def ask_all(engine: AsyncEngine, question: str, **parameters: Any) -> Sequence[Any]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(question), parameters)]


async def tell(engine: AsyncEngine, *statements: str, **parameters: Any) -> None:
    """In one transaction, as a program would that knows only SQL."""
    async with transaction(engine) as connection:
        for statement in statements:
            await connection.execute(text(statement), parameters)


def measured(name: str, **labels: str) -> float:
    """So far in this process, all workers of it together."""
    return REGISTRY.get_sample_value(name, labels) or 0.0
