"""Programs that know only SQL: they write, move and delete facts, and commit when it suits them."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from tests.soak import world
from tests.soak.evidence import ABSENT, Evidence

PROGRAMS = 3
PAUSE = 0.08
LONGEST = 2.5  # seconds a transaction may stay open
PATIENCE = 4.0
OPTIONS = "-c lock_timeout=2000 -c statement_timeout=3000 -c timezone=UTC"

Connection = psycopg.AsyncConnection[Any]
Effect = tuple[str, tuple[Any, ...], Any]  # kind, key, what is stored from then on
Effects = dict[tuple[str, tuple[Any, ...]], Any]


class Program:
    """Writes to keys of its own, in one transaction after the other. A key whose fate is unknown, because the
    connection was lost in the commit, it never touches again."""

    def __init__(self, number: int, url: str, evidence: Evidence, seed: str) -> None:
        self.number, self.evidence = number, evidence
        self.choice = random.Random(seed)
        self._url = url
        self._made = 0
        self._turn = 0
        self._own: Effects = {}
        self._now: Effects = {}
        self._hurried = False
        self._customised = {c for n, c in enumerate(world.CLASSES) if n % PROGRAMS == number}

    async def run(self, until: asyncio.Event) -> None:
        while not until.is_set():
            with contextlib.suppress(psycopg.Error, OSError, TimeoutError):
                async with self._connected() as connection:
                    while not until.is_set():
                        await self._transaction(connection)
                        await asyncio.sleep(self.choice.expovariate(1 / PAUSE))
            await asyncio.sleep(0.2)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        async with asyncio.timeout(PATIENCE):
            connection = await psycopg.AsyncConnection.connect(self._url, options=OPTIONS, connect_timeout=2)
        try:
            yield connection
        finally:
            await connection.close()

    async def _transaction(self, connection: Connection) -> None:
        """What happens before the commit is undone for certain if it fails; what happens in it is not known."""
        self._turn += 1
        self._now, self._hurried = {}, False
        async with asyncio.timeout(PATIENCE + LONGEST):
            for _ in range(self.choice.choice((1, 1, 2, 4))):
                for kind, key, what in await self._pick()(connection):
                    self._now[kind, key] = what
            if self.choice.random() < 0.25 and not self._hurried:
                await asyncio.sleep(self.choice.random() * LONGEST)
            if self.choice.random() < 0.15:
                await connection.rollback()
            else:
                await self._commit(connection)

    async def _commit(self, connection: Connection) -> None:
        for (kind, key), what in self._now.items():
            self._own.pop((kind, key), None)
            self.evidence.ledger.send(kind, key, self._turn, what)
        await connection.commit()
        for kind, key in self._now:
            self.evidence.ledger.acknowledge(kind, key, self._turn)
        self._own |= self._now
        self.evidence.count("transactions of programs")

    def _pick(self) -> Callable[[Connection], Awaitable[list[Effect]]]:
        acts = {
            self._attend: 4,
            self._award: 4,
            self._move: 3,
            self._delete: 2,
            self._customise: 2,
            self._weigh: 1,
            self._change_policy: 1,
            self._excuse: 1,
        }
        (act,) = self.choice.choices([*acts], [*acts.values()])
        return act

    async def _attend(self, connection: Connection) -> list[Effect]:
        """Many rows of many classes, in no order."""
        rows = []
        for _ in range(self.choice.randint(1, 12)):
            self._made += 1
            day = self.choice.choice(world.DAYS)
            status = self.choice.choice(("PRESENT", "ABSENT", "LATE", "EXCUSED"))
            rows.append((self._class(), self._student(), day, f"p{self.number}-{self._made}", status))
        columns = "class_id, student_id, session_date, session_key, status"
        statement = f"COPY attendance ({columns}) FROM STDIN".encode()
        async with connection.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                await copy.write_row(row)
        return [("attendance", (c, student, day.isoformat(), key), status) for c, student, day, key, status in rows]

    async def _award(self, connection: Connection) -> list[Effect]:
        self._made += 1
        key, given = (f"p{self.number}-{self._made}",), (self._class(), self._student(), self.choice.randrange(50))
        await connection.execute(
            "INSERT INTO points_award (id, class_id, student_id, points, awarded_at) "
            "VALUES (%s, %s, %s, %s, clock_timestamp() - interval '1 day')",
            (*key, *given),
        )
        return [("program award", key, given)]

    async def _move(self, connection: Connection) -> list[Effect]:
        """To another class, so that two are touched."""
        if not (found := self._own_award()):
            return []
        key, (class_id, student, points) = found
        there = self._class()
        await connection.execute(
            "UPDATE points_award SET class_id = %s, points = %s WHERE class_id = %s AND id = %s",
            (there, points + 1, class_id, *key),
        )
        return [("program award", key, (there, student, points + 1))]

    async def _delete(self, connection: Connection) -> list[Effect]:
        if not (found := self._own_award()):
            return []
        key, (class_id, *_) = found
        await connection.execute("DELETE FROM points_award WHERE class_id = %s AND id = %s", (class_id, *key))
        return [("program award", key, ABSENT)]

    def _own_award(self) -> tuple[tuple[Any, ...], Any] | None:
        """Committed, and not touched in this transaction yet."""
        kind = "program award"
        awards = [
            (name[1], what)
            for name, what in self._own.items()
            if name[0] == kind and what is not ABSENT and name not in self._now
        ]
        return self.choice.choice(awards) if awards else None

    async def _customise(self, connection: Connection) -> list[Effect]:
        """Writes into the record itself, past everything that is ours."""
        class_id = world.pick(self.choice, self.evidence.timeline.elapsed, self._customised)
        custom = {"by": self.number, "turn": self._turn}
        answer = await connection.execute(
            "UPDATE class_performance SET custom = %s WHERE class_id = %s", (Jsonb(custom), class_id)
        )
        return [("custom", (class_id,), custom)] if answer.rowcount else []

    async def _weigh(self, connection: Connection) -> list[Effect]:
        change = self.choice.choice(("weighted = NOT weighted", "status = 'ARCHIVED'", "status = 'ACTIVE'"))
        await connection.execute(f"UPDATE class SET {change} WHERE id = %s".encode(), (self._class(),))
        return []

    async def _change_policy(self, connection: Connection) -> list[Effect]:
        policy = (self.choice.choice((40, 50, 60)), self.choice.choice((24, 168)), world.RESTLESS)
        await connection.execute("UPDATE school SET pass_mark = %s, feedback_hours = %s WHERE id = %s", policy)
        return []

    async def _excuse(self, connection: Connection) -> list[Effect]:
        """Once in a while takes all of them away at once; nobody can calculate until that is committed."""
        if self.choice.random() < 0.02:
            self._hurried = True
            await connection.execute("TRUNCATE excusal")
            return []
        row = (self._class(), self.choice.choice(world.ACTIVITIES), self._student())
        await connection.execute(
            "INSERT INTO excusal (class_id, activity_id, student_id) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", row
        )
        return []

    def _class(self) -> str:
        return world.pick(self.choice, self.evidence.timeline.elapsed)

    def _student(self) -> str:
        return self.choice.choice(world.STUDENTS)
