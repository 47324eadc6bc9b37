"""`staleSince`: the oldest change of a class that is not calculated yet."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.integration.changes.conftest import Sql
from tests.serving import Client, settle, statements

QUERY = '{ classPerformances(ids: ["a", "b", "c"]) { staleSince } }'
RECALCULATE = """mutation { recalculateMetrics(input: {classIds: ["a", "b"], wait: %s}) {
    ... on RecalculateMetricsSuccess { classPerformances { version staleSince } } } }"""


@pytest.fixture
async def calculated(sql: Sql, api: Client) -> Sql:
    sql.execute("UPDATE school SET pass_mark = pass_mark + 1")
    await settle(api.settings)
    return sql


async def stale(api: Client) -> list[str | None]:
    return [record["staleSince"] for record in (await api.ask(QUERY))["classPerformances"]]


async def test_there_is_none_when_everything_is_calculated(calculated: Sql, api: Client) -> None:
    assert await stale(api) == [None, None, None]


async def test_it_is_the_oldest_of_the_class_until_that_is_calculated(calculated: Sql, api: Client) -> None:
    for day in ("03", "02", "04"):
        calculated.execute(f"INSERT INTO class_change (class_id, at) VALUES ('a', '2026-01-{day}Z')".encode())
    assert await stale(api) == ["2026-01-02T00:00:00.000Z", None, None]
    await settle(api.settings)
    assert await stale(api) == [None, None, None]


@pytest.mark.parametrize(
    ("columns", "values", "expected"),
    [
        ("school_id, at", "'north', '2026-01-02Z'", [True, True, False]),
        ("at", "'2026-01-02Z'", [True, True, True]),
    ],
)
async def test_what_happened_to_a_school_or_to_all_counts_for_each_class(
    calculated: Sql, api: Client, columns: str, values: str, expected: list[bool]
) -> None:
    calculated.execute(f"INSERT INTO class_change ({columns}) VALUES ({values})".encode())
    assert [found == "2026-01-02T00:00:00.000Z" for found in await stale(api)] == expected
    await settle(api.settings)
    assert await stale(api) == [None, None, None]


async def test_a_calculation_that_failed_leaves_its_class_stale(calculated: Sql, api: Client) -> None:
    calculated.execute("INSERT INTO calculation_failure VALUES ('b', 2, 'x', '2026-01-02Z', now(), 'infinity')")
    assert await stale(api) == [None, "2026-01-02T00:00:00.000Z", None]


async def test_a_class_is_stale_when_its_time_has_come(calculated: Sql, api: Client) -> None:
    calculated.execute("UPDATE class_performance SET next_change_at = '2026-01-02Z' WHERE class_id = 'b'")
    calculated.execute("UPDATE class_performance SET next_change_at = '2199-01-02Z' WHERE class_id = 'a'")
    assert await stale(api) == [None, "2026-01-02T00:00:00.000Z", None]


async def test_what_is_not_committed_is_no_change_yet(calculated: Sql, api: Client, database_url: str) -> None:
    with psycopg.connect(database_url) as writer:
        writer.execute("DELETE FROM attendance WHERE class_id = 'a'")
        assert await stale(api) == [None, None, None]
    assert [found is not None for found in await stale(api)] == [True, False, False]


async def test_of_any_number_of_classes_it_is_one_statement(calculated: Sql, api: Client) -> None:
    await stale(api)
    with statements() as seen:
        await stale(api)
    assert len(seen) == 1


async def test_recalculation_may_be_waited_for(calculated: Sql, api: Client) -> None:
    calculated.execute("UPDATE attendance SET status = 'ABSENT'")
    (a, b) = (await api.ask(RECALCULATE % "true"))["recalculateMetrics"]["classPerformances"]
    assert a == b == {"version": 2, "staleSince": None}


async def test_or_not(calculated: Sql, api: Client) -> None:
    calculated.execute("UPDATE attendance SET status = 'ABSENT'")
    calculated.execute("DELETE FROM class_change")
    for found in (await api.ask(RECALCULATE % "false"))["recalculateMetrics"]["classPerformances"]:
        assert found["version"] == 1
        assert found["staleSince"] is not None
    await settle(api.settings)
    found = await api.ask('{ classPerformances(ids: ["a", "b"]) { version staleSince } }')
    assert found["classPerformances"] == [{"version": 2, "staleSince": None}] * 2


async def test_a_mutation_marks_what_it_stores(calculated: Sql, api: Client, engine: AsyncEngine) -> None:
    query = """mutation { recordAttendance(input: {items: [{classId: "b", studentId: "ada", sessionDate: "2026-03-09",
        status: LATE}]}) { ... on RecordFactsSuccess { classPerformances { version staleSince } } } }"""
    (found,) = (await api.ask(query))["recordAttendance"]["classPerformances"]
    assert found["staleSince"] is not None
