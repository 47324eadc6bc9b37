"""The enums of the schema, each value described."""

from __future__ import annotations

from enum import Enum
from typing import Any, TypeVar

import strawberry

from app.auth import ViewerRole
from app.columns import AttendanceStatus, ClassStatus, Role
from app.history import Interval
from app.metrics import METRICS

E = TypeVar("E", bound=type[Enum])


def described(enum: E, description: str, /, *, name: str | None = None, **values: str) -> E:
    """Make an enum of the services one of the schema; every value must be described."""
    strawberry.enum(enum, name=name, description=description)
    definition: Any = enum.__strawberry_definition__  # type: ignore[attr-defined]
    for value in definition.values:
        value.description = values.pop(value.name)
    assert not values, values
    return enum


def _of(name: str, **values: str) -> Any:
    """An enum whose values are column names."""
    return Enum(name, {value.upper(): value for value in values})


def _descriptions(**values: str) -> dict[str, str]:
    return {value.upper(): description for value, description in values.items()}


_METRICS = {metric.name: metric.description for metric in METRICS}
_ORDERS = {
    **_METRICS,
    "class_id": "The class's id.",
    "title": "The class's title.",
    "last_updated": "When the record last changed.",
}

Metric: Any = described(_of("Metric", **_METRICS), "A metric of a class.", **_descriptions(**_METRICS))
OrderField: Any = described(
    _of("ClassPerformanceOrderField", **_ORDERS), "What classes are ordered by.", **_descriptions(**_ORDERS)
)
Direction: Any = described(
    _of("OrderDirection", asc="", desc=""),
    "Which end comes first. Null comes last in both.",
    ASC="The least first.",
    DESC="The greatest first.",
)
HistoryCause: Any = described(
    _of("HistoryCause", calculated="", reported="", unpinned=""),
    "What made a version.",
    CALCULATED="A calculation from the facts.",
    REPORTED="Somebody reported values.",
    UNPINNED="Somebody unpinned metrics.",
)
described(
    Interval,
    "A span of time on the school's clock and calendar, of which the last version is taken.",
    name="HistoryInterval",
    HOUR="An hour.",
    DAY="A day, from midnight at the school.",
    WEEK="A week, from Monday.",
    MONTH="A month, from its first day.",
)
described(
    ViewerRole,
    "What a token's holder is, which decides what they may do.",
    name="ViewerRole",
    ADMIN="May do everything.",
    SCHOOL_ADMIN="May do everything in the schools of the token.",
    TEACHER="May see, and record facts of, the classes they teach now.",
    SERVICE="A program; may do what its scopes say, in the schools of the token, or in all if it names none.",
)
described(
    ClassStatus,
    "Whether a class is still running.",
    ACTIVE="Calculated every night too.",
    ARCHIVED="Over; calculated when its facts change.",
)
described(
    Role,
    "What a person is in a class.",
    name="EnrollmentRole",
    STUDENT="Counted in the metrics, unless they teach the class too.",
    TEACHER="May see the class and record its facts.",
)
described(
    AttendanceStatus,
    "Whether a student was there.",
    PRESENT="There in time.",
    ABSENT="Not there.",
    LATE="There, but late; counts as attending.",
    EXCUSED="Not there, with leave; the school's policy says whether it counts.",
)
