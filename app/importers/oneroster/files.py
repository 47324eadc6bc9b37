"""What is read of each file of a package: the columns, in the standard's own words, and what may stand in them.

The rest, the names of people above all, is passed over where it is read and never kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, AwareDatetime
from sqlalchemy import Column, Date, DateTime, MetaData, Numeric, Table, Text
from sqlmodel import SQLModel

from app.columns import ClassId, Id, Instant, LongText, Title, amount, not_before
from app.shelf import Half, Shelf

KEY, MODIFIED, STATUS = "sourcedId", "dateLastModified", "status"
OWN_WORDS = "ext:"
FIRST_DAY, LAST_DAY = date(1900, 1, 2), date(2199, 12, 30)
TYPES = {AwareDatetime: DateTime(timezone=True), date: Date(), Decimal: Numeric()}


class Status(StrEnum):
    ACTIVE = "active"
    TO_BE_DELETED = "tobedeleted"


class ScoreStatus(StrEnum):
    EXEMPT = "exempt"
    FULLY_GRADED = "fully graded"
    NOT_SUBMITTED = "not submitted"
    PARTIALLY_GRADED = "partially graded"
    SUBMITTED = "submitted"


def _day(day: date) -> date:
    """A day whose beginning and end are instants that can be stored, in any time zone."""
    if not FIRST_DAY <= day <= LAST_DAY:
        raise ValueError("must lie in the years 1900 to 2199")
    return day


def _one_of(*words: str) -> AfterValidator:
    """A word of the standard, in capitals or not, or one of the sender's own."""

    def check(word: str) -> str:
        word = word.strip().lower()
        if word not in words and not word.startswith(OWN_WORDS):
            raise ValueError(f"must be one of {', '.join(words)}")
        return word

    return AfterValidator(check)


Day = Annotated[date, AfterValidator(_day)]
OrgType = Annotated[str, _one_of("school", "department", "district", "local", "state", "national")]
Role = Annotated[
    str,
    _one_of(
        *("student", "teacher", "administrator", "aide", "counselor", "districtadministrator", "guardian", "parent"),
        *("principal", "proctor", "relative", "siteadministrator", "systemadministrator"),
    ),
]


class Row(SQLModel):
    """Lists of ids stay as they are written, with commas."""

    sourcedId: Id
    status: Status | None = None
    dateLastModified: Instant


class Org(Row):
    name: Title
    type: OrgType


class AcademicSession(Row):
    startDate: Day
    endDate: Day

    _period = not_before("startDate", "endDate")


class Class(Row):
    sourcedId: ClassId
    title: Title
    schoolSourcedId: Id
    termSourcedIds: LongText


class User(Row):
    role: Role | None = None
    orgSourcedIds: LongText | None = None
    primaryOrgSourcedId: Id | None = None


class UserOfFirst(User):
    """Of 1.1, where the roles of a user are not a file of their own."""

    role: Role
    orgSourcedIds: LongText


class UserRole(Row):
    userSourcedId: Id
    roleType: Title | None = None
    role: Role
    orgSourcedId: Id


class Enrollment(Row):
    classSourcedId: Id
    userSourcedId: Id
    role: Role
    beginDate: Day | None = None
    endDate: Day | None = None

    _period = not_before("beginDate", "endDate")


class Category(Row):
    title: Title
    weight: Decimal | None = amount(None)


class LineItem(Row):
    title: Title
    assignDate: Day
    dueDate: Day
    classSourcedId: Id
    categorySourcedId: Id | None = None
    resultValueMax: Decimal | None = amount(None)


class Result(Row):
    lineItemSourcedId: Id
    studentSourcedId: Id
    scoreStatus: ScoreStatus
    scoreDate: Day
    score: Decimal | None = amount(None)
    comment: LongText | None = None


class Removal(Row):
    """What must be understood of a row that takes a record away, and is enough for it."""


class RemovedRole(Removal):
    userSourcedId: Id


class RemovedEnrollment(Removal):
    classSourcedId: Id


class RemovedResult(Removal):
    lineItemSourcedId: Id
    studentSourcedId: Id


@dataclass(frozen=True, slots=True)
class File:
    """A file of the package, by its name without the ending, and what its rows hold. `unread`: columns of the other
    version."""

    name: str
    shelf: Shelf
    removal: Shelf
    unread: frozenset[str] = frozenset()

    @property
    def table(self) -> str:
        return f"oneroster_{self.name.lower()}"

    @property
    def csv(self) -> str:
        return f"{self.name}.csv"

    def columns(self, *, delta: bool) -> dict[str, bool]:
        """Those that are read, and whether they must be there."""
        fields = self.shelf.fact.model_fields
        required = {name: fields[name].is_required() for name in self.shelf.columns if name not in self.unread}
        return required | {STATUS: delta, MODIFIED: delta}


def files_of(version: str) -> dict[str, File]:
    """In an order in which references come first."""
    files = (
        _file("orgs", Org),
        _file("academicSessions", AcademicSession),
        _file("classes", Class),
        _users(version),
        _file("roles", UserRole, RemovedRole),
        _file("enrollments", Enrollment, RemovedEnrollment),
        _file("categories", Category),
        _file("lineItems", LineItem),
        _file("results", Result, RemovedResult),
    )
    return {file.name: file for file in files}


def _users(version: str) -> File:
    if version == "1.1":
        return replace(_file("users", UserOfFirst), unread=frozenset({"primaryOrgSourcedId"}))
    return replace(_file("users", User), unread=frozenset({"role", "orgSourcedIds"}))


def _file(name: str, model: type[Row], removal: type[Removal] = Removal) -> File:
    return File(name, _shelf(model), _shelf(removal))


def _shelf(model: type[Row]) -> Shelf:
    content = tuple(name for name in model.model_fields if name not in (KEY, MODIFIED))
    columns = (Column(name, _type(field.annotation)) for name, field in model.model_fields.items())
    return Shelf(model, Table(model.__name__, MetaData(), *columns), (KEY,), (Half(MODIFIED, content),))


def _type(annotation: Any) -> Any:
    kinds = list(_kinds(annotation))
    return next((type_ for kind, type_ in TYPES.items() if kind in kinds), Text())


def _kinds(annotation: Any) -> Iterator[Any]:
    """An annotation, and all that it is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)
