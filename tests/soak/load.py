"""Everybody who writes, reads and watches during a run."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

from tests.soak import world
from tests.soak.clients import Client, Wallet
from tests.soak.evidence import ANSWERED, Evidence
from tests.soak.house import House
from tests.soak.programs import PROGRAMS, Program
from tests.soak.subscribers import Interest, Subscriber
from tests.soak.words import FOLLOWED, NAMED, heavy
from tests.soak.writers import Reader, Recorder, Registrar, Reporter, again_and_again

RECORDERS, REPORTERS, READERS = 6, 2, 4
LEAST = {"facts recorded": 20, "reports": 5, "transactions of programs": 5, "events": 100}
MOST_LOOKS = 60
SELDOM = 1.0  # seconds from one new class to the next


class Load:
    def __init__(self, house: House, evidence: Evidence, seed: int) -> None:
        self._house, self._evidence, self._seed = house, evidence, seed
        self._until = asyncio.Event()
        self._clients: list[Client] = []
        self._watcher = Wallet(house.settings, "watcher")
        self.interests = self._interests()

    def client(self, name: str) -> Client:
        wallet = Wallet(self._house.settings, name)
        choice = random.Random(f"{self._seed} {name}")
        client = Client(self._house.addresses, wallet, self._evidence, choice, self._until)
        self._clients.append(client)
        return client

    async def write(self, seconds: float) -> None:
        """For so long, and on a machine that is busy with something else until it was a load at all. Whoever is in the
        middle of something then finishes it."""
        registrar = Registrar(self.client("registrar"))
        recorders = [Recorder(n, self.client(f"recorder {n}")) for n in range(RECORDERS)]
        reporters = [Reporter(n, self.client(f"reporter {n}")) for n in range(REPORTERS)]
        readers = [Reader(self.client(f"reader {n}"), registrar) for n in range(READERS)]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(again_and_again(registrar.client, registrar.act, SELDOM))
            for actor in (*recorders, *reporters, *readers):
                tasks.create_task(again_and_again(actor.client, actor.act))
            for n in range(PROGRAMS):
                program = Program(n, self._house.postgres.url, self._evidence, f"{self._seed} program {n}")
                tasks.create_task(program.run(self._until))
            await asyncio.sleep(seconds)
            await self._until_it_was_something()
            self._until.set()

    async def _until_it_was_something(self) -> None:
        for _ in range(MOST_LOOKS):
            if all(self._evidence.timeline.counts[what] >= least for what, least in LEAST.items()):
                return
            await asyncio.sleep(1)
        self._evidence.complain(ANSWERED, f"there was hardly any load: {dict(self._evidence.timeline.counts)}")

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """They watch on after the load, until they have seen everything."""
        addresses = self._house.addresses
        subscribers = [Subscriber(i, addresses, self._evidence, f"{self._seed} {i.name}") for i in self.interests]
        tasks = [asyncio.create_task(subscriber.run(self._until)) for subscriber in subscribers]
        try:
            yield
            for task in tasks:
                if task.done():
                    task.result()  # none ends by itself
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        for client in self._clients:
            await client.close()

    def _interests(self) -> list[Interest]:
        choice = random.Random(f"{self._seed} interests")
        teacher = Wallet(self._house.settings, world.TEACHER, "teacher")
        return [
            *(self._named(f"socket {n}", choice.sample(world.CLASSES, 30)) for n in range(3)),
            self._named("slow socket", choice.sample(world.CLASSES, 60), slow=True),
            self._named("stream", choice.sample(world.CLASSES, 30), streams=True),
            self._of_school(world.RESTLESS),
            self._of_school(world.CALM[0], slow=True),
            self._of_school(world.CALM[1], streams=True),
            Interest("teacher", FOLLOWED, {"school": None}, lambda c: c in world.TAUGHT, teacher),
        ]

    def _named(self, name: str, ids: list[str], **more: bool) -> Interest:
        return self._interest(name, NAMED, {"ids": ids}, lambda class_id: class_id in ids, **more)

    def _of_school(self, school: str, **more: bool) -> Interest:
        def covers(class_id: str) -> bool:
            return world.school_of(class_id) == school

        return self._interest(f"head of {school}", FOLLOWED, {"school": school}, covers, **more)

    def _interest(
        self, name: str, query: str, variables: Any, covers: Callable[[str], bool], *, slow: bool = False, **more: bool
    ) -> Interest:
        return Interest(name, heavy(query) if slow else query, variables, covers, self._watcher, slow=slow, **more)
