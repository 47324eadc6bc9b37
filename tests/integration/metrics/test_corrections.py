"""Facts that are corrected or come twice, from the door of the facts to the metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.gradebook import KINDS, record
from app.performance import calculate_many
from tests.classroom import DAY, HOUR, NOW, YESTERDAY

ROSTER: list[tuple[str, dict[str, Any]]] = [
    ("schools", {"id": "school", "title": "School", "time_zone": "UTC"}),
    ("people", {"id": "ann", "school_id": "school"}),
    ("classes", {"id": "class", "school_id": "school", "title": "Class"}),
    ("enrollments", {"class_id": "class", "id": "1", "person_id": "ann", "role": "STUDENT"}),
    ("activities", {"class_id": "class", "id": "essay", "title": "Essay", "max_points": 10, "published_at": YESTERDAY}),
]


async def tell(connection: AsyncConnection, kind: str, fact: dict[str, Any]) -> None:
    await record(connection, kind, [KINDS[kind].model_validate({"recorded_at": NOW, **fact})])


async def numbers(connection: AsyncConnection, *names: str) -> list[Any]:
    row = (await calculate_many(connection, ["class"], NOW))["class"]
    return [row[name] for name in names]


@pytest.fixture
async def connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    async with engine.connect() as connection:
        for kind, fact in ROSTER:
            await tell(connection, kind, fact)
        yield connection


async def test_attendance_corrected_from_absent_to_late_leaves_one_record(connection: AsyncConnection) -> None:
    session = {"class_id": "class", "student_id": "ann", "session_date": NOW.date(), "session_key": "1"}
    await tell(connection, "attendance", {**session, "status": "ABSENT", "recorded_at": NOW - HOUR})
    assert await numbers(connection, "absent_count", "late_count", "attendance_rate") == [1, 0, 0.0]
    await tell(connection, "attendance", {**session, "status": "LATE"})
    assert await numbers(connection, "absent_count", "late_count", "attendance_rate") == [0, 1, 100.0]
    await tell(connection, "attendance", {**session, "status": "PRESENT", "recorded_at": NOW - DAY})
    assert await numbers(connection, "present_count", "late_count") == [0, 1]


async def test_an_award_sent_twice_is_one_award(connection: AsyncConnection) -> None:
    award = {"class_id": "class", "id": "a", "student_id": "ann", "points": 5, "awarded_at": YESTERDAY}
    await tell(connection, "points_awards", award)
    await tell(connection, "points_awards", award)
    assert await numbers(connection, "total_points", "active_students") == [5, 1]


async def test_an_award_revoked_later_counts_no_more(connection: AsyncConnection) -> None:
    award = {"class_id": "class", "id": "a", "student_id": "ann", "points": 5, "awarded_at": YESTERDAY}
    await tell(connection, "points_awards", award)
    await tell(connection, "points_awards", {**award, "revoked_at": NOW, "recorded_at": NOW + HOUR})
    assert await numbers(connection, "total_points", "active_students") == [0, 0]


async def test_work_unpublished_counts_no_more(connection: AsyncConnection) -> None:
    grade = {"class_id": "class", "activity_id": "essay", "student_id": "ann", "attempt": 1, "score": 5}
    grade |= {"graded_at": YESTERDAY, "grade_recorded_at": NOW}
    await record(connection, "grades", [KINDS["grades"].model_validate(grade)])
    assert await numbers(connection, "average_grade", "activities_created") == [50.0, 1]
    essay = {**ROSTER[-1][1], "published_at": None, "recorded_at": NOW + HOUR}
    await tell(connection, "activities", essay)
    assert await numbers(connection, "average_grade", "activities_created") == [None, 0]


async def test_a_resubmission_neither_lowers_nor_doubles_what_was_handed_in(connection: AsyncConnection) -> None:
    essay = {**ROSTER[-1][1], "due_at": YESTERDAY, "recorded_at": NOW + HOUR}
    await tell(connection, "activities", essay)
    work = {"class_id": "class", "activity_id": "essay", "student_id": "ann", "submitted_at": YESTERDAY}
    for attempt in (1, 2, 2, 3):
        await tell(connection, "submissions", {**work, "attempt": attempt})
        assert await numbers(connection, "submission_rate", "completion_rate", "active_students") == [100.0, 100.0, 1]
