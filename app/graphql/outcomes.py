"""What mutations of metrics give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, Union

import strawberry

from app.auth import Action
from app.graphql.context import Info
from app.graphql.fields import described, resolved
from app.graphql.problems import Problem, ValidationProblem, camel
from app.graphql.scalars import JSON
from app.graphql.types import ClassPerformance
from app.records import Record
from app.reports import CUSTOM
from app.reports import VersionConflict as Conflict

T = TypeVar("T", bound=type)

READABLE = "null with an error where the viewer may not read metrics."


async def if_readable(info: Info, record: Record) -> Record | None:
    """Whoever may write need not be one who may read."""
    reach = await info.context.reach(Action.READ)
    return record if reach.covers(record.class_id, record.school_id) else None


def with_record(cls: T) -> T:
    """The class's record as it is now: shown to those who may read it."""

    async def class_performance(root: Any, info: Info) -> Record | None:
        return await if_readable(info, root.record)

    declare = resolved(f"The class's metrics as they are now; {READABLE}", returns=ClassPerformance | None)
    cls.class_performance = declare(class_performance)  # type: ignore[attr-defined]
    return cls


@strawberry.type(description="The values are stored, and their metrics pinned.")
@with_record
class UpdateMetricsSuccess:
    record: strawberry.Private[Record]


@strawberry.type(description="The metrics are calculated again.")
@with_record
class UnpinMetricsSuccess:
    record: strawberry.Private[Record]


@strawberry.type(description="The metrics are calculated.")
class RecalculateMetricsSuccess:
    class_ids: strawberry.Private[list[str]]

    @resolved(f"The metrics of the classes, in the order asked; {READABLE}", returns=list[ClassPerformance] | None)
    async def class_performances(self, info: Info) -> list[Record]:
        records = await info.context.loaders.records.load_many(self.class_ids)
        return [found for record in records if record and (found := await if_readable(info, record))]


@strawberry.type(description="A field that two wanted to set.")
class FieldConflict:
    field: str = described("The field, as it is named in the input.")
    current: JSON | None = described("What it is now.")
    reported: JSON | None = described("What the input wanted it to be; null for unpinning.")


@strawberry.type(description="Somebody reported or unpinned these fields since the version expected; nothing was done.")
@with_record
class VersionConflict(Problem):
    record: strawberry.Private[Record]
    conflicts: list[FieldConflict] = described("The fields, and their values.")


def version_conflict(conflict: Conflict, reported: Mapping[str, Any]) -> VersionConflict:
    record = conflict.record
    conflicts = [
        FieldConflict(field=_field(name), current=getattr(record, name), reported=reported.get(name))
        for name in conflict.fields
    ]
    return VersionConflict(
        code=conflict.code, message=str(conflict), path=["expectedVersion"], record=record, conflicts=conflicts
    )


def _field(name: str) -> str:
    return "metadata.custom" if name == CUSTOM else camel(name)


UpdateMetricsResult = Annotated[
    Union[UpdateMetricsSuccess, VersionConflict, ValidationProblem],  # noqa: UP007
    strawberry.union("UpdateMetricsResult", description="What came of updateMetrics."),
]
UnpinMetricsResult = Annotated[
    Union[UnpinMetricsSuccess, VersionConflict, ValidationProblem],  # noqa: UP007
    strawberry.union("UnpinMetricsResult", description="What came of unpinMetrics."),
]
RecalculateMetricsResult = Annotated[
    Union[RecalculateMetricsSuccess, ValidationProblem],  # noqa: UP007
    strawberry.union("RecalculateMetricsResult", description="What came of recalculateMetrics."),
]
