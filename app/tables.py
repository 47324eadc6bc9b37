"""The shelves: all tables. The facts' own are in `facts`; here are the records calculated from them, and what is to be
done about either."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    Identity,
    Index,
    LargeBinary,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import Field, SQLModel

from app import facts
from app.columns import RECORD_ID_PREFIX, in_calendar, instant, key, refers, words

__all__ = [
    "CalculationFailure",
    "ClassChange",
    "ClassPerformance",
    "ClassPerformanceHistory",
    "IdempotencyKey",
    "Job",
    "PerformanceChange",
    "VersionReached",
    "facts",
]

# Rows come and go by the thousand: what is gone is to be cleared away at once.
QUEUE = {"postgresql_with": {"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 1000}}


def count() -> Any:
    return Field(0, nullable=False, sa_column_kwargs={"server_default": text("0")})


def names(column: str) -> Any:
    return Field(sa_column=Column(column, ARRAY(Text), nullable=False, server_default=text("'{}'")))


def now() -> Any:
    return instant(nullable=False, sa_column_kwargs={"server_default": func.clock_timestamp()})


def number() -> Any:
    """Given by the database, in the order of asking, which is not that of committing."""
    return Field(default=None, sa_type=BigInteger, sa_column_args=[Identity(always=True)], primary_key=True)


class MetricColumns(SQLModel):
    """One column for each of `metrics.METRICS`, in that order. Rates and grades are rounded to 2 decimals."""

    average_grade: float | None = None
    passing_rate: float | None = None
    highest_grade: float | None = None
    lowest_grade: float | None = None
    attendance_rate: float | None = None
    present_count: int = count()
    absent_count: int = count()
    late_count: int = count()
    excused_count: int = count()
    participation_rate: float | None = None
    active_students: int = count()
    completion_rate: float | None = None
    submission_rate: float | None = None
    activities_created: int = count()
    activities_graded: int = count()
    total_points: int = count()
    average_points: float | None = None
    grade_improvement: float | None = None
    teacher_feedback_rate: float | None = None
    grading_timeliness: float | None = None


class ClassPerformance(MetricColumns, table=True):
    """The record of a class. The version rises by one with every change that a reader could see, whoever makes it (a
    trigger sees to that); 0 is only within the transaction that makes the record."""

    __tablename__: ClassVar[str] = "class_performance"
    __table_args__: ClassVar[Any] = (
        refers("class_id", to="class:id"),
        Index(None, "next_change_at", postgresql_where=text("next_change_at IS NOT NULL")),
        CheckConstraint("version >= 0", name="version"),
        CheckConstraint("jsonb_typeof(custom) = 'object'", name="custom"),
        in_calendar("last_updated", "created_at", "updated_at"),
    )

    class_id: str = key()
    id: str = words(sa_column_args=[Computed(f"'{RECORD_ID_PREFIX}' || class_id", persisted=True)])
    version: int = count()
    pinned_metrics: list[str] = names("pinned_metrics")
    explanation: dict[str, Any] = Field(
        sa_column=Column("explanation", JSONB, nullable=False, server_default=text("'{}'"))
    )
    custom: dict[str, Any] | None = Field(sa_column=Column("custom", JSONB(none_as_null=True)))
    next_change_at: datetime | None = instant(default=None)
    last_updated: datetime = now()
    created_at: datetime = now()
    updated_at: datetime = now()


class ClassPerformanceHistory(MetricColumns, table=True):
    """What a record was at each version, and what made it so.

    `cause`: calculated, reported or unpinned. `fields`: the columns a report or unpinning was about. `actor`: by whom,
    null for the service itself.
    """

    __tablename__: ClassVar[str] = "class_performance_history"
    __table_args__: ClassVar[Any] = (
        refers("class_id", to="class:id"),
        Index(None, "class_id", "at"),
        CheckConstraint("cause IN ('calculated', 'reported', 'unpinned')", name="cause"),
        in_calendar("at"),
    )

    class_id: str = key()
    version: int = Field(primary_key=True)
    cause: str = words()
    actor: str | None = words(default=None)
    fields: list[str] = names("fields")
    pinned_metrics: list[str] = names("pinned_metrics")
    at: datetime = now()


class IdempotencyKey(SQLModel, table=True):
    """The result of a mutation, kept in its own transaction, for a client that asks again with the same key."""

    __tablename__: ClassVar[str] = "idempotency_key"
    __table_args__: ClassVar[Any] = (Index(None, "created_at"), in_calendar("created_at"))

    viewer: str = key()
    mutation: str = key()
    key: str = key()
    input_hash: bytes = Field(sa_type=LargeBinary)
    result: dict[str, Any] | None = Field(sa_column=Column("result", JSONB))
    created_at: datetime = now()


class VersionReached(SQLModel, table=True):
    """The version of a record that was deleted: if the class gets another, that goes on from there."""

    __tablename__: ClassVar[str] = "version_reached"

    class_id: str = key()
    version: int


class ClassChange(SQLModel, table=True):
    """Something happened to a class that its record does not show yet. Written by triggers, in the transaction of what
    happened; deleted in that of the calculation which saw it.

    With a school in place of the class, it happened to all classes of the school; with neither, to all there are.
    """

    __tablename__: ClassVar[str] = "class_change"
    __table_args__: ClassVar[Any] = (
        CheckConstraint("class_id IS NULL OR school_id IS NULL", name="scope"),
        Index(None, "class_id"),
        QUEUE,
    )

    id: int = number()
    class_id: str | None = words(default=None)
    school_id: str | None = words(default=None)
    at: datetime = now()


class PerformanceChange(SQLModel, table=True):
    """A record changed, and Redis was not told yet. Written by triggers."""

    __tablename__: ClassVar[str] = "performance_change"
    __table_args__: ClassVar[Any] = QUEUE

    id: int = number()
    class_id: str = words()
    at: datetime = now()


class CalculationFailure(SQLModel, table=True):
    """A class whose calculation failed, to be tried again. `error` names the kind of failure and never a value; `since`
    is the oldest change that is not calculated."""

    __tablename__: ClassVar[str] = "calculation_failure"
    __table_args__: ClassVar[Any] = (CheckConstraint("attempts >= 1", name="attempts"), Index(None, "retry_at"))

    class_id: str = key()
    attempts: int
    error: str = words()
    since: datetime = instant(nullable=False)
    failed_at: datetime = instant(nullable=False)
    retry_at: datetime = instant(nullable=False)


class Job(SQLModel, table=True):
    """Something to be done when its time has come, by whoever is first to claim it."""

    __tablename__: ClassVar[str] = "job"

    name: str = key()
    cron: str | None = words(default=None)
    due_at: datetime = instant(nullable=False)
    ran_at: datetime | None = instant(default=None)
