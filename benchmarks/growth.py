"""What one fact costs, from its commit to Redis: by the number of classes there are, and by the size of its class."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, fields
from itertools import pairwise
from statistics import median

from pydantic import SecretStr
from sqlalchemy import text

from app.database import transaction
from app.district import Plan
from app.graphql.context import Services
from app.main import services_of
from app.performance import recalculate_changed
from app.relay import Relay
from app.settings import Settings
from benchmarks import world
from benchmarks.doors import Award, Door, SqlDoor
from benchmarks.reads import fill
from benchmarks.recalculation import ALONE, FACTS
from benchmarks.scenes import Scene, find_scenes
from benchmarks.table import Table, number, ratio

HEADER = (
    "",
    "facts of a class",
    "store ms",
    "calculate ms",
    "relay ms",
    "all ms",
    "all / first",
    "aggregate ms",
    "calculate / aggregate",
)
AGGREGATES = [
    text(f'SELECT count(*), sum({column}), avg({column}) FROM "{table}" WHERE class_id = :class_id')
    for table, column in FACTS.items()
]
COUNTS = [text(f'SELECT count(*) FROM "{table}" WHERE class_id = ANY(:ids)') for table in FACTS]


@dataclass(frozen=True, slots=True)
class Size:
    """`classes`: how many there are, all of one size. `shapes`: students and activities; `alike` classes of each."""

    classes: tuple[int, ...]
    shapes: tuple[tuple[int, int], ...]
    alike: int
    facts: int
    rounds: int


FULL = Size((100, 1_000, 5_000), ((10, 10), (30, 40), (60, 80), (120, 80)), alike=8, facts=15, rounds=3)
QUICK = Size((12, 24), ((4, 4), (8, 8)), alike=8, facts=2, rounds=2)


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of one fact, by step; and of a bare aggregate over the facts of its class."""

    store: float
    calculate: float
    relay: float
    aggregate: float

    @property
    def total(self) -> float:
        return self.store + self.calculate + self.relay


@dataclass(frozen=True, slots=True)
class _Place:
    """Some classes of a database, where facts are handed in and every step is taken at once."""

    name: str
    services: Services
    relay: Relay
    door: Door
    scenes: Sequence[Scene]

    async def cost(self, n: int) -> Cost:
        class_id, student_id = self.scenes[n % len(self.scenes)]
        award = Award(f"benchmark-{self.name}-{n}", class_id, student_id)
        moments = [time.perf_counter()]
        await self.door.hand_in(award)
        moments.append(time.perf_counter())
        async with transaction(self.services.engine) as connection:
            drained = await recalculate_changed(connection)
        moments.append(time.perf_counter())
        told = await self.relay.run_once()
        moments.append(time.perf_counter())
        assert drained.class_ids == [class_id]
        assert told == 1
        store, calculate, relay = (after - before for before, after in pairwise(moments))
        return Cost(store, calculate, relay, await self._aggregate(class_id))

    async def _aggregate(self, class_id: str) -> float:
        async with self.services.engine.begin() as connection:
            await connection.execute(ALONE)
            began = time.perf_counter()
            for statement in AGGREGATES:
                (await connection.execute(statement, {"class_id": class_id})).all()
            return time.perf_counter() - began

    async def facts(self) -> float:
        """Of a class."""
        values = {"ids": [class_id for class_id, _ in self.scenes]}
        async with self.services.engine.connect() as connection:
            return sum([(await connection.scalar(count, values)) or 0 for count in COUNTS]) / len(self.scenes)


def run(quick: bool = False) -> Table:
    with world.servers() as settings:
        return asyncio.run(measure(settings, QUICK if quick else FULL))


async def measure(settings: Settings, size: Size) -> Table:
    """In databases of their own on the server."""
    table = Table("Growth: one fact, stored, calculated and put into Redis, with nothing else to do", HEADER)
    async with AsyncExitStack() as stack:
        for places in (await _by_number(stack, settings, size), await _by_shape(stack, settings, size)):
            await _compare(table, places, size)
    table.notes.append(f"Medians of {size.facts} facts; ratios: the median of {size.rounds} rounds (least-greatest).")
    return table


async def _by_number(stack: AsyncExitStack, settings: Settings, size: Size) -> list[_Place]:
    """A database for each number of classes."""
    places = []
    for n, classes in enumerate(size.classes, 1):
        plan = Plan(world.today(), classes=classes, students=5, activities=6, attendance_days=3)
        house = _house(settings, n)
        await fill(house, plan)
        name = f"{classes:,} classes of {plan.students} x {plan.activities}"
        places.append(await _place(stack, house, name, range(1, classes + 1), size))
    return places


async def _by_shape(stack: AsyncExitStack, settings: Settings, size: Size) -> list[_Place]:
    """All in one database: each plan finds the classes of the last one there, and adds its own."""
    house = _house(settings, 0)
    numbers: list[range] = []
    for students, activities in size.shapes:
        numbers.append(range(len(numbers) * size.alike + 1, (len(numbers) + 1) * size.alike + 1))
        plan = Plan(
            world.today(), classes=numbers[-1][-1], students=students, activities=activities, attendance_days=20
        )
        await fill(house, plan)
    return [
        await _place(stack, house, f"a class of {students} x {activities}", of_shape, size)
        for (students, activities), of_shape in zip(size.shapes, numbers, strict=True)
    ]


def _house(settings: Settings, number: int) -> Settings:
    """A database of its own, in PostgreSQL and in Redis: the classes of all have the same ids."""
    redis_url = settings.redis_url.get_secret_value().rpartition("/")[0] + f"/{number}"
    house = world.database(settings, f"growth_{number}")
    return house.model_copy(update={"redis_url": SecretStr(redis_url)})


async def _place(stack: AsyncExitStack, house: Settings, name: str, numbers: Sequence[int], size: Size) -> _Place:
    services = await stack.enter_async_context(services_of(house))
    scenes = await find_scenes(services.engine, numbers, size.facts)
    door = await SqlDoor.open(stack, house.database_url.get_secret_value())
    place = _Place(name, services, Relay(services.engine, services.cache), door, scenes)
    while await place.relay.run_once():
        pass
    world.tidy(house)
    return place


async def _compare(table: Table, places: Sequence[_Place], size: Size) -> None:
    costs: dict[str, list[Cost]] = {place.name: [] for place in places}
    for start in range(0, size.rounds * size.facts, size.facts):
        for place in places:
            costs[place.name].append(_median([await place.cost(start + n) for n in range(size.facts)]))
    first = [cost.total for cost in costs[places[0].name]]
    for place in places:
        table.rows.append(_row(place.name, await place.facts(), costs[place.name], first))


def _median(costs: Sequence[Cost]) -> Cost:
    """Of each step."""
    return Cost(*(median(getattr(cost, step.name) for cost in costs) for step in fields(Cost)))


def _row(name: str, facts: float, costs: Sequence[Cost], first: Sequence[float]) -> tuple[str, ...]:
    middle, totals = _median(costs), [cost.total for cost in costs]
    return (
        name,
        number(facts),
        *(number(seconds * 1000) for seconds in (middle.store, middle.calculate, middle.relay, middle.total)),
        "1" if totals == first else ratio(totals, first),
        number(middle.aggregate * 1000),
        ratio([cost.calculate for cost in costs], [cost.aggregate for cost in costs]),
    )
