"""Facts become metrics with no one asking, once, whoever wrote them and however many workers there are."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app import database
from app.cache import Cache
from app.database import transaction
from app.errors import NotReady
from app.performance import Drained
from app.settings import Settings
from app.worker import BATCH, Worker
from tests.serving import statements
from tests.working import CALCULATED, ask, ask_all, idle, measured, tell, until, workers

pytestmark = pytest.mark.usefixtures("redis")

GRADE = "UPDATE submission SET score = {score} WHERE class_id = 'algebra'"
GRADE_OF_ALGEBRA = "SELECT average_grade FROM class_performance WHERE class_id = 'algebra'"
CLASSES = "INSERT INTO class (id, school_id, title) SELECT 'c' || n, 'north', 'C' FROM generate_series(1, {count}) AS n"
ABSENCES = """
    DO $$ BEGIN FOR n IN 1..{count} LOOP
        INSERT INTO attendance (class_id, student_id, session_date, session_key, status)
        VALUES ('algebra', 'ada', '2026-01-06', n, 'ABSENT');
    END LOOP; END $$
"""


async def test_facts_written_by_sql_become_metrics_with_no_one_asking(
    settings: Settings, engine: AsyncEngine, cache: Cache, school: None
) -> None:
    async with workers(settings):
        await tell(engine, GRADE.format(score=5))
        await idle(engine)
        assert await ask(engine, GRADE_OF_ALGEBRA) == 50
        found = (await cache.get_many(["algebra"]))["algebra"]
        assert found is not None
        assert found.average_grade == 50


async def test_a_thousand_changes_of_one_class_are_one_calculation(
    settings: Settings, engine: AsyncEngine, school: None
) -> None:
    async with workers(settings):
        await idle(engine)
    before = measured(CALCULATED)
    await tell(engine, ABSENCES.format(count=1000))
    assert await ask(engine, "SELECT count(*) FROM class_change") == 1000
    async with workers(settings):
        await idle(engine)
    assert measured(CALCULATED) - before == 1
    versions = "SELECT version, absent_count FROM class_performance_history WHERE class_id = 'algebra' ORDER BY version"
    assert (await ask_all(engine, versions))[1:] == [(2, 1000)]


async def test_workers_share_the_work_and_calculate_no_class_twice(
    settings: Settings, engine: AsyncEngine, school: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    did: Counter[int] = Counter()
    note = Worker._note

    def see(self: Worker, drained: Drained, seconds: float) -> None:
        did[id(self)] += len(drained.class_ids)
        note(self, drained, seconds)

    monkeypatch.setattr(Worker, "_note", see)
    await tell(engine, "DELETE FROM class_change", CLASSES.format(count=10 * BATCH))
    async with workers(settings, 2):
        await idle(engine)
    assert len(did) == 2
    assert sum(did.values()) == 10 * BATCH
    assert await ask(engine, "SELECT count(*) FROM class_performance_history WHERE class_id LIKE 'c%'") == 10 * BATCH


async def test_a_policy_by_sql_reaches_every_class_of_the_school(
    settings: Settings, engine: AsyncEngine, school: None
) -> None:
    async with workers(settings, 2):
        await tell(engine, CLASSES.format(count=20), "UPDATE school SET pass_mark = 90 WHERE id = 'north'")
        await idle(engine)
    told = "SELECT count(*) FROM class_performance WHERE (explanation #>> '{policy,passMark}')::numeric = 90"
    assert await ask(engine, told) == 22


async def test_a_record_that_somebody_holds_holds_up_no_other(
    settings: Settings, engine: AsyncEngine, school: None
) -> None:
    async with workers(settings, 2):
        await idle(engine)
        async with transaction(engine) as connection:
            await connection.execute(text("SELECT FROM class_performance WHERE class_id = 'algebra' FOR UPDATE"))
            await tell(engine, GRADE.format(score=5), CLASSES.format(count=5))
            await until(lambda: ask(engine, "SELECT count(*) = 5 FROM class_performance WHERE class_id LIKE 'c%'"))
            with statements() as seen:
                await asyncio.sleep(1)
            assert len([statement for statement in seen if "FOR NO KEY UPDATE OF p SKIP LOCKED" in statement]) < 60
            assert await ask(engine, GRADE_OF_ALGEBRA) == 80
        await idle(engine)
    assert await ask(engine, GRADE_OF_ALGEBRA) == 50
    assert await ask(engine, "SELECT count(*) FROM calculation_failure") == 0


async def test_who_vanishes_in_the_middle_of_a_transaction_does_not_keep_its_records(
    settings: Settings, engine: AsyncEngine, school: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that lost its power says nothing to the server, which would wait for hours."""
    monkeypatch.setattr(database, "IDLE_SECONDS", 1)
    lost = database.create_engine(settings)
    connection = await lost.connect()
    await connection.execute(text("SELECT FROM class_performance WHERE class_id = 'algebra' FOR UPDATE"))
    async with workers(settings):
        await tell(engine, GRADE.format(score=5))
        await idle(engine)
    assert await ask(engine, GRADE_OF_ALGEBRA) == 50
    with pytest.raises(NotReady):
        await connection.execute(text("SELECT 1"))
    await connection.close()
    await lost.dispose()


