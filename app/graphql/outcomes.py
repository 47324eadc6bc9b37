"""What mutations of metrics give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar, Union

import strawberry

from app.auth import Action
from app.graphql.context import Info
from app.graphql.fields import described, resolved
from app.graphql.permissions import visible
from app.graphql.problems import Problem, ValidationProblem, camel
from app.graphql.scalars import JSON
from app.graphql.types import ClassPerformance
from app.records import Record
from app.reports import CUSTOM
from app.reports import VersionConflict as Conflict

T = TypeVar("T", bound=type)

READABLE = "null, with an error, where the viewer may not read metrics."
NO_LIST = "The list is null, with an error, where the viewer may never read metrics."
AS_LEFT = "The class's metrics as this report left them; a repeated key gives the first result"


async def if_readable(info: Info, record: Record) -> Record | None:
    """Whoever may write need not be one who may read."""
    return visible(record, await info.context.reach(Action.READ))


def with_record(description: str) -> Callable[[T], T]:
    """A record of the class, shown to those who may read it."""

    async def class_performance(root: Any, info: Info) -> Record | None:
        return await if_readable(info, root.record)

    def declare(cls: T) -> T:
        field = resolved(f"{description}; {READABLE}", returns=ClassPerformance | None)(class_performance)
        cls.class_performance = field  # type: ignore[attr-defined]
        return cls

    return declare


@strawberry.type(description="The values are stored, and their metrics pinned.")
@with_record(AS_LEFT)
class UpdateMetricsSuccess:
    record: strawberry.Private[Record]


@strawberry.type(description="The metrics are calculated again.")
@with_record(AS_LEFT)
class UnpinMetricsSuccess:
    record: strawberry.Private[Record]


@strawberry.type(description="The metrics are calculated.")
class RecalculateMetricsSuccess:
    class_ids: strawberry.Private[list[str]]

    @resolved(
        f"The metrics of the classes, in the order asked; null for a class that the viewer may not read. {NO_LIST}",
        returns=list[ClassPerformance | None] | None,
    )
    async def class_performances(self, info: Info) -> list[Record | None]:
        reach = await info.context.reach(Action.READ)
        return [visible(record, reach) for record in await info.context.loaders.records.load_many(self.class_ids)]


@strawberry.type(description="A field that two wanted to set.")
class FieldConflict:
    record: strawberry.Private[Record]
    name: strawberry.Private[str]
    field: str = described("The field, as it is named in the input.")
    reported: JSON | None = described("What the input wanted it to be; null for unpinning.")

    @resolved(f"What it is now; {READABLE}", returns=JSON | None)
    async def current(self, info: Info) -> Any:
        return getattr(await if_readable(info, self.record), self.name, None)


@strawberry.type(description="Somebody reported or unpinned these fields since the version expected; nothing was done.")
@with_record("The class's metrics as they are now")
class VersionConflict(Problem):
    record: strawberry.Private[Record]
    conflicts: list[FieldConflict] = described("The fields, and their values.")


def version_conflict(conflict: Conflict, reported: Mapping[str, Any]) -> VersionConflict:
    record = conflict.record
    conflicts = [
        FieldConflict(record=record, name=name, field=_field(name), reported=reported.get(name))
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
