"""What guests see of classes. The sources are the services' own objects: a field without a resolver is an attribute."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import strawberry
from graphql import GraphQLResolveInfo
from sqlalchemy import Row
from strawberry import ID, Parent

from app.auth import Viewer as Asker
from app.auth import ViewerRole
from app.columns import RECORD_ID_PREFIX, ClassStatus
from app.facts import ClassFact, SchoolFact
from app.graphql.context import Info
from app.graphql.enums import HistoryCause, Metric
from app.graphql.fields import argument, described, resolved, with_metrics
from app.graphql.scalars import JSON
from app.history import MOST_VERSIONS, Interval, Span
from app.records import Record


@strawberry.interface(description="A class, or a record of one.")
class Node:
    id: ID = described("Opaque; unique among all nodes.")


@strawberry.type(description="A school, and the policy its metrics follow.")
class School:
    id: ID = described("The id its school system gave it.")
    title: str = described("What it is called.")
    time_zone: str = described("IANA time zone, such as Europe/London. Days are this zone's.")
    pass_mark: float = described("The grade, in percent, from which a student passes.")
    feedback_hours: int = described("Hours within which grading is promised.")
    active_days: int = described("Days of 24 hours within which a student must do something to count as active.")
    improvement_days: int = described("Days of 24 hours in each of the two windows of gradeImprovement.")
    excused_counts: bool = described("Whether excused absences count in the denominator of attendanceRate.")


@strawberry.type(description="A class of a school.")
class Class(Node):
    id: ID = described("The id its school system gave it.")
    title: str = described("What it is called.")
    status: ClassStatus = described("Whether it is still running.")
    begins: datetime | None = described("When it begins; null is unbounded.")
    ends: datetime | None = described("When it ends; null is unbounded.")
    weighted: bool = described("Whether categories weight the grade.")

    @classmethod
    def is_type_of(cls, source: object, _: GraphQLResolveInfo[Any]) -> bool:
        return isinstance(source, ClassFact)

    @resolved("The school it belongs to.", returns=School)
    @staticmethod
    async def school(root: Parent[ClassFact], info: Info) -> SchoolFact | None:
        return await info.context.loaders.schools.load(root.school_id)

    @resolved(
        "Its metrics; null until they are first calculated.",
        returns=Annotated["ClassPerformance", strawberry.lazy("app.graphql.types")] | None,
    )
    @staticmethod
    async def performance(root: Parent[ClassFact], info: Info) -> Record | None:
        return await info.context.loaders.records.load(root.id)


@with_metrics
class _Version:
    version: int = described("The version of the record.")
    at: datetime = described("When it became so.")
    cause: HistoryCause = described("What made it so.")
    pinned_metrics: list[Metric] = described("Metrics that held reported values then.")


ClassPerformanceVersion = strawberry.type(
    _Version, name="ClassPerformanceVersion", description="What the metrics of a class were at one version."
)


def _record_id(root: Parent[Record]) -> ID:
    return ID(RECORD_ID_PREFIX + root.class_id)


@strawberry.type(description="All the metrics of one class, kept right as facts change.")
@with_metrics
class ClassPerformance(Node):
    id: ID = described("`class-performance:` and the class's id.", resolver=_record_id)
    class_id: ID = described("The class's id.")
    version: int = described("Rises by one whenever anything here changes.")
    pinned_metrics: list[Metric] = described("Metrics that hold reported values, which calculation leaves alone.")
    last_updated: datetime = described("When the calculation or report was made that last raised the version.")
    created_at: datetime = described("When the record was made.")
    updated_at: datetime = described("When the record was last written.")

    @classmethod
    def is_type_of(cls, source: object, _: GraphQLResolveInfo[Any]) -> bool:
        return isinstance(source, Record)

    @resolved(
        "An object. `explanation`: numerator and denominator of every rate, the students counted, the policy used. "
        "`custom`: an object that an integrator attached, null if none."
    )
    @staticmethod
    def metadata(root: Parent[Record]) -> JSON:
        return JSON({"explanation": root.explanation, "custom": root.custom})

    @resolved(
        "When the oldest change was made that is not calculated yet, by facts, settings or the time; null if there is "
        "none. Asked of the database, not of the cache."
    )
    @staticmethod
    async def stale_since(root: Parent[Record], info: Info) -> datetime | None:
        return await info.context.loaders.stale_since.load(root.class_id)

    @resolved("The class.", returns=Class, name="class")
    @staticmethod
    async def class_(root: Parent[Record], info: Info) -> ClassFact | None:
        return await info.context.loaders.classes.load(root.class_id)

    @resolved(
        "What the metrics were, oldest first: every version, or the last of each interval. "
        f"Of more than {MOST_VERSIONS:,} the newest.",
        returns=list[ClassPerformanceVersion],  # type: ignore[valid-type]
    )
    @staticmethod
    async def history(
        root: Parent[Record],
        info: Info,
        from_: Annotated[datetime | None, argument("From this instant on.", name="from")] = None,
        to: Annotated[datetime | None, argument("Until just before this instant.")] = None,
        interval: Annotated[Interval | None, argument("Take the last version of each.")] = None,
    ) -> list[Row[Any]]:
        return await info.context.loaders.histories.load(Span(root.class_id, from_, to, interval))


@strawberry.type(description="Whoever holds the token of this request.")
class Viewer:
    id: ID = described("The token's subject; of a teacher, the person's id.")
    role: ViewerRole = described("What they are, which decides what they may do.")
    expires_at: datetime = described("When the token expires.")

    @resolved("Ids of the schools the token names; null if it names none.")
    @staticmethod
    def schools(root: Parent[Asker]) -> list[ID] | None:
        return None if root.schools is None else [ID(school) for school in sorted(root.schools)]

    @resolved("What the token of a service allows.")
    @staticmethod
    def scopes(root: Parent[Asker]) -> list[str]:
        return sorted(root.scopes)