async def test_an_idle_worker_asks_little(settings: Settings, engine: AsyncEngine, school: None) -> None:
    async with workers(settings):
        await idle(engine)
        await asyncio.sleep(1)
        with statements() as seen:
            await asyncio.sleep(2)
    assert len(seen) < 2 * (20 + 20 + 1) + 5
    assert len(set(seen)) == 3


async def test_what_idle_workers_ask_is_found_by_indexes(engine: AsyncEngine, school: None) -> None:
    """With ten thousand records that have a next change, and none due."""
    await tell(
        engine,
        CLASSES.format(count=10_000),
        "INSERT INTO class_performance (class_id, next_change_at) SELECT id, now() + '1 day' FROM class "
        "ON CONFLICT DO NOTHING",
        "TRUNCATE class_change, performance_change",
    )
    from app import schedule, worker

    async with engine.connect() as connection:
        await connection.execute(text("ANALYZE"))
        for statement, parameters in (
            (schedule.LOOK, {"names": ["nightly"]}),
            (worker.LOOK, {}),
            (worker.LOOK_OUT, {}),
        ):
            explained = text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.text}")
            (plan,) = (await connection.execute(explained, parameters)).scalar_one()
            assert plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] < 50


async def test_a_loop_that_fails_stops_no_other_and_comes_back(
    settings: Settings, engine: AsyncEngine, school: None
) -> None:
    failed = measured("classperf_worker_loop_failures_total", loop="clock")
    async with workers(settings):
        await idle(engine)
        await tell(engine, "ALTER TABLE job RENAME TO mislaid")
        await until(lambda: _more("classperf_worker_loop_failures_total", failed + 1, loop="clock"))
        await tell(engine, GRADE.format(score=5))
        await until(lambda: ask(engine, f"SELECT ({GRADE_OF_ALGEBRA}) = 50"))
        await tell(engine, "ALTER TABLE mislaid RENAME TO job")
        await tell(engine, "UPDATE job SET due_at = now() WHERE name = 'nightly'")
        await until(lambda: ask(engine, "SELECT due_at > now() FROM job WHERE name = 'nightly'"))


async def test_a_worker_whose_connections_are_cut_goes_on(
    settings: Settings, engine: AsyncEngine, school: None
) -> None:
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> "
    async with workers(settings, 2):
        for score in range(10):
            await tell(engine, GRADE.format(score=score))
            await ask_all(engine, cut + "pg_backend_pid()")
            await asyncio.sleep(0.05)
        await idle(engine)
    assert await ask(engine, GRADE_OF_ALGEBRA) == 90
    assert await ask(engine, "SELECT count(*) FROM calculation_failure") == 0


async def test_a_worker_stops_at_once_when_there_is_nothing_to_do(settings: Settings, engine: AsyncEngine) -> None:
    async with workers(settings, 3):
        await idle(engine)
        begun = time.monotonic()
    assert time.monotonic() - begun < 2


async def _more(name: str, least: float, **labels: str) -> bool:
    return measured(name, **labels) >= least
