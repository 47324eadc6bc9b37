"""What may stand in a column: the types that validate, and the constraints that hold whoever writes."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, StringConstraints, ValidationInfo, field_validator
from sqlalchemy import CheckConstraint, DateTime, ForeignKeyConstraint, Numeric, Text, func
from sqlmodel import Field, SQLModel

from app.calendar import time_zones

SQLModel.metadata.naming_convention = {
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "pk": "%(table_name)s_pkey",
}

EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
LARGEST = Decimal(10) ** 9
DECIMAL_PLACES = 20
TEXT_LIMIT = 20_000


def _storable(text: str) -> str:
    """PostgreSQL cannot hold NUL, UTF-8 cannot hold a lone surrogate."""
    if "\0" in text:
        raise ValueError("must not contain a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain half of a surrogate pair") from None
    return text


def _opaque(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must not contain control characters")
    return _storable(text)


def _in_calendar(instant: datetime) -> datetime:
    if not EARLIEST <= instant < LATEST:
        raise ValueError("must lie in the years 1900 to 2199")
    return instant.astimezone(UTC)


def _day_in_calendar(day: date) -> date:
    if not EARLIEST.date() <= day < LATEST.date():
        raise ValueError("must lie in the years 1900 to 2199")
    return day


def _time_zone(name: str) -> str:
    if name not in time_zones():
        raise ValueError("must be an IANA time zone, such as Europe/London")
    return name


def _class_id(name: str) -> str:
    if name.startswith(RECORD_ID_PREFIX):
        raise ValueError(f"must not begin with {RECORD_ID_PREFIX!r}: that is how ids of records begin")
    return name


RECORD_ID_PREFIX = "class-performance:"
Id = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_opaque)]
ClassId = Annotated[Id, AfterValidator(_class_id)]
Title = Annotated[str, StringConstraints(max_length=500), AfterValidator(_storable)]
LongText = Annotated[str, StringConstraints(max_length=TEXT_LIMIT), AfterValidator(_storable)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
Instant = Annotated[AwareDatetime, AfterValidator(_in_calendar)]
Day = Annotated[date, AfterValidator(_day_in_calendar)]


class ClassStatus(StrEnum):
    ACTIVE = "ACTIVE"
    ARCHIVED = "ARCHIVED"


class Role(StrEnum):
    STUDENT = "STUDENT"
    TEACHER = "TEACHER"


class AttendanceStatus(StrEnum):
    PRESENT = "PRESENT"
    ABSENT = "ABSENT"
    LATE = "LATE"
    EXCUSED = "EXCUSED"


def key(**options: Any) -> Any:
    return Field(primary_key=True, sa_type=Text, **options)


def words(**options: Any) -> Any:
    return Field(sa_type=Text, **options)


def instant(**options: Any) -> Any:
    return Field(sa_type=DateTime(timezone=True), **options)


def amount(default: Any = ..., *, most: Decimal = LARGEST, **options: Any) -> Any:
    return Field(default, ge=0, le=most, decimal_places=DECIMAL_PLACES, sa_type=Numeric, **options)  # type: ignore[call-overload]


def recorded() -> Any:
    """The source time. A writer who gives none means now."""
    return instant(default=None, nullable=False, sa_column_kwargs={"server_default": func.clock_timestamp()})


def not_before(first: str, then: str) -> Any:
    """Of a fact with both instants, `then` is not before `first`."""

    def check(instant: datetime | None, info: ValidationInfo) -> datetime | None:
        begins = info.data.get(first)
        if instant is not None and begins is not None and instant < begins:
            raise ValueError(f"must not be before {first}")
        return instant

    return field_validator(then)(check)


def one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def at_least_zero(column: str, *, most: Decimal = LARGEST) -> CheckConstraint:
    """Also keeps out NaN and infinity, which `numeric` would store."""
    return CheckConstraint(f"{column} BETWEEN 0 AND {most}", name=column)


def in_calendar(*columns: str) -> CheckConstraint:
    bounds = f"BETWEEN '{EARLIEST:%Y-%m-%d} 00:00:00+00' AND '{LATEST:%Y-%m-%d} 00:00:00+00'"
    return CheckConstraint(" AND ".join(f"{c} {bounds}" for c in columns), name="calendar")


def refers(*columns: str, to: str) -> ForeignKeyConstraint:
    table, _, targets = to.partition(":")
    return ForeignKeyConstraint(columns, [f"{table}.{target}" for target in targets.split(",")])
