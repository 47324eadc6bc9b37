"""The facts of a school, as metrics.md of the documentation names them.

A fact is first a model that validates (`...Fact`: what a door hands in) and then the table that holds it. `recorded_at`
is its source time: a correction replaces its record unless it is older than what is stored. Every fact's key begins
with its class, so that the rows of one class lie together.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from sqlalchemy import CheckConstraint, Index, text
from sqlmodel import Field, SQLModel

from app.columns import (
    RECORD_ID_PREFIX,
    AttendanceStatus,
    ClassId,
    ClassStatus,
    Day,
    Id,
    Instant,
    LongText,
    Role,
    TimeZone,
    Title,
    amount,
    at_least_zero,
    in_calendar,
    instant,
    key,
    not_before,
    one_of,
    recorded,
    refers,
    words,
)
from app.metrics import INT_MAX


class SchoolFact(SQLModel):
    """A school, and the policy that its metrics follow. Windows are days of 24 hours."""

    id: Id = key()
    title: Title = words()
    time_zone: TimeZone = words()
    pass_mark: Decimal = amount(Decimal(60), most=Decimal(1000), sa_column_kwargs={"server_default": text("60")})
    feedback_hours: int = Field(168, ge=0, le=8760, sa_column_kwargs={"server_default": text("168")})
    active_days: int = Field(14, ge=1, le=366, sa_column_kwargs={"server_default": text("14")})
    improvement_days: int = Field(30, ge=1, le=366, sa_column_kwargs={"server_default": text("30")})
    excused_counts: bool = Field(True, sa_column_kwargs={"server_default": text("true")})
    recorded_at: Instant | None = recorded()


class School(SchoolFact, table=True):
    __tablename__: ClassVar[str] = "school"
    __table_args__: ClassVar[Any] = (
        at_least_zero("pass_mark", most=Decimal(1000)),
        CheckConstraint(
            "feedback_hours BETWEEN 0 AND 8760 "
            "AND active_days BETWEEN 1 AND 366 AND improvement_days BETWEEN 1 AND 366",
            name="policy",
        ),
        # Raises for a name that PostgreSQL does not know, so that no calculation meets one.
        CheckConstraint("('2000-01-01 00:00:00+00'::timestamptz AT TIME ZONE time_zone) IS NOT NULL", name="time_zone"),
        in_calendar("recorded_at"),
    )


class ClassFact(SQLModel):
    """A class. It is never deleted, so that the versions of its record never start again; it stays in its school."""

    id: ClassId = key()
    school_id: Id = words()
    title: Title = words()
    status: ClassStatus = words(default=ClassStatus.ACTIVE, sa_column_kwargs={"server_default": "ACTIVE"})
    begins: Instant | None = instant(default=None)
    ends: Instant | None = instant(default=None)
    weighted: bool = Field(False, sa_column_kwargs={"server_default": text("false")})
    recorded_at: Instant | None = recorded()

    _period = not_before("begins", "ends")


class Class(ClassFact, table=True):
    __tablename__: ClassVar[str] = "class"
    __table_args__: ClassVar[Any] = (
        refers("school_id", to="school:id"),
        Index(None, "school_id", "id"),
        one_of("status", ClassStatus),
        CheckConstraint(f"NOT starts_with(id, '{RECORD_ID_PREFIX}')", name="id"),
        CheckConstraint("ends >= begins", name="period"),
        in_calendar("begins", "ends", "recorded_at"),
    )


class PersonFact(SQLModel):
    """Somebody at a school, known by an opaque id: no metric needs a name, so none is stored."""

    id: Id = key()
    school_id: Id = words()
    recorded_at: Instant | None = recorded()


class Person(PersonFact, table=True):
    __tablename__: ClassVar[str] = "person"
    __table_args__: ClassVar[Any] = (refers("school_id", to="school:id"), in_calendar("recorded_at"))


class EnrollmentFact(SQLModel):
    """A person in a class from `begins` until just before `ends`. Null is unbounded; an empty period is none."""

    class_id: Id = key()
    id: Id = key()
    person_id: Id = words()
    role: Role = words()
    begins: Instant | None = instant(default=None)
    ends: Instant | None = instant(default=None)
    recorded_at: Instant | None = recorded()

    _period = not_before("begins", "ends")


class Enrollment(EnrollmentFact, table=True):
    __tablename__: ClassVar[str] = "enrollment"
    __table_args__: ClassVar[Any] = (
        refers("class_id", to="class:id"),
        refers("person_id", to="person:id"),
        Index(None, "person_id", postgresql_where=text("role = 'TEACHER'")),
        one_of("role", Role),
        CheckConstraint("ends >= begins", name="period"),
        in_calendar("begins", "ends", "recorded_at"),
    )


class CategoryFact(SQLModel):
    """A part of the gradebook, with its weight in a weighted class."""

    class_id: Id = key()
    id: Id = key()
    title: Title = words()
    weight: Decimal = amount(Decimal(0), sa_column_kwargs={"server_default": text("0")})
    recorded_at: Instant | None = recorded()


class Category(CategoryFact, table=True):
    __tablename__: ClassVar[str] = "category"
    __table_args__: ClassVar[Any] = (
        refers("class_id", to="class:id"),
        at_least_zero("weight"),
        in_calendar("recorded_at"),
    )


class ActivityFact(SQLModel):
    """Something students are given to do. Never published while `published_at` is null."""

    class_id: Id = key()
    id: Id = key()
    category_id: Id | None = words(default=None)
    title: Title = words()
    max_points: Decimal = amount()
    due_at: Instant | None = instant(default=None)
    published_at: Instant | None = instant(default=None)
    deleted_at: Instant | None = instant(default=None)
    expects_submission: bool = Field(True, sa_column_kwargs={"server_default": text("true")})
    counts_toward_grade: bool = Field(True, sa_column_kwargs={"server_default": text("true")})
    recorded_at: Instant | None = recorded()


class Activity(ActivityFact, table=True):
    __tablename__: ClassVar[str] = "activity"
    __table_args__: ClassVar[Any] = (
        refers("class_id", to="class:id"),
        refers("class_id", "category_id", to="category:class_id,id"),
        at_least_zero("max_points"),
        in_calendar("due_at", "published_at", "deleted_at", "recorded_at"),
    )


class AttemptKey(SQLModel):
    class_id: Id = key()
    activity_id: Id = key()
    student_id: Id = key()
    attempt: int = Field(1, ge=1, le=10_000, primary_key=True)


class SubmissionFact(AttemptKey):
    """One attempt of a student at an activity, as handed in."""

    submitted_at: Instant | None = instant(default=None)
    recorded_at: Instant | None = recorded()


class GradeFact(AttemptKey):
    """One attempt of a student at an activity, as graded. A blank score is not a zero."""

    score: Decimal | None = amount(None)
    graded_at: Instant | None = instant(default=None)
    graded_automatically: bool = Field(False, sa_column_kwargs={"server_default": text("false")})
    feedback: LongText | None = words(default=None)
    grade_recorded_at: Instant | None = recorded()


class Submission(SubmissionFact, table=True):
    """Two halves with a source time each, so that a late-arriving submission never undoes a newer grade."""

    __tablename__: ClassVar[str] = "submission"
    __table_args__: ClassVar[Any] = (
        refers("class_id", "activity_id", to="activity:class_id,id"),
        refers("student_id", to="person:id"),
        CheckConstraint("attempt BETWEEN 1 AND 10000", name="attempt"),
        at_least_zero("score"),
        in_calendar("submitted_at", "recorded_at", "graded_at", "grade_recorded_at"),
    )

    score: Decimal | None = amount(None)
    graded_at: datetime | None = instant(default=None)
    graded_automatically: bool = Field(False, sa_column_kwargs={"server_default": text("false")})
    feedback: str | None = words(default=None)
    grade_recorded_at: datetime | None = recorded()


class ExcusalFact(SQLModel):
    """A student need not do an activity; `excused: false` takes that back."""

    class_id: Id = key()
    activity_id: Id = key()
    student_id: Id = key()
    excused: bool = Field(True, sa_column_kwargs={"server_default": text("true")})
    recorded_at: Instant | None = recorded()


class Excusal(ExcusalFact, table=True):
    __tablename__: ClassVar[str] = "excusal"
    __table_args__: ClassVar[Any] = (
        refers("class_id", "activity_id", to="activity:class_id,id"),
        refers("student_id", to="person:id"),
        in_calendar("recorded_at"),
    )


class AttendanceFact(SQLModel):
    """Whether a student was there, for one session of a day; the date is the school's."""

    class_id: Id = key()
    student_id: Id = key()
    session_date: Day = Field(primary_key=True)
    session_key: Title = key(default="", sa_column_kwargs={"server_default": ""})
    status: AttendanceStatus = words()
    recorded_at: Instant | None = recorded()


class Attendance(AttendanceFact, table=True):
    __tablename__: ClassVar[str] = "attendance"
    __table_args__: ClassVar[Any] = (
        refers("class_id", to="class:id"),
        refers("student_id", to="person:id"),
        one_of("status", AttendanceStatus),
        CheckConstraint("session_date BETWEEN '1900-01-01' AND '2199-12-31'", name="session_date"),
        in_calendar("recorded_at"),
    )


class PointsAwardFact(SQLModel):
    """Points given or, below zero, taken; the id is the source's own, so that sending it twice awards once."""

    class_id: Id = key()
    id: Id = key()
    student_id: Id = words()
    points: int = Field(ge=-INT_MAX - 1, le=INT_MAX)
    awarded_at: Instant = instant(nullable=False)
    revoked_at: Instant | None = instant(default=None)
    recorded_at: Instant | None = recorded()


class PointsAward(PointsAwardFact, table=True):
    __tablename__: ClassVar[str] = "points_award"
    __table_args__: ClassVar[Any] = (
        refers("class_id", to="class:id"),
        refers("student_id", to="person:id"),
        in_calendar("awarded_at", "revoked_at", "recorded_at"),
    )
