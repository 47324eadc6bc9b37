"""A small class, put together in a few lines, and what its numbers are expected to be.

A test that takes `expect` and nothing else is a case: `tests.mutants` asks it of changed SQL too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.pool import NullPool

from app.devservices import Services
from tests.expectation import Expectation
from tests.independent import (
    Activity,
    Attendance,
    Category,
    Class,
    Enrollment,
    Excusal,
    Facts,
    PointsAward,
    School,
    Submission,
)
from tests.stored import calculate, store

NOW = datetime(2024, 5, 15, 12, tzinfo=UTC)
MICROSECOND, HOUR, DAY = timedelta(microseconds=1), timedelta(hours=1), timedelta(days=1)
LONG_AGO, YESTERDAY = NOW - 100 * DAY, NOW - DAY
SCHOOL = School("school", "School", "UTC", Decimal(60), 168, 14, 30, True, LONG_AGO)

Amount = int | str | Decimal
Expect = Callable[..., None]


class Classroom:
    """A class in the making. People who are named are students who always were; the rest is said one by one."""

    def __init__(self, *students: str, id: str = "class", weighted: bool = False, ends: datetime | None = None) -> None:
        self.id = id
        school = replace(SCHOOL, id=f"{id}'s school")
        self.facts = Facts(school, Class(id, school.id, id, "ACTIVE", None, ends, weighted, LONG_AGO))
        for student in students:
            self.enroll(student)

    def policy(self, **changes: Any) -> None:
        self.facts = replace(self.facts, school=replace(self.facts.school, **changes))

    def enroll(
        self, person: str, begins: datetime | None = None, ends: datetime | None = None, role: str = "STUDENT"
    ) -> None:
        number = len(self.facts.enrollments)
        self.facts.enrollments.append(Enrollment(self.id, str(number), person, role, begins, ends, LONG_AGO))

    def category(self, name: str, weight: Amount) -> None:
        self.facts.categories.append(Category(self.id, name, name, Decimal(weight), LONG_AGO))

    def activity(
        self,
        name: str,
        points: Amount = 10,
        category: str | None = None,
        due: datetime | None = None,
        published: datetime | None = LONG_AGO,
        deleted: datetime | None = None,
        expects: bool = True,
        counts: bool = True,
    ) -> None:
        self.facts.activities.append(
            Activity(self.id, name, category, name, Decimal(points), due, published, deleted, expects, counts, LONG_AGO)
        )

    def work(
        self,
        student: str,
        activity: str,
        score: Amount | None = None,
        submitted: datetime | None = None,
        graded: datetime | None = None,
        attempt: int = 1,
        automatic: bool = False,
        feedback: str | None = None,
    ) -> None:
        points = None if score is None else Decimal(score)
        key = self.id, activity, student, attempt
        graded_half = points, graded, automatic, feedback, LONG_AGO
        self.facts.submissions.append(Submission(*key, submitted, LONG_AGO, *graded_half))

    def grade(self, student: str, activity: str, score: Amount, **more: Any) -> None:
        """Yesterday, unless said otherwise; whether it was ever handed in is not known."""
        self.work(student, activity, score, **{"graded": YESTERDAY, **more})

    def excuse(self, student: str, activity: str, excused: bool = True) -> None:
        self.facts.excusals.append(Excusal(self.id, activity, student, excused, LONG_AGO))

    def attend(self, student: str, day: date, status: str = "PRESENT", session: str = "") -> None:
        self.facts.attendance.append(Attendance(self.id, student, day, session, status, LONG_AGO))

    def award(self, student: str, points: int, at: datetime = YESTERDAY, revoked: datetime | None = None) -> None:
        number = len(self.facts.points_awards)
        self.facts.points_awards.append(PointsAward(self.id, str(number), student, points, at, revoked, LONG_AGO))


def expectation(classroom: Classroom, at: datetime, expected: dict[str, Any]) -> Expectation:
    """Holds the facts as they are now, and has made sure that the independent calculation says the same."""
    lists = {name: list(value) for name, value in vars(classroom.facts).items() if isinstance(value, list)}
    made = Expectation.of(replace(classroom.facts, **lists), at)
    by_hand = {name: value for name, value in expected.items() if name != "next_change_at"}
    calculated = {name: made.numbers[name] for name in by_hand}
    assert by_hand == calculated, f"by hand {by_hand}, but the independent calculation gives {calculated}"
    if "next_change_at" not in expected:
        return made
    return replace(made, next_change_at=(expected["next_change_at"],))


def next_door() -> Facts:
    """A class with the same names in it, other facts and another policy: none of it may be felt."""
    c = Classroom("ann", "bob", "dan", id="next door", weighted=True)
    c.policy(pass_mark=Decimal(10), feedback_hours=1, active_days=100, improvement_days=1, excused_counts=False)
    c.enroll("eve", role="TEACHER")
    for category in ("tests", "essays"):
        c.category(category, 7)
    for n, name in enumerate(("essay", "quiz", "test", "report")):
        c.activity(name, 3, category="tests", due=NOW - n * DAY)
        c.work("ann", name, 3, submitted=NOW - 3 * DAY, graded=NOW - 2 * DAY, feedback="yes", attempt=9)
        c.work("bob", name, 0, submitted=NOW - 3 * DAY, attempt=8)
        c.excuse("dan", name)
    for n in range(3):
        c.attend("ann", NOW.date() - n * DAY, "ABSENT", session="next door")
    c.award("ann", 1000)
    c.award("bob", 1000)
    return c.facts


@pytest.fixture(scope="session")
def calculator(servers: Services, template: str) -> sqlalchemy.Engine:
    url = sqlalchemy.make_url(servers.database_url).set(drivername="postgresql+psycopg")
    return sqlalchemy.create_engine(url, poolclass=NullPool, connect_args={"options": "-c timezone=UTC"})


@pytest.fixture
def expect(calculator: sqlalchemy.Engine) -> Iterator[Expect]:
    """expect(classroom, at, average_grade=..., next_change_at=...): of the SQL and of the independent calculation."""
    with calculator.connect() as connection:

        def check(classroom: Classroom, at: datetime = NOW, **expected: Any) -> None:
            wanted = expectation(classroom, at, expected)
            store(connection, wanted.facts, next_door())
            row = calculate(connection, [classroom.id, "next door"], at)[classroom.id]
            connection.rollback()
            differences = wanted.differences(row)
            assert not differences, f"(expected, got): {differences}"

        yield check
