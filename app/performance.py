"""The kitchen's centre: reads records, and calculates them again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app import changes, metrics
from app.cache import Cache
from app.changes import Claim
from app.ids import is_storable
from app.metrics import METRIC_NAMES
from app.records import COLUMNS, Record

BATCH = 200  # classes in a statement: few seconds at the most, and room in memory

CALCULATE = text(metrics.SQL)

# For the rest of a transaction that calculates: see metrics.sql on plans; room for a batch; nothing compiled. Planning
# takes as long as half a class: a few are calculated by a plan made once, which the sizes of tables have no say in.
PLAN = text(
    "SELECT set_config('enable_nestloop', 'off', true), set_config('enable_mergejoin', 'off', true), "
    "set_config('enable_seqscan', CASE WHEN :few THEN 'off' ELSE 'on' END, true), "
    "set_config('plan_cache_mode', CASE WHEN :few THEN 'force_generic_plan' ELSE 'auto' END, true), "
    "set_config('work_mem', '64MB', true), set_config('jit', 'off', true), clock_timestamp() AS at"
)
FEW = 5

# A worker waits for nobody for long: whatever one class waits for, the others of its batch need not.
IMPATIENTLY = text("SET LOCAL lock_timeout = '1s'")

READ = text(f"SELECT {COLUMNS} FROM class_performance p JOIN class c ON c.id = p.class_id WHERE p.class_id = ANY(:ids)")


def _list(template: str) -> str:
    return ", ".join(template.format(name=name) for name in METRIC_NAMES)


# A pinned metric keeps what was reported; what does not differ is not written. `fields` are pinned no more.
WRITE = text(f"""
WITH calculated AS ({metrics.SQL}),
kept AS MATERIALIZED (
    SELECT *, array(SELECT pin FROM unnest(pinned_metrics) pin WHERE pin <> ALL(CAST(:fields AS text[]))) AS pins
    FROM class_performance WHERE class_id = ANY(:class_ids)
),
merged AS MATERIALIZED (
    SELECT m.class_id, m.explanation, m.next_change_at, k.pins,
           {_list("CASE WHEN '{name}' = ANY(k.pins) THEN k.{name} ELSE m.{name} END AS {name}")}
    FROM calculated m JOIN kept k ON k.class_id = m.class_id
),
changed AS (
    UPDATE class_performance p
    SET version = p.version + 1, last_updated = :at, updated_at = :at,
        pinned_metrics = m.pins, explanation = m.explanation, next_change_at = m.next_change_at,
        {_list("{name} = m.{name}")}
    FROM merged m
    WHERE p.class_id = m.class_id
      AND p.class_id = ANY(:class_ids)
      AND (p.version = 0 OR ROW(p.pinned_metrics, p.explanation, {_list("p.{name}")})
           IS DISTINCT FROM ROW(m.pins, m.explanation, {_list("m.{name}")}))
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
),
mended AS (
    DELETE FROM calculation_failure WHERE class_id = ANY(:class_ids)
)
SELECT {COLUMNS} FROM changed p JOIN class c ON c.id = p.class_id AND c.id = ANY(:class_ids)
""")


class Waker(Protocol):
    """Tells the workers, wherever they are, that there is something to do. Never raises, never takes long."""

    async def wake(self) -> None: ...


class Performance:
    """Records by class. What a request reads comes from the cache; what is not there is read once for all who wait."""

    def __init__(self, engine: AsyncEngine, cache: Cache, waker: Waker | None = None) -> None:
        self._engine = engine
        self._cache = cache
        self._waker = waker
        self._flights: dict[str, asyncio.Task[dict[str, Record | None]]] = {}

    async def get_many(self, class_ids: Sequence[str]) -> list[Record | None]:
        """In the order asked; None where there is no such class."""
        ids = [class_id for class_id in dict.fromkeys(class_ids) if is_storable(class_id)]
        found = await self._cache.get_many(ids)
        missing = [class_id for class_id in ids if class_id not in found]
        if missing:
            found |= await self._read_together(missing)
        return [found.get(class_id) for class_id in class_ids]

    async def get_stale_since(self, class_ids: Sequence[str]) -> list[datetime | None]:
        """For each class the oldest change that is not calculated yet."""
        async with self._engine.connect() as connection:
            found = await changes.stale_since(connection, class_ids)
        return [found.get(class_id) for class_id in class_ids]

    async def publish(self, records: Sequence[Record]) -> None:
        """Tell the cache what was committed, and the workers, who tell everyone else. A read that began before must
        not serve whoever asks from now on."""
        for record in records:
            self._flights.pop(record.class_id, None)
        await self._cache.replace_many(records)
        await self.wake()

    async def wake(self) -> None:
        """After a commit that leaves something to do. Without it the workers find out by themselves, a little later."""
        if self._waker:
            await self._waker.wake()

    def forget(self, class_id: str) -> None:
        """Something newer was heard: a read that began before must not serve whoever asks from now on."""
        self._flights.pop(class_id, None)

    async def refresh(self, class_ids: Sequence[str]) -> None:
        """Tell the cache what is stored now, after a commit of more than can be remembered."""
        for start in range(0, len(class_ids), BATCH):
            batch = class_ids[start : start + BATCH]
            for class_id in batch:
                self._flights.pop(class_id, None)
            await self._read(batch)
        await self.wake()

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
        lease = await self._cache.lease_many(class_ids)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(READ, {"ids": list(class_ids)})).mappings()
            records = {row["class_id"]: Record.from_row(row) for row in rows}
        found = {class_id: records.get(class_id) for class_id in class_ids}
        await self._cache.fill_many(lease, found)
        return found


@dataclass(frozen=True, slots=True)
class Drained:
    """What a step of a worker did: the classes it calculated, and the records that differ now."""

    class_ids: list[str]
    changed: list[Record]


async def recalculate_many(
    connection: AsyncConnection,
    class_ids: Sequence[str],
    *,
    unpinned: Sequence[str] = (),
    actor: str | None = None,
) -> list[Record]:
    """Calculate in the caller's transaction; the records that changed, with their new versions.

    T is taken and the facts are read when the records are locked: of two who recalculate one class, the later sees what
    the earlier saw, and more. What is marked changed by then need not be calculated by anyone else. `unpinned` names
    columns whose pins `actor` takes away.
    """
    ids = sorted(set(class_ids))
    changed: list[Record] = []
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        await changes.claim_all(connection, batch)
        changed += await _calculate(connection, batch, unpinned, actor)
    return changed


async def recalculate_changed(connection: AsyncConnection, most: int = BATCH) -> Drained:
    """Calculate classes that are marked changed, in the caller's transaction: the step of a worker."""
    return await recalculate_claimed(connection, await changes.claim(connection, most))


