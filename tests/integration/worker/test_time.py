"""What time alone changes is calculated again, once; what is due is done once; what is old goes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app import retention
from app.database import transaction
from app.schedule import OVERDUE, Schedule
from app.settings import Settings
from tests.working import CALCULATED, ask, ask_all, idle, measured, tell, until, workers

pytestmark = pytest.mark.usefixtures("redis", "school")

VERSION = "SELECT version FROM class_performance WHERE class_id = 'algebra'"
DUE = "UPDATE job SET due_at = now() - interval '3 days' WHERE name = '{job}'"
JOBS_DONE = "classperf_jobs_done_total"


async def test_a_class_is_calculated_when_its_time_has_come_and_not_again(
    settings: Settings, engine: AsyncEngine
) -> None:
    """Essay is due in a second: from then on Ben, who handed in nothing, owes it."""
    completion = "SELECT completion_rate FROM class_performance WHERE class_id = 'algebra'"
    async with workers(settings, 2):
        await idle(engine)
        await tell(engine, "UPDATE activity SET due_at = clock_timestamp() + interval '1.5 seconds'")
        await until(lambda: ask(engine, "SELECT next_change_at FROM class_performance WHERE class_id = 'algebra'"))
        assert await ask(engine, completion) != 50
        version = await ask(engine, VERSION)
        await until(lambda: ask(engine, f"SELECT ({completion}) = 50"))
        assert await ask(engine, VERSION) == version + 1
        calculated = measured(CALCULATED)
        await asyncio.sleep(2.5)
        assert measured(CALCULATED) == calculated


async def test_classes_overdue_in_any_number_are_marked_once(settings: Settings, engine: AsyncEngine) -> None:
    count = OVERDUE + 500
    await tell(
        engine,
        f"INSERT INTO class (id, school_id, title) SELECT 'c' || n, 'north', 'C' FROM generate_series(1, {count}) AS n",
        "INSERT INTO class_performance (class_id, next_change_at, version) SELECT id, now() - '1 day'::interval, 1 "
        "FROM class WHERE id LIKE 'c%'",
        "DELETE FROM class_change",
    )
    calculated, marked = measured(CALCULATED), measured("classperf_classes_marked_total")
    async with workers(settings, 3):
        await idle(engine)
    assert measured("classperf_classes_marked_total") - marked == count
    assert measured(CALCULATED) - calculated == count
    assert await ask(engine, "SELECT count(next_change_at) FROM class_performance WHERE class_id LIKE 'c%'") == 0


async def test_the_nightly_job_is_done_once_by_many_workers(settings: Settings, engine: AsyncEngine) -> None:
    await tell(engine, "UPDATE class SET status = 'ARCHIVED' WHERE id = 'biology'")
    done = measured(JOBS_DONE, job="nightly")
    async with workers(settings, 3):
        await idle(engine)
        calculated = measured(CALCULATED)
        await tell(engine, DUE.format(job="nightly"))
        await until(lambda: ask(engine, "SELECT ran_at FROM job WHERE name = 'nightly'"))
        await idle(engine)
        await asyncio.sleep(1.2)
    assert measured(JOBS_DONE, job="nightly") - done == 1
    assert measured(CALCULATED) - calculated == 1  # algebra: biology is archived
    due = await ask(engine, "SELECT due_at FROM job WHERE name = 'nightly'")
    assert due > datetime.now(UTC)
    assert (due.hour, due.minute) == (3, 0)


async def test_another_expression_or_time_zone_is_another_due_time(settings: Settings, engine: AsyncEngine) -> None:
    async def plan(**changes: str) -> tuple[str, datetime] | None:
        async with workers(settings.model_copy(update=changes)):
            await until(lambda: ask(engine, "SELECT 1 FROM job WHERE name = 'retention'"))
            await asyncio.sleep(0.2)
        found = await ask_all(engine, "SELECT cron, due_at FROM job WHERE name = 'nightly'")
        return found[0] if found else None

    first = await plan()
    assert first == await plan()
    await tell(engine, "UPDATE job SET due_at = '2100-01-01' WHERE name = 'nightly'")
    assert await plan() == ("0 3 * * * UTC", datetime(2100, 1, 1, tzinfo=UTC))
    later = await plan(nightly_cron="15 4 * * *")
    assert later is not None
    assert (later[1].hour, later[1].minute) == (4, 15)
    far = await plan(nightly_cron="15 4 * * *", schedule_time_zone="Asia/Kathmandu")
    assert far is not None
    assert (far[1].hour, far[1].minute) == (22, 30)
    assert await plan(nightly_cron=" ") is None


async def test_a_job_cut_short_is_still_due_and_keeps_no_other_from_being_done(
    settings: Settings, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: retention.Retention, connection: AsyncConnection) -> bool:
        await connection.execute(text("DELETE FROM idempotency_key"))
        raise RuntimeError

    monkeypatch.setattr(retention.Retention, "remove", fail)
    await tell(engine, "INSERT INTO idempotency_key (viewer, mutation, key, input_hash) VALUES ('a', 'b', 'c', '')")
    schedule = Schedule(settings, engine)
    await schedule.look()
    await tell(engine, DUE.format(job="retention"), "UPDATE job SET due_at = now() WHERE name = 'nightly'")
    with pytest.raises(RuntimeError):
        await schedule.run((await schedule.look()).jobs)
    assert await ask_all(engine, "SELECT name FROM job WHERE due_at < now() OR ran_at IS NULL") == [("retention",)]
    assert await ask(engine, "SELECT count(*) FROM idempotency_key") == 1
    await schedule.close()


async def test_what_is_old_goes_in_slices(
    settings: Settings, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SLICE", 10)
    await tell(
        engine,
        "INSERT INTO class_performance_history (class_id, version, cause, at) SELECT class_id, 100 - n, 'calculated', "
        "now() - n * interval '10 days' FROM generate_series(1, 60) AS n, unnest('{algebra,biology}'::text[]) class_id",
        "INSERT INTO idempotency_key (viewer, mutation, key, input_hash, created_at) "
        "SELECT 'a', 'b', n, '', now() - n * interval '1 day' FROM generate_series(1, 50) AS n",
        "INSERT INTO calculation_failure VALUES ('gone', 1, 'E', now(), now(), now() + interval '1 hour'), "
        "('algebra', 1, 'E', now() - interval '9 years', now(), now() + interval '1 hour')",
    )
    schedule = Schedule(settings, engine)
    due = await schedule.look()
    slices = 0
    while due.jobs or not slices:
        await tell(engine, "UPDATE job SET due_at = now() WHERE name = 'retention' AND ran_at IS NULL")
        due = await schedule.look()
        slices += await schedule.run(due.jobs)
    await schedule.close()
    assert slices == 4  # of 40 old versions, ten at a time; the last was full, so one more found nothing
    kept = "SELECT class_id, count(*), min(at) > now() - interval '400 days' FROM class_performance_history GROUP BY 1"
    assert sorted(await ask_all(engine, kept)) == [("algebra", 40, True), ("biology", 40, True)]
    assert await ask(engine, "SELECT count(*) FROM idempotency_key") == 29
    assert await ask_all(engine, "SELECT class_id FROM calculation_failure") == [("algebra",)]


async def test_the_newest_of_a_class_stays_however_old_it_is(settings: Settings, engine: AsyncEngine) -> None:
    await tell(
        engine,
        "INSERT INTO class_performance_history (class_id, version, cause, at) SELECT 'algebra', 10 + n, 'calculated', "
        "now() - interval '9 years' FROM generate_series(1, 3) AS n",
    )
    async with transaction(engine) as connection:
        assert await retention.Retention(settings).remove(connection)
    kept = "SELECT max(version), count(*) FROM class_performance_history WHERE class_id = 'algebra' AND version > 10"
    assert await ask_all(engine, kept) == [(13, 1)]


async def test_retention_reads_no_whole_table(engine: AsyncEngine) -> None:
    await tell(
        engine,
        "INSERT INTO class (id, school_id, title) SELECT 'c' || n, 'north', 'C' FROM generate_series(1, 200) AS n",
        "INSERT INTO class_performance_history (class_id, version, cause) "
        "SELECT id, n, 'calculated' FROM class, generate_series(10, 110) AS n",
        "ANALYZE class_performance_history, class",
    )
    async with transaction(engine) as connection:
        await connection.execute(text("SET LOCAL enable_seqscan = on"))
        statement = retention.STATEMENTS["class_performance_history"]
        plan = await connection.execute(
            text(f"EXPLAIN {statement.text}"), {"history_days": 400, "slice": retention.SLICE}
        )
        assert "Seq Scan on class_performance_history" not in "\n".join(plan.scalars())
