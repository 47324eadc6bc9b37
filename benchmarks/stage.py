"""Where facts are handed in on one side and heard of on the other, by one clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from statistics import median

import psycopg

from app.auth import ViewerRole, mint
from app.database import transaction
from app.graphql.context import Services
from app.main import services_of
from app.performance import recalculate_many
from app.settings import Settings
from benchmarks.doors import BARE, BARE_TABLE, CHANNEL, ApiDoor, Award, Door, SqlDoor
from benchmarks.fanout import WATCH
from benchmarks.ledger import Ledger, Page
from benchmarks.scenes import Scene, find_scenes
from benchmarks.sockets import Operation, Socket

DOORS = 8
SQL, API, NOTIFY = "SQL", "API", "NOTIFY"
SETTLED_WITHIN = 60.0
MOST_CLASSES = 100
CALCULATED = 5  # classes alone, for a median


@dataclass(slots=True)
class Stage:
    services: Services
    scenes: Sequence[Scene]
    doors: dict[str, Sequence[Door]]
    ledgers: dict[str, Ledger]
    _ids: Iterator[int] = field(default_factory=count)

    @property
    def classes(self) -> int:
        return len(self.scenes)

    async def play(self, door: str, rate: int, seconds: float) -> Page:
        """Facts at this rate, one class after the other; returns when all have arrived."""
        ledger, doors, began = self.ledgers[door], self.doors[door], time.perf_counter()
        queues: list[list[tuple[float, Award]]] = [[] for _ in doors]
        for n in range(round(rate * seconds)):
            id = next(self._ids)
            place = id % self.classes
            # All of a class by the same door, so that they are committed in order.
            queues[place % len(doors)].append((began + n / rate, Award(f"benchmark-{id}", *self.scenes[place])))
        await asyncio.gather(*(_hand_in(one, queue, ledger) for one, queue in zip(doors, queues, strict=True)))
        await ledger.settle(SETTLED_WITHIN)
        return ledger.turn()

    async def calculate(self) -> float:
        """Seconds that the calculation of one class takes by itself."""
        taken = []
        for class_id, _ in self.scenes[:CALCULATED]:
            began = time.perf_counter()
            async with transaction(self.services.engine) as connection:
                await recalculate_many(connection, [class_id])
            taken.append(time.perf_counter() - began)
        return median(taken)


async def _hand_in(door: Door, queue: Sequence[tuple[float, Award]], ledger: Ledger) -> None:
    for due, award in queue:
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        began = time.perf_counter()
        ledger.send(award.class_id, began)
        await door.hand_in(award)
        ledger.commit(time.perf_counter() - began)


@asynccontextmanager
async def stage(settings: Settings, port: int, classes: int) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(services_of(settings))
        scenes = await find_scenes(services.engine, range(1, classes + 1), MOST_CLASSES)
        live, bare = Ledger(), Ledger()
        await _watch(stack, settings, port, [class_id for class_id, _ in scenes], live)
        url = settings.database_url.get_secret_value()
        await _listen(stack, url, bare)
        doors: dict[str, Sequence[Door]] = {
            SQL: [await SqlDoor.open(stack, url) for _ in range(DOORS)],
            API: [await ApiDoor.open(stack, settings, port) for _ in range(DOORS)],
            NOTIFY: [await SqlDoor.open(stack, url, BARE) for _ in range(DOORS)],
        }
        yield Stage(services, scenes, doors, {SQL: live, API: live, NOTIFY: bare})


async def _watch(stack: AsyncExitStack, settings: Settings, port: int, class_ids: list[str], ledger: Ledger) -> None:
    token = mint(settings, "benchmark", ViewerRole.ADMIN)
    operation = Operation(token, WATCH, {"ids": class_ids}, greeting=len(class_ids))
    socket = await Socket.subscribe(port, operation, ledger.hear_event)
    ledger.turn()
    stack.callback(socket.close)


async def _listen(stack: AsyncExitStack, database_url: str, ledger: Ledger) -> None:
    listener = await psycopg.AsyncConnection.connect(database_url, autocommit=True)
    await stack.enter_async_context(listener)
    await listener.execute(BARE_TABLE)
    await listener.execute(f"LISTEN {CHANNEL}".encode())
    task = asyncio.create_task(_hear(listener, ledger))
    stack.callback(task.cancel)


async def _hear(listener: psycopg.AsyncConnection, ledger: Ledger) -> None:
    async for notify in listener.notifies():
        ledger.arrive(notify.payload, 1, time.perf_counter())
