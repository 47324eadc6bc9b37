"""Records: read once for all who ask, calculated with versions that mean something."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.cache import Cache
from app.database import transaction
from app.metrics import METRIC_NAMES
from app.performance import Performance, recalculate_many
from app.records import Record
from app.settings import Settings
from app.tables import ClassPerformance, MetricColumns

pytestmark = pytest.mark.usefixtures("school")

HISTORY = text("SELECT version, cause, actor FROM class_performance_history WHERE class_id = :id ORDER BY version")


@pytest.fixture
def statements(engine: AsyncEngine) -> Iterator[list[str]]:
    """Every statement that the engine sends."""
    sent: list[str] = []

    def remember(connection: object, cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(engine.sync_engine, "before_cursor_execute", remember)
    yield sent
    event.remove(engine.sync_engine, "before_cursor_execute", remember)


async def execute(engine: AsyncEngine, statement: str) -> None:
    async with transaction(engine) as connection:
        await connection.execute(text(statement))


async def recalculate(engine: AsyncEngine, *class_ids: str) -> list[Record]:
    async with transaction(engine) as connection:
        return await recalculate_many(connection, class_ids)


def test_the_catalogue_names_the_columns_in_their_order() -> None:
    assert tuple(MetricColumns.model_fields) == METRIC_NAMES
    assert set(METRIC_NAMES) < set(ClassPerformance.model_fields)


async def test_records_come_in_the_order_asked_with_none_for_unknown_ids(performance: Performance) -> None:
    records = await performance.get_many(["biology", "nowhere", "algebra", "biology"])
    assert [record and record.class_id for record in records] == ["biology", None, "algebra", "biology"]
    assert records[2] is not None
    assert (records[2].average_grade, records[2].present_count, records[2].version) == (80.0, 1, 1)


async def test_all_misses_are_one_select_and_a_warm_read_is_none(
    performance: Performance, statements: list[str], redis: Redis
) -> None:
    await performance.get_many(["algebra", "biology", "nowhere"])
    assert len(statements) == 1
    before = (await redis.info("commandstats"))["cmdstat_mget"]["calls"]
    await performance.get_many(["nowhere", "biology", "algebra"])
    assert len(statements) == 1
    assert (await redis.info("commandstats"))["cmdstat_mget"]["calls"] == before + 1


async def test_a_hundred_concurrent_misses_make_one_select(performance: Performance, statements: list[str]) -> None:
    answers = await asyncio.gather(*(performance.get_many(["algebra"]) for _ in range(100)))
    assert len(statements) == 1
    assert {answer[0].version for answer in answers if answer[0]} == {1}


async def test_one_who_gives_up_does_not_end_the_read_for_the_others(
    engine: AsyncEngine, performance: Performance
) -> None:
    async with transaction(engine) as blocker:
        await blocker.execute(text("LOCK TABLE class_performance IN ACCESS EXCLUSIVE MODE"))
        impatient = asyncio.create_task(performance.get_many(["algebra"]))
        await asyncio.sleep(0.2)
        patient = asyncio.create_task(performance.get_many(["algebra"]))
        await asyncio.sleep(0.2)
        impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    (record,) = await patient
    assert record is not None
    assert record.version == 1


async def test_a_reader_who_read_before_a_write_never_overwrites_what_was_written_after(
    engine: AsyncEngine, cache: Cache, performance: Performance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader is held between its SELECT and its put."""
    has_read, may_put = asyncio.Event(), asyncio.Event()
    fill_many = cache.fill_many

    async def held_fill(*what: Any) -> None:
        has_read.set()
        await may_put.wait()
        await fill_many(*what)

    slow = Performance(engine, cache)
    monkeypatch.setattr(cache, "fill_many", held_fill)
    reader = asyncio.create_task(slow.get_many(["algebra"]))
    await has_read.wait()
    monkeypatch.setattr(cache, "fill_many", fill_many)

    await execute(engine, "UPDATE submission SET score = 9")
    await performance.publish(await recalculate(engine, "algebra"))
    may_put.set()
    await reader

    (record,) = await performance.get_many(["algebra"])
    assert record is not None
    assert (record.version, record.average_grade) == (2, 90.0)


