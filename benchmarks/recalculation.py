"""Recalculation: in batches, one class at a time, and what PostgreSQL needs merely to read and add up the same rows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from statistics import median

from sqlalchemy import text

from app import migrate
from app.district import Plan
from app.graphql.context import Services
from app.main import services_of
from app.performance import BATCH
from app.rebuild import all_classes, rebuild, these_classes
from app.seed import seed
from app.settings import Settings
from benchmarks import world
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
# Now every class differs from its record, and is written with a version and a page of history.
DIFFER = text("UPDATE class_performance SET explanation = '{}'")


@dataclass(frozen=True, slots=True)
class Size:
    """`singly`: how many classes are calculated one at a time."""

    plan: Plan
    rounds: int
    singly: int


FULL = Size(Plan(world.NOW, classes=1_000, students=30, activities=40, attendance_days=20), rounds=3, singly=200)
QUICK = Size(Plan(world.NOW, classes=60, students=10, activities=10, attendance_days=5), rounds=2, singly=20)


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
    times: dict[str, list[float]] = {name: [] for name in ("batches", "unchanged", "singly", "aggregate")}
    some = [class_id async for batch in all_classes(services.engine) for class_id in batch][: size.singly]
    for _ in range(size.rounds):
        await _differ(settings, services)
        times["batches"].append(await _rebuild(services, all_classes(services.engine)))
        times["unchanged"].append(await _rebuild(services, all_classes(services.engine)))
        await _differ(settings, services)
        times["singly"].append(await _rebuild(services, _singly(some)))
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
    plan, singly = size.plan, min(size.singly, size.plan.classes)
    title = (
        f"Recalculation: {plan.classes:,} classes of about {plan.students} students and {plan.activities} activities"
    )
    table = Table(f"{title}; {rows:,} facts", HEADER)
    names = {
        "batches": f"batches of {BATCH}, all written",
        "unchanged": f"batches of {BATCH}, nothing changed",
        "singly": "one class at a time, all written",
        "aggregate": "bare aggregate (count, sum, avg)",
    }
    each = {
        name: [seconds / (singly if name == "singly" else plan.classes) for seconds in times[name]] for name in times
    }
    for name, label in names.items():
        classes = singly if name == "singly" else plan.classes
        seconds, rate = median(times[name]), 1 / median(each[name])
        against = [ratio(each[name], each[other]) if name != other else "1" for other in ("aggregate", "batches")]
        table.rows.append(
            (label, str(classes), number(seconds), number(rate), number(rate * rows / plan.classes), *against)
        )
    table.notes.append(f"Ratios are of the time for a class: the median of {size.rounds} rounds (least-greatest).")
    return table
