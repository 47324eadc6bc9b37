"""What is done twenty times a second is found by an index, however many classes there are."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app import changes
from app.database import transaction
from tests.integration.changes.conftest import Sql

MANY = 100_000
DUE = """SELECT class_id FROM class_performance WHERE next_change_at <= statement_timestamp()
    ORDER BY next_change_at LIMIT 1000 FOR NO KEY UPDATE SKIP LOCKED"""
MAKE = f"INSERT INTO class (id, school_id, title) SELECT 'm' || n, 'north', '' FROM generate_series(1, {MANY}) n"


@pytest.fixture
def many(sql: Sql) -> Sql:
    """A record for each of many classes, one in a thousand with a change of its own to come, and a mark for each."""
    sql.execute("SET session_replication_role = replica")
    sql.execute(MAKE.encode())
    sql.execute(
        "INSERT INTO class_performance (class_id, version, next_change_at) "
        "SELECT id, 1, '2199-01-01Z'::timestamptz - random() * interval '100 years' FROM class"
    )
    sql.execute("UPDATE class_performance SET next_change_at = '2026-01-01Z' WHERE class_id LIKE 'm%777'")
    sql.execute("INSERT INTO class_change (class_id) SELECT id FROM class")
    sql.execute("SET session_replication_role = origin")
    sql.execute("VACUUM ANALYZE")
    return sql


def scanned(plan: dict[str, Any]) -> list[tuple[str, str]]:
    """How each table is read."""
    own = [(plan["Relation Name"], plan["Node Type"])] if "Relation Name" in plan else []
    return own + [found for part in plan.get("Plans", ()) for found in scanned(part)]


async def explained(engine: AsyncEngine, statement: str, **values: Any) -> tuple[list[tuple[str, str]], int]:
    """How each table is read, and how many pages in all."""
    async with transaction(engine) as connection:
        query = text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) {statement}")
        ((found,),) = (await connection.execute(query, values)).all()
        await connection.rollback()
    plan = found[0]["Plan"]
    return scanned(plan), plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


async def test_the_statements_of_a_worker_are_answered_by_indexes(many: Sql, engine: AsyncEngine) -> None:
    """All in one test: to make so many classes takes longer than to ask."""
    due, pages = await explained(engine, DUE)
    assert "Seq Scan" not in {kind for _, kind in due}
    assert pages < 300  # about 100 are due

    ends = {"after": -1, "before": 2**63 - 1, "page": changes.PAGE}
    look, pages = await explained(engine, str(changes.LOOK), **ends)
    assert "Seq Scan" not in {kind for _, kind in look}
    assert pages < 20 * changes.PAGE

    ids = [f"m{n}" for n in range(200)]
    for statement, values in (
        (changes.LOCK_FREE, {"ids": ids, "most": 50}),
        (changes.TAKE, {"ids": ids[:50]}),
        (changes.INSERT_MISSING, {"ids": ids}),
        (changes.STALE_SINCE, {"ids": ids}),
    ):
        found, pages = await explained(engine, str(statement), **values)
        large = {table: kind for table, kind in found if table in ("class_change", "class_performance", "class")}
        assert "Seq Scan" not in large.values(), (str(statement), found)
        assert pages < 5_000


async def test_a_scope_is_found_among_many_marks_by_an_index(many: Sql, engine: AsyncEngine) -> None:
    many.execute("INSERT INTO class_change (school_id) VALUES ('south')")
    found, pages = await explained(engine, "SELECT FROM class_change WHERE class_id IS NULL FOR UPDATE SKIP LOCKED")
    assert found == [("class_change", "Index Scan")]
    assert pages < 20
