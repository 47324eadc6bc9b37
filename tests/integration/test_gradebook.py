from __future__ import annotations

import asyncio
import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as configured
from hypothesis import strategies as st
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlmodel import SQLModel

from app.columns import EARLIEST
from app.database import transaction
from app.errors import Rejected
from app.gradebook import KINDS, Recorded, record
from app.shelf import ATTEMPTS, TABLES, shelf

MONDAY = datetime(2024, 9, 2, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
ROSTER: dict[str, list[dict[str, Any]]] = {
    "schools": [{"id": "school", "title": "School", "time_zone": "Europe/London"}],
    "people": [{"id": person, "school_id": "school"} for person in ("ann", "ben", "cay")],
    "classes": [{"id": name, "school_id": "school", "title": name} for name in ("algebra", "biology")],
    "categories": [{"class_id": "algebra", "id": name, "title": name} for name in ("tests", "homework")],
    "activities": [
        {"class_id": "algebra", "id": "essay", "title": "Essay", "max_points": 10},
        {"class_id": "algebra", "id": "quiz", "title": "Quiz", "max_points": 5},
    ],
}


def fact(kind: str, **values: Any) -> SQLModel:
    return shelf(kind).fact.model_validate(values)


async def store(connection: AsyncConnection, kind: str, *rows: dict[str, Any]) -> Recorded:
    return await record(connection, kind, [fact(kind, **row) for row in rows])


async def store_roster(connection: AsyncConnection, recorded_at: datetime = MONDAY - HOUR) -> None:
    for kind, rows in ROSTER.items():
        await store(connection, kind, *({"recorded_at": recorded_at} | row for row in rows))


@pytest.fixture
async def connection(engine: AsyncEngine):
    async with transaction(engine) as connection:
        await store_roster(connection)
        yield connection


async def content(connection: AsyncConnection, kind: str) -> list[str]:
    table = TABLES[kind].__tablename__
    return list((await connection.scalars(text(f'SELECT t::text FROM "{table}" AS t ORDER BY 1'))).all())


async def value(connection: AsyncConnection, statement: str) -> Any:
    return await connection.scalar(text(statement))


GRADE = {"class_id": "algebra", "activity_id": "essay", "student_id": "ann"}


def graded(score: Any, hours: float = 0, **values: Any) -> dict[str, Any]:
    return GRADE | {"score": score, "graded_at": MONDAY, "grade_recorded_at": MONDAY + hours * HOUR} | values


async def score(connection: AsyncConnection) -> Any:
    return await value(connection, "SELECT score FROM submission")


async def test_a_newer_fact_replaces_its_record(connection: AsyncConnection) -> None:
    await store(connection, "grades", graded(5))
    assert await store(connection, "grades", graded(7, hours=1)) == Recorded(1, 0, ["algebra"])
    assert await score(connection) == 7


async def test_an_older_fact_changes_nothing(connection: AsyncConnection) -> None:
    await store(connection, "grades", graded(5))
    assert await store(connection, "grades", graded(7, hours=-1)) == Recorded(0, 1, [])
    assert await score(connection) == 5


async def test_a_repeated_fact_writes_nothing(connection: AsyncConnection) -> None:
    await store(connection, "grades", graded(5))
    before = await value(connection, "SELECT ctid FROM submission")
    assert await store(connection, "grades", graded("5.00"), graded(5)) == Recorded(0, 2, [])
    assert await value(connection, "SELECT ctid FROM submission") == before


@pytest.mark.parametrize("order", [1, -1])
async def test_at_the_same_source_time_the_greater_content_wins(connection: AsyncConnection, order: int) -> None:
    for row in [graded(None), graded(5), graded(7)][::order]:
        await store(connection, "grades", row)
    assert await score(connection) == 7


async def test_of_one_key_twice_in_a_batch_the_newest_wins(connection: AsyncConnection) -> None:
    recorded = await store(connection, "grades", graded(5), graded(7, hours=2), graded(6, hours=1))
    assert recorded == Recorded(1, 2, ["algebra"])
    assert await score(connection) == 7


async def test_without_a_source_time_it_is_now_and_the_later_of_a_batch_wins(connection: AsyncConnection) -> None:
    await store(connection, "grades", graded(9, grade_recorded_at=None), graded(7, grade_recorded_at=None))
    assert await score(connection) == 7
    age = await value(connection, "SELECT clock_timestamp() - grade_recorded_at FROM submission")
    assert timedelta(0) <= age < timedelta(minutes=1)


async def test_the_halves_of_a_submission_do_not_undo_each_other(connection: AsyncConnection) -> None:
    handed_in = GRADE | {"submitted_at": MONDAY - HOUR, "recorded_at": MONDAY - HOUR}
    await store(connection, "grades", graded(5))
    assert await value(connection, "SELECT recorded_at FROM submission") == EARLIEST
    await store(connection, "submissions", handed_in)
    row = (await connection.execute(text("SELECT score, submitted_at FROM submission"))).one()
    assert tuple(row) == (Decimal(5), MONDAY - HOUR)


async def test_attendance_corrected_leaves_one_record(connection: AsyncConnection) -> None:
    session = {"class_id": "algebra", "student_id": "ann", "session_date": date(2024, 9, 2)}
    await store(connection, "attendance", session | {"status": "ABSENT", "recorded_at": MONDAY})
    await store(connection, "attendance", session | {"status": "LATE", "recorded_at": MONDAY + HOUR})
    assert await value(connection, "SELECT string_agg(status, ' ') FROM attendance") == "LATE"


async def test_an_empty_batch_is_nothing(connection: AsyncConnection) -> None:
    assert await record(connection, "grades", []) == Recorded(0, 0, [])


async def test_a_new_policy_touches_all_classes_of_its_school(connection: AsyncConnection) -> None:
    school = ROSTER["schools"][0] | {"recorded_at": MONDAY}
    renamed = school | {"title": "Another title", "recorded_at": MONDAY + HOUR}
    stricter = renamed | {"pass_mark": 70, "recorded_at": MONDAY + 2 * HOUR}
    assert await store(connection, "schools", renamed) == Recorded(1, 0, [])
    assert await store(connection, "schools", stricter) == Recorded(1, 0, ["algebra", "biology"])
    assert await store(connection, "schools", school) == Recorded(0, 1, [])


async def test_people_touch_no_class(connection: AsyncConnection) -> None:
    assert await store(connection, "people", {"id": "dot", "school_id": "school"}) == Recorded(1, 0, [])


async def faults(connection: AsyncConnection, kind: str, *rows: dict[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    before = await content(connection, kind)
    with pytest.raises(Rejected) as rejected:
        await store(connection, kind, *rows)
    assert await content(connection, kind) == before
    return [(problem.code, problem.path) for problem in rejected.value.problems]


async def test_every_reference_to_nothing_is_named_and_nothing_stored(connection: AsyncConnection) -> None:
    assert await faults(
        connection,
        "grades",
        graded(1),
        graded(1, class_id="nowhere"),
        graded(1, activity_id="quiz", student_id="nobody"),
        graded(1, class_id="biology"),
    ) == [
        ("CLASS_NOT_FOUND", ("1", "class_id")),
        ("PERSON_NOT_FOUND", ("2", "student_id")),
        ("ACTIVITY_NOT_FOUND", ("3", "activity_id")),
    ]
    activity = ROSTER["activities"][0]
    assert await faults(connection, "activities", activity | {"category_id": "nothing"}) == [
        ("CATEGORY_NOT_FOUND", ("0", "category_id"))
    ]
    assert await faults(connection, "people", {"id": "dot", "school_id": "nowhere"}) == [
        ("SCHOOL_NOT_FOUND", ("0", "school_id"))
    ]


async def test_a_class_stays_in_its_school(connection: AsyncConnection) -> None:
    await store(connection, "schools", ROSTER["schools"][0] | {"id": "other"})
    algebra = ROSTER["classes"][0]
    new = algebra | {"id": "new"}
    fixed = [("SCHOOL_IS_FIXED", ("0", "school_id"))]
    assert await faults(connection, "classes", algebra | {"school_id": "other"}) == fixed
    assert len(await faults(connection, "classes", new | {"school_id": "other"}, new)) == 1


async def test_a_time_zone_that_the_database_does_not_know_is_a_problem(connection: AsyncConnection) -> None:
    values = fact("schools", **ROSTER["schools"][0]).model_dump() | {"time_zone": "Mars/Olympus_Mons"}
    with pytest.raises(Rejected) as rejected:
        await record(connection, "schools", [KINDS["schools"].model_construct(**values)])
    assert [problem.code for problem in rejected.value.problems] == ["TIME_ZONE_NOT_FOUND"]


async def test_a_source_time_in_the_future_is_a_problem(connection: AsyncConnection) -> None:
    now = datetime.now(UTC)
    await store(connection, "grades", graded(5, grade_recorded_at=now + timedelta(minutes=4)))
    assert await faults(connection, "grades", graded(5, grade_recorded_at=now + timedelta(minutes=6))) == [
        ("RECORDED_IN_FUTURE", ("0", "grade_recorded_at"))
    ]


async def test_problems_are_bounded(connection: AsyncConnection) -> None:
    assert len(await faults(connection, "grades", *(graded(1, student_id=f"p{n}") for n in range(150)))) == 100


async def test_a_batch_takes_two_statements_whatever_its_size(engine: AsyncEngine, connection: AsyncConnection) -> None:
    statements: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    await store(connection, "grades", *(graded(1, attempt=n) for n in range(1, 501)))
    assert len(statements) == 2


# Order is no matter.

EVENING = MONDAY + 10 * HOUR
CHOICES: dict[str, list[Any]] = {
    "recorded_at": [EARLIEST, MONDAY, MONDAY + HOUR],
    "grade_recorded_at": [EARLIEST, MONDAY, MONDAY + HOUR],
    "school_id": ["school"],
    "class_id": ["algebra"],
    "person_id": ["ann", "ben"],
    "student_id": ["ann", "ben"],
    "activity_id": ["essay"],
    "category_id": [None, "tests", "homework"],
    "attempt": [1, 2],
    "time_zone": ["UTC", "Europe/London"],
    "status": ["ACTIVE", "ARCHIVED"],
    "role": ["STUDENT", "TEACHER"],
    "begins": [None, MONDAY],
    "ends": [None, EVENING],
    "submitted_at": [None, MONDAY, EVENING],
    "graded_at": [None, MONDAY],
    "due_at": [None, MONDAY],
    "published_at": [None, EVENING],
    "deleted_at": [None, EVENING],
    "awarded_at": [MONDAY, EVENING],
    "revoked_at": [None, EVENING],
    "session_date": [MONDAY.date()],
    "session_key": ["", "am"],
    "feedback": [None, "", "Ok", "ok"],
    "score": [None, "0", "0.00", "1.5", "1.50"],
    "weight": ["0", "1", "1.0"],
    "max_points": ["0", "10", "10.0"],
    "pass_mark": ["60", "60.0", "40"],
    "points": [-1, 0, 5],
    "feedback_hours": [1, 2],
    "active_days": [1, 2],
    "improvement_days": [1],
    "title": ["a", "b"],
    "id": ["one", "two"],
}
PRESENCE = ["PRESENT", "ABSENT"]


def facts_of(kind: str) -> st.SearchStrategy[tuple[str, SQLModel]]:
    own = CHOICES | ({"status": PRESENCE} if kind == "attendance" else {})
    columns = {name: st.sampled_from(own.get(name, [True, False])) for name in shelf(kind).fact.model_fields}
    return st.fixed_dictionaries(columns).map(lambda values: (kind, fact(kind, **values)))


@st.composite
def arrivals(draw: st.DrawFn, kinds: list[str]) -> tuple[list[Any], list[Any]]:
    """The same facts twice over: as drawn, and in another order with some repeated."""
    facts = draw(st.lists(st.one_of([facts_of(kind) for kind in kinds]), min_size=1, max_size=6))
    repeats = draw(st.lists(st.sampled_from(facts), max_size=2))
    return facts, draw(st.permutations(facts + repeats))


async def outcome(engine: AsyncEngine, facts: list[tuple[str, SQLModel]], size: int) -> list[str]:
    """What the table holds when these facts have come in batches of that size."""
    async with engine.connect() as connection:
        for start in range(0, len(facts), size):
            batch = facts[start : start + size]
            for kind in {kind for kind, _ in batch}:
                await record(connection, kind, [fact for own, fact in batch if own == kind])
        return await content(connection, facts[0][0])


@pytest.mark.parametrize("kinds", [["submissions", "grades", ATTEMPTS], *([kind] for kind in KINDS)], ids="-".join)
async def test_the_order_of_facts_is_no_matter(engine: AsyncEngine, kinds: list[str]) -> None:
    async with transaction(engine) as connection:
        await store_roster(connection)

    @given(arrivals(kinds), st.integers(1, 3), st.integers(1, 3))
    @configured(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def check(both: tuple[list[Any], list[Any]], size: int, other_size: int) -> None:
        compared.append((both, size, other_size))

    compared: list[Any] = []
    check()
    for (facts, others), size, other_size in compared:
        assert await outcome(engine, facts, size) == await outcome(engine, others, other_size)


async def test_writers_of_the_same_keys_in_any_order_never_deadlock(engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        await store_roster(connection)

    async def write(number: int) -> None:
        rows = [
            graded(number, hours=number, activity_id=activity, student_id=student, attempt=attempt)
            for activity in ("essay", "quiz")
            for student in ("ann", "ben", "cay")
            for attempt in range(1, 40)
        ]
        random.Random(number).shuffle(rows)
        async with transaction(engine) as connection:
            await store(connection, "grades", *rows)

    await asyncio.gather(*map(write, range(40)))
    async with engine.connect() as connection:
        assert await value(connection, "SELECT min(score) || ' ' || count(*) FROM submission") == "39 234"
