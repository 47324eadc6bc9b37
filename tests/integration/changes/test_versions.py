"""A record has another version whenever a reader could tell it apart, whoever wrote it, and that is told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database import transaction
from app.errors import Rejected
from app.performance import recalculate_many
from app.reports import Report, Reports, VersionConflict
from app.settings import Settings
from app.tables import ClassPerformance
from tests.integration.changes.conftest import EVERY_CLASS, Sql, classes, taken
from tests.serving import settle

RECORD = b"SELECT version, last_updated, updated_at FROM class_performance WHERE class_id = 'a'"
OTHERS = {"id", "class_id", "version", "next_change_at"}
VALUES = {
    "pinned_metrics": "ARRAY['late_count']",
    "explanation": """'{"students": 9}'""",
    "custom": """'{"room": 1}'""",
    "last_updated": "'2030-01-01Z'",
    "created_at": "'2019-01-01Z'",
    "updated_at": "'2030-01-01Z'",
}


@pytest.fixture
async def calculated(sql: Sql, settings: Settings) -> Sql:
    """Every class has its first record, at version 1, and all of that is told."""
    sql.execute("UPDATE school SET pass_mark = pass_mark + 1")
    await settle(settings)
    taken(sql, "performance_change")
    return sql


def record(sql: Sql) -> tuple[Any, ...]:
    found = sql.execute(RECORD).fetchone()
    assert found
    return found


async def test_every_version_is_told(sql: Sql, engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        await recalculate_many(connection, ["a", "b"])
    assert set(taken(sql, "performance_change")) == {("a",), ("b",)}
    sql.execute("UPDATE attendance SET status = 'LATE' WHERE class_id = 'a'")
    async with transaction(engine) as connection:
        await recalculate_many(connection, ["a", "b"])
    assert taken(sql, "performance_change") == [("a",)]


@pytest.mark.parametrize("column", sorted(ClassPerformance.model_fields.keys() - OTHERS))
def test_a_plain_update_of_anything_that_is_seen_gets_a_version(calculated: Sql, column: str) -> None:
    _, before, _ = record(calculated)
    calculated.execute(
        f"UPDATE class_performance SET {column} = {VALUES.get(column, '77')} WHERE class_id = 'a'".encode()
    )
    version, last_updated, updated_at = record(calculated)
    assert version == 2
    assert last_updated > before or "2030" in VALUES.get(column, "")
    assert updated_at > before or "2030" in VALUES.get(column, "")
    assert taken(calculated, "performance_change") == [("a",)]


@pytest.mark.parametrize("assignment", ["next_change_at = '2030-01-01Z'", "next_change_at = NULL", "version = version"])
def test_what_no_reader_sees_gets_no_version_and_is_not_told(calculated: Sql, assignment: str) -> None:
    before = record(calculated)
    calculated.execute(f"UPDATE class_performance SET {assignment}".encode())
    assert record(calculated) == before
    assert taken(calculated, "performance_change") == []


def test_an_update_that_changes_nothing_gets_no_version(calculated: Sql) -> None:
    calculated.execute("UPDATE class_performance SET average_grade = average_grade, explanation = explanation")
    assert record(calculated)[0] == 1
    assert taken(calculated, "performance_change") == []


@pytest.mark.parametrize("assignment", ["version = 0", "version = 0, average_grade = 5"])
def test_a_version_cannot_fall(calculated: Sql, assignment: str) -> None:
    calculated.execute(f"UPDATE class_performance SET {assignment}".encode())
    assert record(calculated)[0] == 2
    assert taken(calculated, "performance_change") == [("a",), ("b",), ("c",)]


def test_whoever_raises_the_version_is_believed(calculated: Sql) -> None:
    calculated.execute("UPDATE class_performance SET version = 9, average_grade = 5 WHERE class_id = 'a'")
    assert record(calculated)[0] == 9
    assert taken(calculated, "performance_change") == [("a",)]


def test_a_record_stays_with_its_class(calculated: Sql) -> None:
    calculated.execute("INSERT INTO class (id, school_id, title) VALUES ('d', 'south', 'D')")
    with pytest.raises(psycopg.errors.RestrictViolation, match="the record of class a stays with it"):
        calculated.execute("UPDATE class_performance SET class_id = 'd' WHERE class_id = 'a'")


@pytest.mark.parametrize("with_history", [True, False])
@pytest.mark.parametrize("statement", ["DELETE FROM class_performance", "TRUNCATE class_performance"])
async def test_a_record_that_is_made_anew_goes_on_from_its_last_version(
    calculated: Sql, settings: Settings, statement: str, with_history: bool
) -> None:
    """A copy of the old one would never give way to a lower version."""
    calculated.execute("UPDATE class_performance SET version = 5")
    taken(calculated, "performance_change")
    calculated.execute(statement.encode())
    if not with_history:
        calculated.execute("TRUNCATE class_performance_history")
    assert taken(calculated, "performance_change") == [("a",), ("b",), ("c",)]
    await settle(settings)
    assert record(calculated)[0] > 5
    versions = calculated.execute("SELECT class_id, max(version) FROM class_performance_history GROUP BY 1").fetchall()
    assert {version for _, version in versions} == {record(calculated)[0]}
    assert {class_id for (class_id,) in taken(calculated, "performance_change")} == {"a", "b", "c"}


def test_whoever_makes_a_record_waits_for_whoever_deletes_it_and_goes_on_from_there(
    calculated: Sql, database_url: str
) -> None:
    calculated.execute("UPDATE class_performance SET version = 6 WHERE class_id = 'a'")
    insert = "INSERT INTO class_performance (class_id, version) VALUES ('a', 1) RETURNING version"
    waits = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database())"
    )
    with psycopg.connect(database_url) as deleter, ThreadPoolExecutor(1) as elsewhere:
        deleter.execute("DELETE FROM class_performance WHERE class_id = 'a'")
        inserting = elsewhere.submit(lambda: calculated.execute(insert).fetchone())
        with psycopg.connect(database_url, autocommit=True) as watcher:
            while not watcher.execute(waits).fetchone()[0]:  # type: ignore[index]
                assert not inserting.done()
        deleter.commit()
        assert inserting.result(10) == (7,)


async def test_also_when_everything_was_emptied_and_loaded_anew(calculated: Sql, settings: Settings) -> None:
    calculated.execute("UPDATE class_performance SET version = 5")
    calculated.execute("TRUNCATE school CASCADE")
    assert set(taken(calculated)) == set(EVERY_CLASS)
    calculated.execute("INSERT INTO school (id, title, time_zone) VALUES ('north', 'North', 'UTC')")
    calculated.execute("INSERT INTO class (id, school_id, title) VALUES ('a', 'north', 'A')")
    await settle(settings)
    assert record(calculated)[0] > 5


def test_a_deleted_record_is_to_be_made_again(calculated: Sql) -> None:
    calculated.execute("DELETE FROM class_performance WHERE class_id = 'b'")
    assert taken(calculated) == classes("b")
    calculated.execute("TRUNCATE class_performance")
    assert taken(calculated) == EVERY_CLASS


async def test_an_unpinning_takes_one_version(calculated: Sql, reports: Reports) -> None:
    await reports.update("boss", Report("a", {"average_grade": 50}))
    unpinned = await reports.unpin("boss", Report("a", {"average_grade": None}))
    assert (unpinned.version, unpinned.pinned_metrics) == (3, [])
    history = calculated.execute(
        "SELECT version, cause, fields, pinned_metrics FROM class_performance_history WHERE class_id = 'a' ORDER BY 1"
    ).fetchall()
    assert history == [
        (1, "calculated", [], []),
        (2, "reported", ["average_grade"], ["average_grade"]),
        (3, "unpinned", ["average_grade"], []),
    ]


async def test_a_version_that_nobody_reported_conflicts_with_whatever_is_reported(
    calculated: Sql, reports: Reports
) -> None:
    """What was written past the history could have been anything."""
    calculated.execute("UPDATE class_performance SET average_grade = 5 WHERE class_id = 'a'")
    with pytest.raises(VersionConflict):
        await reports.update("boss", Report("a", {"lowest_grade": 1}, expected_version=1))
    with pytest.raises(Rejected):
        await reports.update("boss", Report("a", {"lowest_grade": 1}, expected_version=3))
    assert (await reports.update("boss", Report("a", {"lowest_grade": 1}, expected_version=2))).version == 3
