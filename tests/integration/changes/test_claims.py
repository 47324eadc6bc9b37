"""Marks are taken by whoever calculates: never one too many, never waiting for anybody."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app import changes
from app.database import transaction
from app.performance import Drained, recalculate_changed, recalculate_claimed, recalculate_many
from app.settings import Settings
from tests.integration.changes.conftest import Sql, classes, taken
from tests.serving import settle, statements

HOLD = "SELECT FROM class_performance WHERE class_id = %s FOR UPDATE"


def mark(sql: Sql, *class_ids: str) -> None:
    for class_id in class_ids:
        sql.execute("INSERT INTO class_change (class_id) VALUES (%s)", [class_id])


def waiting(sql: Sql) -> set[str]:
    return {class_id for (class_id,) in sql.execute("SELECT class_id FROM class_change").fetchall()}


async def step(engine: AsyncEngine, most: int = 200) -> Drained:
    async with transaction(engine) as connection:
        return await recalculate_changed(connection, most)


@pytest.fixture
async def calculated(sql: Sql, settings: Settings) -> Sql:
    mark(sql, "a", "b", "c")
    await settle(settings)
    return sql


async def test_a_step_calculates_each_class_once_however_often_it_is_marked(sql: Sql, engine: AsyncEngine) -> None:
    mark(sql, *"abababab")
    drained = await step(engine)
    assert drained.class_ids == ["a", "b"]
    assert {record.class_id: record.version for record in drained.changed} == {"a": 1, "b": 1}
    assert waiting(sql) == set()
    assert (await step(engine)).class_ids == []


async def test_of_a_class_without_end_of_marks_one_step_takes_them_all(calculated: Sql, engine: AsyncEngine) -> None:
    calculated.execute("INSERT INTO class_change (class_id) SELECT 'a' FROM generate_series(1, 5000)")
    mark(calculated, "b")
    calculated.execute("INSERT INTO class_change (class_id) SELECT 'a' FROM generate_series(1, 5000)")
    assert (await step(engine)).class_ids == ["a"]
    assert (await step(engine)).class_ids == ["b"]
    assert waiting(calculated) == set()


async def test_nothing_to_do_is_found_by_one_statement(sql: Sql, engine: AsyncEngine) -> None:
    with statements() as seen:
        await step(engine)
    assert len(seen) == 1


async def test_a_step_is_a_handful_of_statements_however_many_classes(calculated: Sql, engine: AsyncEngine) -> None:
    mark(calculated, "a", "b", "c")
    with statements() as seen:
        await step(engine)
    assert len(seen) == 6


async def test_the_oldest_and_the_newest_come_first(calculated: Sql, engine: AsyncEngine) -> None:
    mark(calculated, "b", "a", "a", "c")
    assert (await step(engine, 2)).class_ids == ["b", "c"]
    assert (await step(engine, 2)).class_ids == ["a"]


async def test_an_earlier_mark_that_commits_later_is_still_taken(
    sql: Sql, database_url: str, engine: AsyncEngine
) -> None:
    with psycopg.connect(database_url) as slow:
        slow.execute("UPDATE attendance SET status = 'ABSENT' WHERE class_id = 'a'")
        sql.execute("UPDATE attendance SET status = 'ABSENT' WHERE class_id = 'b'")
        assert (await step(engine)).class_ids == ["b"]
        assert (await step(engine)).class_ids == []
    drained = await step(engine)
    assert [(record.class_id, record.absent_count) for record in drained.changed] == [("a", 1)]


async def test_a_mark_made_between_claim_and_calculation_stays(sql: Sql, engine: AsyncEngine) -> None:
    """Its fact may be seen already or not: that is for the next step to find out."""
    mark(sql, "a")
    async with transaction(engine) as connection:
        claim = await changes.claim(connection, 10)
        sql.execute("UPDATE attendance SET status = 'ABSENT' WHERE class_id = 'a'")
        await recalculate_claimed(connection, claim)
    assert waiting(sql) == {"a"}
    assert (await step(engine)).class_ids == ["a"]


@pytest.mark.parametrize("unmarked", [True, False])
async def test_who_waits_for_a_record_takes_the_marks_made_meanwhile(
    calculated: Sql, engine: AsyncEngine, unmarked: bool
) -> None:
    """A calculation for a request, or an import, takes with it the changes it covers, its own included."""
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE attendance SET status = 'ABSENT' WHERE class_id = 'a'"))
        if not unmarked:
            mark(calculated, "a")
        mark(calculated, "b")
        (record,) = await recalculate_many(connection, ["a"])
        assert record.absent_count == 1
    assert waiting(calculated) == {"b"}


async def test_what_is_rolled_back_is_given_back(sql: Sql, engine: AsyncEngine) -> None:
    mark(sql, "a", "b")
    async with engine.connect() as connection:
        assert (await recalculate_changed(connection)).class_ids == ["a", "b"]
        await connection.rollback()
    assert waiting(sql) == {"a", "b"}
    assert sql.execute("SELECT count(*) FROM class_performance").fetchone() == (0,)


async def test_a_record_that_somebody_holds_does_not_hold_up_the_others(
    calculated: Sql, database_url: str, engine: AsyncEngine
) -> None:
    mark(calculated, "b", "a", "c")
    with psycopg.connect(database_url) as holder:
        holder.execute(HOLD, ["b"])
        assert (await step(engine)).class_ids == ["a", "c"]
        assert waiting(calculated) == {"b"}
        assert (await step(engine)).class_ids == []
    assert (await step(engine)).class_ids == ["b"]


async def test_nor_do_a_thousand_marks_of_records_that_are_held(
    calculated: Sql, database_url: str, engine: AsyncEngine
) -> None:
    for class_ids in (["a", "b"] * 800, ["c"], ["a", "b"] * 800):
        calculated.execute("INSERT INTO class_change (class_id) SELECT unnest(%s::text[])", [class_ids])
    with psycopg.connect(database_url) as holder:
        holder.execute("SELECT FROM class_performance WHERE class_id IN ('a', 'b') FOR UPDATE")
        assert (await step(engine)).class_ids == ["c"]
    assert (await step(engine)).class_ids == ["a", "b"]


async def test_a_first_record_that_somebody_is_making_does_not_hold_up_the_others(
    sql: Sql, database_url: str, engine: AsyncEngine
) -> None:
    sql.execute("INSERT INTO class (id, school_id, title) SELECT 'd' || n, 'south', 'D' FROM generate_series(1, 20) n")
    mark(sql, "a", "b", "c")
    with psycopg.connect(database_url) as maker:
        maker.execute("INSERT INTO class_performance (class_id) VALUES ('b'), ('d7')")
        began = time.monotonic()
        done: set[str] = set()
        for _ in range(20):
            done |= set((await step(engine)).class_ids)
        assert waiting(sql) == {"b", "d7"}
        assert len(done) == 21
        assert time.monotonic() - began < 15
    assert (await step(engine)).class_ids == ["b", "d7"]


async def test_two_workers_share_the_work(calculated: Sql, engine: AsyncEngine) -> None:
    mark(calculated, "a", "b", "c")
    async with transaction(engine) as one, transaction(engine) as other:
        first = await changes.claim(one, 2)
        second = await changes.claim(other, 2)
        assert (first.class_ids, second.class_ids) == (["a", "c"], ["b"])
        assert (await changes.claim_of(other, ["a", "b", "c"])).class_ids == []


async def test_of_those_asked_for_the_marked_are_claimed(calculated: Sql, engine: AsyncEngine) -> None:
    mark(calculated, "a", "b")
    async with transaction(engine) as connection:
        assert await claimed(connection, ["b", "c", "nowhere"]) == ["b"]
    assert waiting(calculated) == {"a"}


async def claimed(connection: AsyncConnection, class_ids: Sequence[str]) -> list[str]:
    return (await recalculate_claimed(connection, await changes.claim_of(connection, class_ids))).class_ids


async def test_marks_of_classes_that_are_no_more_go(sql: Sql, engine: AsyncEngine) -> None:
    sql.execute("INSERT INTO class (id, school_id, title) VALUES ('d', 'south', 'D')")
    sql.execute("DELETE FROM class WHERE id = 'd'")
    mark(sql, "c")
    assert (await step(engine)).class_ids == ["c"]
    assert taken(sql) == []


async def test_but_not_of_one_that_is_made_again_at_that_moment(
    sql: Sql, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql.execute("INSERT INTO class (id, school_id, title) VALUES ('d', 'south', 'D')")
    sql.execute("DELETE FROM class WHERE id = 'd'")
    async with transaction(engine) as connection:
        marks = (await connection.execute(changes.LOOK, {"after": -1, "before": 10**9, "page": 9})).all()
        sql.execute("INSERT INTO class (id, school_id, title) VALUES ('d', 'south', 'D')")
        await changes._take_free(connection, marks, 10)
    assert set(taken(sql)) == set(classes("d"))


async def test_a_success_ends_a_failure(calculated: Sql, engine: AsyncEngine) -> None:
    failure = "INSERT INTO calculation_failure SELECT id, 3, 'x', now(), now(), now() FROM class"
    calculated.execute(failure.encode())
    mark(calculated, "a")
    await step(engine)
    async with transaction(engine) as connection:
        await recalculate_many(connection, ["b"])
        assert (await changes.backlog(connection)).failures == 1
    assert calculated.execute("SELECT class_id FROM calculation_failure").fetchall() == [("c",)]


async def test_the_backlog_tells_how_much_and_since_when(calculated: Sql, engine: AsyncEngine) -> None:
    calculated.execute("DELETE FROM performance_change")
    async with transaction(engine) as connection:
        assert await changes.backlog(connection) == changes.Backlog(0, None, 0, None, 0)
    calculated.execute("INSERT INTO class_change (class_id, at) VALUES ('a', '2026-01-02Z'), ('b', '2026-01-01Z')")
    calculated.execute("INSERT INTO performance_change (class_id, at) VALUES ('a', '2026-01-03Z')")
    async with transaction(engine) as connection:
        found = await changes.backlog(connection)
    assert (found.changes, str(found.oldest_change)[:10]) == (2, "2026-01-01")
    assert (found.records, str(found.oldest_record)[:10]) == (1, "2026-01-03")
