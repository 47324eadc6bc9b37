"""The kitchen's centre: reads records, and calculates them again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app import metrics
from app.cache import Cache
from app.ids import is_storable
from app.metrics import METRIC_NAMES
from app.records import COLUMNS, Record

BATCH = 200  # classes in a statement: few seconds at the most, and room in memory

CALCULATE = text(metrics.SQL)

# For the rest of a transaction that calculates: see metrics.sql on plans; room for a batch; nothing compiled.
PLAN = text(
    "SELECT set_config('enable_nestloop', 'off', true), set_config('enable_mergejoin', 'off', true), "
    "set_config('work_mem', '64MB', true), set_config('jit', 'off', true), clock_timestamp() AS at"
)

READ = text(f"SELECT {COLUMNS} FROM class_performance p JOIN class c ON c.id = p.class_id WHERE p.class_id = ANY(:ids)")

INSERT_MISSING = text(
    "INSERT INTO class_performance (class_id) SELECT id FROM class WHERE id = ANY(:ids) ORDER BY id "
    "ON CONFLICT DO NOTHING"
)

# In order, so that two who recalculate the same classes never deadlock.
LOCK = text("SELECT class_id FROM class_performance WHERE class_id = ANY(:ids) ORDER BY class_id FOR NO KEY UPDATE")


def _list(template: str) -> str:
    return ", ".join(template.format(name=name) for name in METRIC_NAMES)


# A pinned metric keeps what was reported; what does not differ is not written.
WRITE = text(f"""
WITH calculated AS ({metrics.SQL}),
merged AS MATERIALIZED (
    SELECT m.class_id, m.explanation, m.next_change_at,
           {_list("CASE WHEN '{name}' = ANY(p.pinned_metrics) THEN p.{name} ELSE m.{name} END AS {name}")}
    FROM calculated m
    JOIN class_performance p ON p.class_id = m.class_id AND p.class_id = ANY(:class_ids)
),
changed AS (
    UPDATE class_performance p
    SET version = p.version + 1, last_updated = :at, updated_at = :at,
        explanation = m.explanation, next_change_at = m.next_change_at, {_list("{name} = m.{name}")}
    FROM merged m
    WHERE p.class_id = m.class_id
      AND p.class_id = ANY(:class_ids)
      AND (:pins_changed OR p.version = 0 OR ROW(p.explanation, {_list("p.{name}")})
           IS DISTINCT FROM ROW(m.explanation, {_list("m.{name}")}))
    RETURNING p.*
),
rescheduled AS (
    UPDATE class_performance p SET next_change_at = m.next_change_at
    FROM merged m
    WHERE p.class_id = m.class_id
      AND p.class_id = ANY(:class_ids)
      AND p.next_change_at IS DISTINCT FROM m.next_change_at
      AND NOT EXISTS (SELECT FROM changed WHERE changed.class_id = p.class_id)
),
remembered AS (
    INSERT INTO class_performance_history
        (class_id, version, cause, actor, fields, pinned_metrics, at, {_list("{name}")})
    SELECT class_id, version, :cause, :actor, CAST(:fields AS text[]), pinned_metrics, :at, {_list("{name}")}
    FROM changed
)
SELECT {COLUMNS} FROM changed p JOIN class c ON c.id = p.class_id AND c.id = ANY(:class_ids)
""")


class Performance:
    """Records by class. What a request reads comes from the cache; what is not there is read once for all who wait."""

    def __init__(self, engine: AsyncEngine, cache: Cache) -> None:
        self._engine = engine
        self._cache = cache
        self._flights: dict[str, asyncio.Task[dict[str, Record | None]]] = {}

    async def get_many(self, class_ids: Sequence[str]) -> list[Record | None]:
        """In the order asked; None where there is no such class."""
        ids = [class_id for class_id in dict.fromkeys(class_ids) if is_storable(class_id)]
        found = await self._cache.get_many(ids)
        missing = [class_id for class_id in ids if class_id not in found]
        if missing:
            found |= await self._read_together(missing)
        return [found.get(class_id) for class_id in class_ids]

    async def publish(self, records: Sequence[Record]) -> None:
        """Tell the cache what was committed. A read that began before must not serve whoever asks from now on."""
        for record in records:
            self._flights.pop(record.class_id, None)
        await self._cache.put_many(records)

    async def refresh(self, class_ids: Sequence[str]) -> None:
        """Tell the cache what is stored now, after a commit of more than can be remembered."""
        for start in range(0, len(class_ids), BATCH):
            batch = class_ids[start : start + BATCH]
            for class_id in batch:
                self._flights.pop(class_id, None)
            await self._read(batch)

    async def _read_together(self, class_ids: list[str]) -> dict[str, Record | None]:
        new = [class_id for class_id in class_ids if class_id not in self._flights]
        if new:
            flight = asyncio.create_task(self._read(new))
            self._flights.update(dict.fromkeys(new, flight))
            flight.add_done_callback(lambda done: self._land(new, done))
        found: dict[str, Record | None] = {}
        for flight in dict.fromkeys(self._flights[class_id] for class_id in class_ids):
            # One who gives up waiting must not end the read for the others.
            found |= await asyncio.shield(flight)
        return found

    def _land(self, class_ids: list[str], flight: asyncio.Task[dict[str, Record | None]]) -> None:
        for class_id in class_ids:
            if self._flights.get(class_id) is flight:
                del self._flights[class_id]
        if not flight.cancelled():
            flight.exception()  # seen, even when nobody waits any more

    async def _read(self, class_ids: Sequence[str]) -> dict[str, Record | None]:
        async with self._engine.connect() as connection:
            rows = (await connection.execute(READ, {"ids": list(class_ids)})).mappings()
            records = {row["class_id"]: Record.from_row(row) for row in rows}
        unknown = [class_id for class_id in class_ids if class_id not in records]
        await self._cache.put_many(list(records.values()))
        await self._cache.remember_unknown(unknown)
        return {**records, **dict.fromkeys(unknown)}


async def recalculate_many(
    connection: AsyncConnection,
    class_ids: Sequence[str],
    *,
    unpinned: Sequence[str] = (),
    actor: str | None = None,
) -> list[Record]:
    """Calculate in the caller's transaction; the records that changed, with their new versions.

    T is taken and the facts are read when the records are locked: of two who recalculate one class, the later sees what
    the earlier saw, and more. `unpinned` names columns whose pins `actor` has just taken away.
    """
    ids = sorted(set(class_ids))
    cause = {
        "pins_changed": bool(unpinned),
        "cause": "unpinned" if unpinned else "calculated",
        "actor": actor,
        "fields": list(unpinned),
    }
    changed: list[Record] = []
    for start in range(0, len(ids), BATCH):
        changed += await _recalculate_batch(connection, ids[start : start + BATCH], cause)
    return changed


async def _recalculate_batch(
    connection: AsyncConnection, class_ids: list[str], cause: Mapping[str, Any]
) -> list[Record]:
    await connection.execute(INSERT_MISSING, {"ids": class_ids})
    await connection.execute(LOCK, {"ids": class_ids})
    at = (await connection.execute(PLAN)).one().at
    rows = await connection.execute(WRITE, {"class_ids": class_ids, "at": at, **cause})
    return [Record.from_row(row) for row in rows.mappings()]


async def calculate_many(
    connection: AsyncConnection, class_ids: Sequence[str], at: datetime
) -> dict[str, dict[str, Any]]:
    """What the numbers would be at an instant, with `explanation` and `next_change_at`, by class. Stores nothing."""
    await connection.execute(PLAN)
    rows = await connection.execute(CALCULATE, {"class_ids": list(class_ids), "at": at})
    return {row["class_id"]: dict(row) for row in rows.mappings()}