async def recalculate_claimed(connection: AsyncConnection, claim: Claim) -> Drained:
    """Calculate what was claimed in this transaction. Raises OutOfTime where one of the classes is not to be had."""
    if not claim.since:
        return Drained([], [])
    await connection.execute(IMPATIENTLY)
    return Drained(claim.class_ids, await _calculate(connection, claim.class_ids))


async def _calculate(
    connection: AsyncConnection, class_ids: list[str], unpinned: Sequence[str] = (), actor: str | None = None
) -> list[Record]:
    """The records must be locked."""
    at = (await connection.execute(PLAN, {"few": len(class_ids) < FEW})).one().at
    cause = {"cause": "unpinned" if unpinned else "calculated", "actor": actor, "fields": list(unpinned)}
    rows = await connection.execute(WRITE, {"class_ids": class_ids, "at": at, **cause})
    return [Record.from_row(row) for row in rows.mappings()]


async def calculate_many(
    connection: AsyncConnection, class_ids: Sequence[str], at: datetime
) -> dict[str, dict[str, Any]]:
    """What the numbers would be at an instant, with `explanation` and `next_change_at`, by class. Stores nothing."""
    await connection.execute(PLAN, {"few": False})
    rows = await connection.execute(CALCULATE, {"class_ids": list(class_ids), "at": at})
    return {row["class_id"]: dict(row) for row in rows.mappings()}
