"""Settings of classes and policies of schools, whoever changes them and whatever else goes on meanwhile."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import IsolationLevel
from psycopg import sql as names
from sqlalchemy.ext.asyncio import AsyncEngine

from app import changes
from app.database import transaction
from app.performance import recalculate_changed
from app.settings import Settings
from tests.integration.changes.conftest import EVERY_CLASS, Sql, classes, taken
from tests.serving import settle

POLICY = ["pass_mark = 50", "time_zone = 'Asia/Kathmandu'", "feedback_hours = 1", "active_days = 1"]
POLICY += ["improvement_days = 1", "excused_counts = false"]


@pytest.mark.parametrize("assignment", ["weighted = true", "ends = '2026-05-01Z'", "status = 'ARCHIVED'"])
def test_a_setting_of_a_class_marks_it(sql: Sql, assignment: str) -> None:
    sql.execute(f"UPDATE class SET {assignment} WHERE id = 'a'".encode())
    assert taken(sql) == classes("a")


def test_a_class_is_marked_when_it_is_made_and_when_it_is_deleted(sql: Sql) -> None:
    sql.execute("INSERT INTO class (id, school_id, title) VALUES ('d', 'south', 'D'), ('e', 'south', 'E')")
    assert taken(sql) == classes("d", "e")
    sql.execute("DELETE FROM class WHERE id = 'd'")
    assert taken(sql) == classes("d")


def test_a_class_that_gets_another_id_is_marked_by_both(sql: Sql) -> None:
    sql.execute("INSERT INTO class (id, school_id, title) VALUES ('d', 'south', 'D')")
    taken(sql)
    sql.execute("UPDATE class SET id = 'e' WHERE id = 'd'")
    assert taken(sql) == classes("d", "e")


def test_a_change_of_status_is_told_to_whoever_holds_a_copy(sql: Sql) -> None:
    taken(sql, "performance_change")
    sql.execute("UPDATE class SET title = 'x'")
    assert taken(sql, "performance_change") == []
    sql.execute("UPDATE class SET status = 'ARCHIVED' WHERE id <> 'c'")
    assert taken(sql, "performance_change") == [("a",), ("b",)]


@pytest.mark.parametrize("assignment", POLICY)
def test_each_part_of_a_policy_marks_the_school_in_one_row(sql: Sql, assignment: str) -> None:
    sql.execute(f"UPDATE school SET {assignment} WHERE id = 'north'".encode())
    assert taken(sql) == [(None, "north")]


def test_what_is_no_part_of_the_policy_marks_nothing(sql: Sql) -> None:
    sql.execute("UPDATE school SET title = 'x', recorded_at = clock_timestamp(), pass_mark = pass_mark")
    sql.execute("INSERT INTO school (id, title, time_zone) VALUES ('west', 'West', 'UTC')")
    assert taken(sql) == []


@pytest.mark.parametrize("table", ["class", "school", "person"])
def test_a_truncate_of_what_all_refers_to_marks_every_class(sql: Sql, table: str) -> None:
    sql.execute(f"TRUNCATE {table} CASCADE".encode())
    assert set(taken(sql)) == set(EVERY_CLASS)


def test_a_role_that_may_only_write_facts_is_noticed_too(sql: Sql, database_url: str) -> None:
    role = names.Identifier(f"writer_{sql.info.dbname}")
    sql.execute(names.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(role))
    try:
        sql.execute(names.SQL("GRANT INSERT, SELECT, UPDATE, TRUNCATE ON attendance TO {}").format(role))
        sql.execute(names.SQL("GRANT SELECT, UPDATE (pass_mark) ON school TO {}").format(role))
        sql.execute(names.SQL("SET ROLE {}").format(role))
        # Nor does it find a table of the writer's own in place of ours.
        sql.execute("CREATE TEMPORARY TABLE class_change (class_id text, school_id text)")
        sql.execute("INSERT INTO attendance VALUES ('b', 'ben', '2026-03-03', '', 'LATE')")
        sql.execute("UPDATE attendance SET status = 'LATE' WHERE class_id = 'a'")
        sql.execute("UPDATE school SET pass_mark = 1 WHERE id = 'south'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            sql.execute("DELETE FROM public.class_change")
        sql.execute("DROP TABLE class_change")
    finally:
        sql.execute("RESET ROLE")
        marked = taken(sql)
        sql.execute(names.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(role))
    assert marked == [*classes("a", "b"), (None, "south")]


def records(sql: Sql) -> dict[str, float]:
    """By class the pass mark that its record was calculated with."""
    query = "SELECT class_id, (explanation #>> '{policy,passMark}')::float FROM class_performance"
    return dict(sql.execute(query.encode()).fetchall())


@pytest.mark.parametrize("commits_first", ["class", "policy"])
async def test_a_class_made_while_its_policy_changes_ends_right(
    sql: Sql, database_url: str, settings: Settings, engine: AsyncEngine, commits_first: str
) -> None:
    """Neither transaction sees what the other does, and workers work after each commit."""
    with psycopg.connect(database_url) as policy, psycopg.connect(database_url) as maker:
        maker.execute("INSERT INTO class (id, school_id, title) VALUES ('d', 'north', 'D')")
        policy.execute("UPDATE school SET pass_mark = 42 WHERE id = 'north'")
        for commit in (maker, policy) if commits_first == "class" else (policy, maker):
            commit.commit()
            await settle(settings)
    assert records(sql) == {"a": 42, "b": 42, "d": 42}
    assert taken(sql) == []


@pytest.mark.parametrize("isolation", IsolationLevel)
async def test_a_truncate_that_sees_an_old_state_reaches_classes_made_since(
    sql: Sql, database_url: str, settings: Settings, isolation: IsolationLevel
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.isolation_level = isolation
        connection.execute("SELECT FROM class")
        sql.execute("INSERT INTO class (id, school_id, title) VALUES ('d', 'south', 'D')")
        sql.execute("INSERT INTO person (id, school_id) VALUES ('dan', 'south')")
        sql.execute("INSERT INTO enrollment (class_id, id, person_id, role) VALUES ('d', 'e', 'dan', 'STUDENT')")
        sql.execute("INSERT INTO attendance VALUES ('d', 'dan', '2026-03-03', '', 'LATE')")
        await settle(settings)
        counts = "SELECT class_id, late_count FROM class_performance ORDER BY 1"
        assert sql.execute(counts.encode()).fetchall() == [("d", 1)]
        connection.execute("TRUNCATE attendance")
    await settle(settings)
    assert sql.execute(counts.encode()).fetchall() == [("a", 0), ("b", 0), ("c", 0), ("d", 0)]


async def test_a_scope_is_opened_once_however_many_open_it(sql: Sql, engine: AsyncEngine) -> None:
    sql.execute("UPDATE school SET pass_mark = 1")
    sql.execute("UPDATE class_change SET at = '2026-01-02Z'")
    async with transaction(engine) as first, transaction(engine) as second:
        assert (await changes.open_scopes(first), await changes.open_scopes(second)) == (2, 0)
    as_old = sql.execute("SELECT class_id FROM class_change WHERE at = '2026-01-02Z' ORDER BY 1").fetchall()
    assert as_old == [("a",), ("b",), ("c",)]
    async with transaction(engine) as connection:
        assert (await recalculate_changed(connection)).class_ids == ["a", "b", "c"]
