"""Calculates any number of classes again, in batches that are each a transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database import transaction
from app.performance import BATCH, Performance, recalculate_many

# Ids are compared as bytes, whatever the collation of the database: so does whoever goes on where a run stopped.
COUNT = text('SELECT count(*) FROM class WHERE id > CAST(:after AS text) COLLATE "C"')
UNKNOWN = text(
    "SELECT asked.id FROM unnest(CAST(:ids AS text[])) AS asked (id) "
    "WHERE NOT EXISTS (SELECT FROM class c WHERE c.id = asked.id)"
)
NEXT = text(f'SELECT id FROM class WHERE id > CAST(:after AS text) COLLATE "C" ORDER BY id COLLATE "C" LIMIT {BATCH}')


async def count_classes(engine: AsyncEngine, after: str = "") -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(COUNT, {"after": after})).scalar_one())


async def unknown_classes(engine: AsyncEngine, class_ids: Sequence[str]) -> list[str]:
    async with engine.connect() as connection:
        return list(await connection.scalars(UNKNOWN, {"ids": list(class_ids)}))


async def all_classes(engine: AsyncEngine, after: str = "") -> AsyncIterator[list[str]]:
    """In the order of their ids, a batch at a time."""
    while True:
        async with engine.connect() as connection:
            ids = list(await connection.scalars(NEXT, {"after": after}))
        if not ids:
            return
        yield ids
        after = ids[-1]


async def these_classes(class_ids: Sequence[str]) -> AsyncIterator[list[str]]:
    ids = sorted(set(class_ids))
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]


async def rebuild(
    engine: AsyncEngine, performance: Performance, batches: AsyncIterator[list[str]]
) -> AsyncIterator[list[str]]:
    """Yields each batch when it is committed and published. Stopped and repeated, it does no harm."""
    async for batch in batches:
        async with transaction(engine, unhurried=True) as connection:
            changed = await recalculate_many(connection, batch)
        await performance.publish(changed)
        yield batch