async def test_who_asks_after_a_write_does_not_join_a_read_from_before_it(
    engine: AsyncEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Redis, where nothing else would tell the two apart."""
    cache = Cache(settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")}))
    performance = Performance(engine, cache)
    has_read, may_land = asyncio.Event(), asyncio.Event()

    async def held_fill(*_: Any) -> None:
        if not has_read.is_set():
            has_read.set()
            await may_land.wait()

    monkeypatch.setattr(cache, "fill_many", held_fill)
    early = asyncio.create_task(performance.get_many(["algebra"]))
    await has_read.wait()
    await execute(engine, "UPDATE submission SET score = 9")
    await performance.publish(await recalculate(engine, "algebra"))
    late = asyncio.create_task(performance.get_many(["algebra"]))
    (record,) = await late
    assert record is not None
    assert record.version == 2
    may_land.set()
    await early
    await cache.close()


async def test_nothing_is_written_when_nothing_differs(engine: AsyncEngine) -> None:
    assert await recalculate(engine, "algebra", "biology") == []
    async with engine.connect() as connection:
        rows = (await connection.execute(HISTORY, {"id": "algebra"})).all()
    assert [tuple(row) for row in rows] == [(1, "calculated", None)]


async def test_only_what_differs_gets_a_version(engine: AsyncEngine) -> None:
    await execute(engine, "UPDATE submission SET score = 7.5")
    (changed,) = await recalculate(engine, "algebra", "biology")
    assert (changed.class_id, changed.version, changed.average_grade) == ("algebra", 2, 75.0)
    assert changed.explanation["averageGrade"] == {"numerator": 75.0, "denominator": 1}


async def test_a_fact_that_changes_only_an_explanation_raises_the_version(engine: AsyncEngine) -> None:
    await execute(engine, "UPDATE school SET feedback_hours = 100")
    changed = await recalculate(engine, "algebra", "biology")
    assert {record.class_id: record.version for record in changed} == {"algebra": 2, "biology": 2}


async def test_a_new_time_of_change_alone_raises_no_version(engine: AsyncEngine) -> None:
    await execute(engine, "UPDATE activity SET due_at = '2100-01-01Z'")
    assert await recalculate(engine, "algebra") == []
    async with engine.connect() as connection:
        row = (
            await connection.execute(text("SELECT next_change_at, version FROM class_performance ORDER BY 1"))
        ).first()
    assert row is not None
    assert (row.next_change_at.isoformat(), row.version) == ("2100-01-01T00:00:00+00:00", 1)


async def test_writers_who_recalculate_the_same_classes_see_each_others_facts(engine: AsyncEngine) -> None:
    """Twenty record attendance at once and recalculate: whoever is last has counted all."""

    async def attend(day: int) -> None:
        async with transaction(engine) as connection:
            await connection.execute(
                text(
                    "INSERT INTO attendance (class_id, student_id, session_date, status) "
                    "VALUES ('algebra', 'ben', DATE '2026-02-01' + CAST(:day AS int), 'ABSENT')"
                ),
                {"day": day},
            )
            await recalculate_many(connection, ["biology", "algebra"] if day % 2 else ["algebra", "biology"])

    await asyncio.gather(*(attend(day) for day in range(20)))
    async with engine.connect() as connection:
        row = (await connection.execute(text("SELECT * FROM class_performance WHERE class_id = 'algebra'"))).one()
    assert (row.absent_count, row.version, row.attendance_rate) == (20, 21, 4.76)


async def test_many_who_make_the_first_record_of_a_class_make_one(engine: AsyncEngine) -> None:
    await execute(engine, "INSERT INTO class (id, school_id, title) VALUES ('chemistry', 'north', 'Chemistry')")
    changed = await asyncio.gather(*(recalculate(engine, "chemistry") for _ in range(10)))
    assert [record.version for records in changed for record in records] == [1]


async def test_more_classes_than_one_statement_takes_are_all_calculated(engine: AsyncEngine) -> None:
    await execute(
        engine,
        "INSERT INTO class (id, school_id, title) "
        "SELECT 'class-' || n, 'north', 'One of many' FROM generate_series(1, 450) AS n",
    )
    ids = [f"class-{number}" for number in range(1, 451)]
    changed = await recalculate(engine, *ids)
    assert sorted(record.class_id for record in changed) == sorted(ids)
    assert {record.version for record in changed} == {1}
