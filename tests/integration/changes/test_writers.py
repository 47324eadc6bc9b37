"""Many who write facts of the same classes at once: none waits for another, and nothing is lost."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app import changes
from app.database import transaction
from app.performance import recalculate_changed, recalculate_many
from app.settings import Settings
from tests.integration.changes.conftest import Sql
from tests.serving import settle

WRITERS, ROUNDS, CLASSES = 16, 25, 8
PATIENCE = 60  # seconds, on the busiest machine

# What a writer does to a class, to rows of its own person alone.
STATEMENTS = [
    "INSERT INTO attendance VALUES (%(class)s, %(me)s, DATE '2026-01-01' + %(round)s, '', 'LATE')",
    "UPDATE attendance SET status = 'ABSENT' WHERE class_id = %(class)s AND student_id = %(me)s",
    "INSERT INTO submission (class_id, activity_id, student_id, attempt, score, graded_at) "
    "VALUES (%(class)s, 't', %(me)s, 1 + %(round)s, 5, '2026-01-03Z')",
    "DELETE FROM submission WHERE class_id = %(class)s AND student_id = %(me)s AND attempt < %(round)s",
    "INSERT INTO points_award VALUES (%(class)s, %(me)s || '-' || %(round)s, %(me)s, 3, '2026-01-02Z')",
    "UPDATE points_award SET points = points + 1 WHERE class_id = %(class)s AND student_id = %(me)s",
    "INSERT INTO excusal VALUES (%(class)s, 't', %(me)s, true) ON CONFLICT (class_id, activity_id, student_id) "
    "DO UPDATE SET excused = NOT excusal.excused",
]


def prepare(sql: Sql) -> None:
    sql.execute(
        f"INSERT INTO person (id, school_id) SELECT 'w' || n, 'north' FROM generate_series(1, {WRITERS}) n".encode()
    )
    classes = f"SELECT 'c' || n, 'north', '' FROM generate_series(1, {CLASSES}) n"
    sql.execute(f"INSERT INTO class (id, school_id, title) {classes}".encode())
    sql.execute(
        "INSERT INTO activity (class_id, id, title, max_points, published_at) "
        "SELECT id, 't', 'T', 10, '2026-01-01Z' FROM class WHERE id ~ 'c[0-9]'"
    )
    sql.execute(
        "INSERT INTO enrollment (class_id, id, person_id, role) SELECT c.id, p.id, p.id, 'STUDENT' "
        "FROM class c, person p WHERE c.id ~ 'c[0-9]' AND p.id LIKE 'w%'"
    )
    sql.execute("INSERT INTO class_change (class_id) SELECT id FROM class")


def writer(url: str, number: int, before_commit: Callable[[], object]) -> None:
    """Raises LockNotAvailable if it has to wait for anybody: whose transaction stays open until this has written."""
    chance = random.Random(number)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"SET lock_timeout = '{PATIENCE // 4}s'".encode())
        for round_ in range(ROUNDS):
            work = [(statement, f"c{n + 1}") for n in range(CLASSES) for statement in STATEMENTS]
            chance.shuffle(work)
            with connection.transaction(force_rollback=chance.random() < 0.1):
                for statement, class_id in work[: len(work) // 2]:
                    connection.execute(statement.encode(), {"class": class_id, "me": f"w{number}", "round": round_})
                before_commit()


def start(*jobs: Callable[[], None]) -> list[asyncio.Future[None]]:
    """Each in a thread of its own: they wait for each other."""
    with_threads = ThreadPoolExecutor(len(jobs))
    return [asyncio.get_running_loop().run_in_executor(with_threads, job) for job in jobs]


async def test_writers_of_the_same_classes_never_wait_for_each_other(
    sql: Sql, database_url: str, engine: AsyncEngine, settings: Settings
) -> None:
    """No transaction ends before all have done their writing, so whoever waits for one waits in vain. Meanwhile two
    workers and somebody who recalculates in the requests do their work."""
    prepare(sql)
    together = threading.Barrier(WRITERS, timeout=PATIENCE)
    writing = start(*(partial(writer, database_url, n + 1, together.wait) for n in range(WRITERS)))
    done = asyncio.Event()

    async def work(step: Callable[..., object]) -> int:
        steps = 0
        while not done.is_set():
            async with transaction(engine) as connection:
                await step(connection)  # type: ignore[misc]
            steps += 1
            await asyncio.sleep(0.01)
        return steps

    workers = [asyncio.create_task(work(recalculate_changed)) for _ in range(2)]
    requests = asyncio.create_task(work(lambda connection: recalculate_many(connection, ["c3", "c1", "c2"])))
    try:
        await asyncio.gather(*writing)
    finally:
        done.set()
        steps = await asyncio.gather(*workers, requests)
    assert all(steps)
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert sql.execute(deadlocks.encode()).fetchone() == (0,)
    await settle(settings)
    await same_as_a_rebuild(engine, sql)


async def same_as_a_rebuild(engine: AsyncEngine, sql: Sql) -> None:
    async with transaction(engine) as connection:
        everything = list(await connection.scalars(text("SELECT id FROM class")))
        assert await recalculate_many(connection, everything) == []
    assert sql.execute("SELECT count(*), min(version) > 0 FROM class_performance").fetchone() == (len(everything), True)
    assert sql.execute("SELECT count(*) FROM class_change").fetchone() == (0,)


async def test_nothing_is_lost_between_writers_settings_and_workers_at_any_pace(
    sql: Sql, database_url: str, engine: AsyncEngine, settings: Settings
) -> None:
    """Commits come out of order, and policies, a class's settings and scopes come in between."""
    prepare(sql)
    chance = random.Random(1)

    def change_settings() -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            for n in range(20):
                connection.execute("UPDATE school SET pass_mark = %s WHERE id = 'north'", [n])
                connection.execute("UPDATE class SET weighted = NOT weighted WHERE id = 'c1'")
                connection.execute("INSERT INTO class_change DEFAULT VALUES")

    def dawdle() -> None:
        time.sleep(chance.random() / 50)

    writing = start(change_settings, *(partial(writer, database_url, n + 1, dawdle) for n in range(6)))
    done = asyncio.Event()

    async def work() -> None:
        while not done.is_set():
            async with transaction(engine) as connection:
                await changes.open_scopes(connection)
            async with transaction(engine) as connection:
                await recalculate_changed(connection, 3)

    workers = [asyncio.create_task(work()) for _ in range(3)]
    try:
        await asyncio.gather(*writing)
    finally:
        done.set()
        await asyncio.gather(*workers)
    await settle(settings)
    await same_as_a_rebuild(engine, sql)
