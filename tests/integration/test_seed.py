from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.coursework import Coursework
from app.database import transaction
from app.district import Classroom
from app.metrics import METRIC_NAMES
from app.performance import calculate_many
from app.seed import Plan, Seeded, seed
from app.shelf import shelf
from tests.csv_folder import dump, rows

NOW = datetime(2026, 11, 18, 9, tzinfo=UTC)
SMALL = Plan(now=NOW, classes=6, students=8, activities=10)
DISTRICT = Plan(now=NOW, classes=40, students=10, activities=16, attendance_days=20)


async def empty(engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        await connection.execute(text("TRUNCATE school CASCADE"))


def facts(found: dict[str, list[tuple[Any, ...]]]) -> dict[str, list[Any]]:
    return {table: [row for _, row in content] for table, content in found.items()}


async def test_the_same_plan_gives_the_same_rows(engine: AsyncEngine) -> None:
    await seed(engine, SMALL)
    first = facts(await dump(engine))
    await empty(engine)
    await seed(engine, SMALL)
    assert facts(await dump(engine)) == first
    assert all(first.values())


async def test_another_seed_gives_other_rows(engine: AsyncEngine) -> None:
    await seed(engine, SMALL)
    first = facts(await dump(engine))
    await empty(engine)
    await seed(engine, replace(SMALL, seed=2))
    assert facts(await dump(engine))["submission"] != first["submission"]


async def test_a_second_run_stores_nothing_and_says_so(engine: AsyncEngine) -> None:
    assert await seed(engine, SMALL) == Seeded(made=6, kept=0)
    before = await dump(engine)
    assert await seed(engine, SMALL) == Seeded(made=0, kept=6)
    assert await dump(engine) == before


async def test_a_run_that_was_stopped_goes_on_to_the_same_rows(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.seed.PAIRS", 2 * SMALL.students * SMALL.activities)

    def stop(classes: int, _: int) -> None:
        if classes == 4:
            raise KeyError("stopped")

    with pytest.raises(KeyError, match="stopped"):
        await seed(engine, SMALL, stop)
    assert await seed(engine, SMALL) == Seeded(made=2, kept=4)
    stopped = facts(await dump(engine))
    await empty(engine)
    await seed(engine, SMALL)
    assert facts(await dump(engine)) == stopped


async def test_every_metric_says_something_and_not_everywhere_the_same(engine: AsyncEngine) -> None:
    await seed(engine, DISTRICT)
    async with engine.connect() as connection:
        ids = list((await connection.scalars(text("SELECT id FROM class"))).all())
        found = list((await calculate_many(connection, ids, NOW)).values())
    for metric in METRIC_NAMES:
        assert len({row[metric] for row in found}) > 4, metric
        assert sum(row[metric] is not None for row in found) > 25, metric


async def test_a_district_has_what_a_district_has(engine: AsyncEngine) -> None:
    await seed(engine, DISTRICT)
    for what, statement in {
        "several time zones": "SELECT count(DISTINCT time_zone) > 2 FROM school",
        "differing policies": "SELECT count(DISTINCT (pass_mark, feedback_hours, excused_counts)) > 2 FROM school",
        "active and archived classes": "SELECT count(DISTINCT status) = 2 FROM class",
        "weighted classes and others": "SELECT count(DISTINCT weighted) = 2 FROM class",
        "a class without end": "SELECT bool_or(ends IS NULL) FROM class",
        "teachers of several classes": "SELECT count(*) > 3 FROM (SELECT person_id FROM enrollment "
        "WHERE role = 'TEACHER' GROUP BY person_id HAVING count(DISTINCT class_id) > 2) AS t",
        "students of several classes": "SELECT count(*) > 9 FROM (SELECT person_id FROM enrollment "
        "WHERE role = 'STUDENT' GROUP BY person_id HAVING count(DISTINCT class_id) > 2) AS t",
        "late joiners": "SELECT count(*) > 9 FROM enrollment e JOIN class c ON c.id = class_id "
        "WHERE e.begins > c.begins + interval '7 days'",
        "leavers": "SELECT count(*) > 9 FROM enrollment WHERE ends IS NOT NULL",
        "some who came back": "SELECT bool_or(id LIKE '%-2') FROM enrollment",
        "excused work": "SELECT count(*) > 9 FROM excusal WHERE excused",
        "excuses taken back": "SELECT bool_or(NOT excused) FROM excusal",
        "resubmissions": "SELECT count(*) > 9 FROM submission WHERE attempt = 2",
        "blank scores": "SELECT bool_or(score IS NULL AND graded_at IS NOT NULL) FROM submission",
        "zeros": "SELECT bool_or(score = 0) FROM submission",
        "late work": "SELECT count(*) > 9 FROM submission JOIN activity a ON (a.class_id, a.id) = "
        "(submission.class_id, activity_id) WHERE submitted_at > due_at",
        "work not graded": "SELECT count(*) > 9 FROM submission WHERE graded_at IS NULL",
        "automatic grading": "SELECT count(*) > 9 FROM submission WHERE graded_automatically",
        "feedback": "SELECT count(*) > 9 FROM submission WHERE feedback <> ''",
        "every kind of attendance": "SELECT count(DISTINCT status) = 4 FROM attendance",
        "no school at weekends": "SELECT bool_and(extract(isodow FROM session_date) < 6) FROM attendance",
        "penalties": "SELECT bool_or(points < 0) FROM points_award",
        "awards revoked": "SELECT bool_or(revoked_at IS NOT NULL) FROM points_award",
        "activities to come": f"SELECT bool_or(published_at > '{NOW}') FROM activity",
        "activities deleted": "SELECT bool_or(deleted_at IS NOT NULL) FROM activity",
        "a class without students": "SELECT bool_or(NOT EXISTS (SELECT FROM enrollment WHERE class_id = class.id "
        "AND role = 'STUDENT')) FROM class",
        "a class without work": "SELECT bool_or(NOT EXISTS (SELECT FROM activity WHERE class_id = class.id)) "
        "FROM class",
        "nothing recorded in the future": f"SELECT max(greatest(recorded_at, grade_recorded_at)) <= '{NOW}' "
        "FROM submission",
    }.items():
        assert await rows(engine, statement) == [(True,)], what


async def test_attendance_can_be_reduced_to_the_last_days(engine: AsyncEngine) -> None:
    await seed(engine, replace(SMALL, attendance_days=3))
    statement = "SELECT DISTINCT count(DISTINCT session_date) FROM attendance GROUP BY class_id"
    assert await rows(engine, statement) == [(3,)]


def test_rows_are_valid_facts() -> None:
    room = Classroom(replace(DISTRICT, attendance_days=2), 7)
    work = Coursework(room)
    made = {
        "classes": room.classes(),
        "enrollments": room.enrollments(),
        "categories": room.categories(),
        "activities": work.activities(),
        "attempts": work.attempts(),
        "excusals": work.excusals(),
        "attendance": room.attendance(),
        "points_awards": room.points_awards(),
    }
    for kind, found in made.items():
        assert found, kind
        for row in found:
            shelf(kind).fact.model_validate(dict(zip(shelf(kind).columns, row, strict=True)))


async def test_two_who_seed_at_once_make_one_district(engine: AsyncEngine) -> None:
    plan = Plan(NOW, classes=6, students=3, activities=4)
    made = await asyncio.gather(seed(engine, plan), seed(engine, plan))
    assert sum(one.made for one in made) == 6
    assert sum(one.kept for one in made) == 6
