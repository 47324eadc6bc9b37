"""Recalculation: as a rebuild, by workers, and what PostgreSQL needs merely to read and add up the same rows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from sqlalchemy import text

from app import changes, migrate
from app.district import Plan
from app.graphql.context import Services
from app.main import services_of
from app.performance import BATCH
from app.rebuild import all_classes, rebuild, these_classes
from app.seed import seed
from app.settings import Settings
from benchmarks import machine, world
from benchmarks.server import running
from benchmarks.table import Table, number, ratio

HEADER = ("", "classes", "seconds", "classes/s", "rows/s", "time / aggregate", "time / batches")

# By fact table the column that is added up. A person has no class, so no metric reads that table.
FACTS = {
    "enrollment": "1",
    "category": "weight",
    "activity": "max_points",
    "submission": "score",
    "excusal": "excused::int",
    "attendance": "1",
    "points_award": "points",
}
AGGREGATES = [
    text(f'SELECT class_id, count(*), sum({column}), avg({column}) FROM "{table}" GROUP BY class_id')
    for table, column in FACTS.items()
]
# A calculation that writes runs in one process; the aggregate is given no more.
ALONE = text("SET LOCAL max_parallel_workers_per_gather = 0")
DRAINED = text("SELECT NOT EXISTS (SELECT FROM class_change) AND NOT EXISTS (SELECT FROM performance_change)")
POLL = 0.01
# Now every class differs from its record, and is written with a version and a page of history.
DIFFER = text("UPDATE class_performance SET explanation = '{}'")


NAMES = {
    "batches": f"batches of {BATCH}, all written",
    "unchanged": f"batches of {BATCH}, nothing changed",
    "singly": "one class at a time, all written",
    "drained by 1": "marked, drained by 1 worker",
    "drained by 2": "marked, drained by 2 workers",
    "aggregate": "bare aggregate (count, sum, avg)",
}
WORKERS = 2
DRAINED_WITHIN = 120.0


@dataclass(frozen=True, slots=True)
class Size:
    """`singly`: how many classes are calculated one at a time. `marked`: how many are marked, for workers to find."""

    plan: Plan
    rounds: int
    singly: int
    marked: int


FULL = Size(Plan(world.NOW, classes=1_000, students=30, activities=40, attendance_days=20), 3, singly=200, marked=400)
QUICK = Size(Plan(world.NOW, classes=60, students=10, activities=10, attendance_days=5), 2, singly=20, marked=40)


def run(quick: bool = False) -> Table:
    with world.servers() as settings:
        migrate.upgrade(settings.database_url.get_secret_value())
        return asyncio.run(measure(settings, QUICK if quick else FULL))


async def measure(settings: Settings, size: Size) -> Table:
    """On a migrated and empty database."""
    async with services_of(settings) as services:
        await seed(services.engine, size.plan)
        async for _ in rebuild(services.engine, services.performance, all_classes(services.engine)):
            pass
        world.tidy(settings)
        times = await _times(settings, services, size)
        return _table(size, await _rows(services), times)


async def _times(settings: Settings, services: Services, size: Size) -> dict[str, list[float]]:
    """Seconds by round; the rounds alternate."""
    times: dict[str, list[float]] = {name: [] for name in NAMES}
    ids = [class_id async for batch in all_classes(services.engine) for class_id in batch]
    for _ in range(size.rounds):
        await _differ(settings, services)
        times["batches"].append(await _rebuild(services, all_classes(services.engine)))
        times["unchanged"].append(await _rebuild(services, all_classes(services.engine)))
        await _differ(settings, services)
        times["singly"].append(await _rebuild(services, _singly(ids[: size.singly])))
        for workers, seconds in enumerate(await _drain(settings, services, ids[: size.marked]), 1):
            times[f"drained by {workers}"].append(seconds)
        times["aggregate"].append(await _aggregate(services))
    return times


async def _differ(settings: Settings, services: Services) -> None:
    async with services.engine.begin() as connection:
        await connection.execute(DIFFER)
    world.tidy(settings)


async def _rebuild(services: Services, batches: AsyncIterator[list[str]]) -> float:
    began = time.perf_counter()
    async for _ in rebuild(services.engine, services.performance, batches):
        pass
    return time.perf_counter() - began


async def _singly(class_ids: list[str]) -> AsyncIterator[list[str]]:
    for class_id in class_ids:
        async for batch in these_classes([class_id]):
            yield batch


async def _drain(settings: Settings, services: Services, class_ids: list[str]) -> list[float]:
    """Seconds until what was marked is calculated, cached and published: by one worker process, and by two."""
    taken, everywhere = [], machine.cores().everywhere
    with ExitStack() as stack:
        for _ in range(WORKERS):
            stack.enter_context(running("worker", settings, everywhere))
            await _differ(settings, services)
            await _until_drained(services)
            async with services.engine.begin() as connection:
                await changes.mark(connection, class_ids)
            taken.append(await _until_drained(services))
    return taken


async def _until_drained(services: Services) -> float:
    began = time.perf_counter()
    while True:
        async with services.engine.connect() as connection:
            if await connection.scalar(DRAINED):
                return time.perf_counter() - began
        if time.perf_counter() - began > DRAINED_WITHIN:
            raise RuntimeError("The workers do not drain what was marked.")
        await asyncio.sleep(POLL)


async def _aggregate(services: Services) -> float:
    async with services.engine.begin() as connection:
        await connection.execute(ALONE)
        began = time.perf_counter()
        for statement in AGGREGATES:
            (await connection.execute(statement)).all()
        return time.perf_counter() - began


async def _rows(services: Services) -> int:
    async with services.engine.connect() as connection:
        counts = [await connection.scalar(text(f'SELECT count(*) FROM "{table}"')) for table in FACTS]
    return sum(count or 0 for count in counts)


def _table(size: Size, rows: int, times: dict[str, list[float]]) -> Table:
    plan = size.plan
    title = f"{plan.classes:,} classes of about {plan.students} students and {plan.activities} activities"
    table = Table(f"Recalculation: {title}; {rows:,} facts", HEADER)
    some = {"singly": size.singly, "drained by 1": size.marked, "drained by 2": size.marked}
    counts = {name: min(some.get(name, plan.classes), plan.classes) for name in NAMES}
    each = {name: [seconds / counts[name] for seconds in times[name]] for name in NAMES}
    for name, label in NAMES.items():
        rate = 1 / median(each[name])
        against = [ratio(each[name], each[other]) if name != other else "1" for other in ("aggregate", "batches")]
        figures = (str(counts[name]), number(median(times[name])), number(rate), number(rate * rows / plan.classes))
        table.rows.append((label, *figures, *against))
    table.notes.append(f"Ratios are of the time for a class: the median of {size.rounds} rounds (least-greatest).")
    return table
