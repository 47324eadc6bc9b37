"""The connection of classes: what it takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import strawberry
from strawberry import ID, Parent

from app.auth import Reach
from app.columns import ClassStatus
from app.cursors import Order
from app.graphql.context import Info
from app.graphql.enums import Direction, OrderField
from app.graphql.fields import described, resolved
from app.graphql.types import ClassPerformance
from app.listing import Filter, Item, Page, Range
from app.metrics import METRICS
from app.records import Record

T = TypeVar("T", bound=type)


@dataclass(frozen=True, slots=True)
class Pages:
    """A page, and what is needed to count the list it is from."""

    page: Page
    reach: Reach
    filter: Filter


@strawberry.input(
    description="Bounds of a metric, all of which must hold. A metric that is null lies within no bounds."
)
class MetricRange:
    at_least: float | None = described("Not below this.", default=None)
    at_most: float | None = described("Not above this.", default=None)
    is_null: bool | None = described("Only where the metric is null, or only where it is not.", default=None)


def with_ranges(cls: T) -> T:
    for metric in METRICS:
        cls.__annotations__[metric.name] = MetricRange | None
        setattr(cls, metric.name, described(metric.description, default=None))
    return cls


@strawberry.input(description="Which classes; all that is given must hold.")
@with_ranges
class ClassPerformanceFilter:
    school_ids: list[ID] | None = described("Of one of these schools.", default=None)
    class_ids: list[ID] | None = described("One of these classes.", default=None)
    statuses: list[ClassStatus] | None = described("In one of these states.", default=None)
    teacher_id: ID | None = described("Taught now by this person.", default=None)

    @staticmethod
    def read(given: ClassPerformanceFilter | None) -> Filter:
        if given is None:
            return Filter()
        ranges = {metric.name: getattr(given, metric.name) for metric in METRICS}
        return Filter(
            given.school_ids,
            given.class_ids,
            given.statuses,
            given.teacher_id,
            {name: Range(r.at_least, r.at_most, r.is_null) for name, r in ranges.items() if r is not None},
        )


@strawberry.input(
    description="In which order. Null comes last; classes with equal values are in the order of their ids."
)
class ClassPerformanceOrder:
    field: OrderField = described("What to order by.")
    direction: Direction = described("Which end comes first.", default=Direction.ASC)

    @staticmethod
    def read(given: ClassPerformanceOrder | None) -> Order:
        return Order() if given is None else Order(given.field.value, given.direction is Direction.DESC)


@strawberry.type(description="Where a page lies in its list.")
class PageInfo:
    has_next_page: bool = described("Whether classes follow this page.")
    has_previous_page: bool = described("Whether classes precede this page.")
    start_cursor: str | None = described("Cursor of the page's first class; null if it is empty.")
    end_cursor: str | None = described("Cursor of the page's last class; null if it is empty.")


@strawberry.type(description="A class in a page.")
class ClassPerformanceEdge:
    cursor: str = described("Opaque; where the class stands in this order. It holds whatever changes around it.")

    @resolved("The class's metrics.", returns=ClassPerformance)
    @staticmethod
    def node(root: Parent[Item]) -> Record:
        return root.record


@strawberry.type(description="A page of classes.")
class ClassPerformanceConnection:
    @resolved("The classes of the page, with their cursors.", returns=list[ClassPerformanceEdge])
    @staticmethod
    def edges(root: Parent[Pages]) -> list[Item]:
        return root.page.items

    @resolved("The classes of the page.", returns=list[ClassPerformance])
    @staticmethod
    def nodes(root: Parent[Pages]) -> list[Record]:
        return [item.record for item in root.page.items]

    @resolved("Where the page lies in its list.")
    @staticmethod
    def page_info(root: Parent[Pages]) -> PageInfo:
        items = root.page.items
        start, end = (items[0].cursor, items[-1].cursor) if items else (None, None)
        return PageInfo(
            has_next_page=root.page.has_next,
            has_previous_page=root.page.has_previous,
            start_cursor=start,
            end_cursor=end,
        )

    @resolved("How many classes the whole list holds; counted only when asked for.")
    @staticmethod
    async def total_count(root: Parent[Pages], info: Info) -> int:
        return await info.context.services.listing.count(root.reach, root.filter)
