"""The fields of Query: each asks a loader or the listing, and hides what is out of reach."""

from __future__ import annotations

from typing import Annotated, Any

import strawberry
from strawberry import ID

from app.auth import Action
from app.auth import Viewer as Asker
from app.columns import RECORD_ID_PREFIX
from app.errors import BadInput
from app.facts import ClassFact
from app.graphql.connection import (
    ClassPerformanceConnection,
    ClassPerformanceFilter,
    ClassPerformanceOrder,
    Pages,
)
from app.graphql.context import Info
from app.graphql.fields import argument, resolved
from app.graphql.permissions import Needs, NeedsToken, visible
from app.graphql.types import Class, ClassPerformance, Node, Viewer
from app.listing import Window
from app.records import Record

MOST_IDS = 100


async def load_record(info: Info, class_id: str) -> Record | None:
    record = await info.context.loaders.records.load(class_id)
    return visible(record, await info.context.reach(Action.READ))


async def load_class(info: Info, class_id: str) -> ClassFact | None:
    found = await info.context.loaders.classes.load(class_id)
    reach = await info.context.reach(Action.READ)
    return found if found and reach.covers(found.id, found.school_id) else None


@strawberry.type(description="What can be asked.")
class Query:
    @resolved(
        "The metrics of a class; null if there is no such class, or it is not yours.",
        returns=ClassPerformance | None,
        needs=Needs(Action.READ),
    )
    @staticmethod
    async def class_performance(info: Info, class_id: Annotated[ID, argument("The class's id.")]) -> Record | None:
        return await load_record(info, class_id)

    @resolved(
        "The metrics of several classes, in the order asked; null where there is no such class, or it is not yours.",
        returns=list[ClassPerformance | None],
        needs=Needs(Action.READ),
    )
    @staticmethod
    async def class_performances(
        info: Info, ids: Annotated[list[ID], argument(f"Ids of classes, at most {MOST_IDS}.")]
    ) -> list[Record | None]:
        if len(ids) > MOST_IDS:
            raise BadInput(f"ids may hold at most {MOST_IDS} ids; these are {len(ids)}.")
        records = await info.context.loaders.records.load_many(ids)
        reach = await info.context.reach(Action.READ)
        return [visible(record, reach) for record in records]

    @resolved(
        "The classes that are yours to see, in pages that stay right while classes change.",
        returns=ClassPerformanceConnection,
        needs=Needs(Action.READ),
    )
    @staticmethod
    async def class_performance_connection(
        info: Info,
        first: Annotated[int | None, argument("How many from the start; 50 unless told, at most 100.")] = None,
        after: Annotated[str | None, argument("Only what stands after this cursor.")] = None,
        last: Annotated[int | None, argument("How many from the end, at most 100; not with first.")] = None,
        before: Annotated[str | None, argument("Only what stands before this cursor.")] = None,
        filter_: Annotated[ClassPerformanceFilter | None, argument("Which classes.", name="filter")] = None,
        order_by: Annotated[ClassPerformanceOrder | None, argument("By class id unless told.")] = None,
    ) -> Pages:
        listing, reach = info.context.services.listing, await info.context.reach(Action.READ)
        wanted, order = ClassPerformanceFilter.read(filter_), ClassPerformanceOrder.read(order_by)
        page = await listing.get_page(reach, wanted, order, Window(first, after, last, before))
        return Pages(page, reach, wanted)

    @resolved(
        "A class; null if there is none with this id, or it is not yours.",
        name="class",
        returns=Class | None,
        needs=Needs(Action.READ),
    )
    @staticmethod
    async def class_(info: Info, id: Annotated[ID, argument("The class's id.")]) -> ClassFact | None:
        return await load_class(info, id)

    @resolved(
        "A Class by its id, or a ClassPerformance by `class-performance:` and its class's id.",
        returns=Node | None,
        needs=Needs(Action.READ),
    )
    @staticmethod
    async def node(info: Info, id: Annotated[ID, argument("The node's id.")]) -> Any:
        if id.startswith(RECORD_ID_PREFIX):
            return await load_record(info, id.removeprefix(RECORD_ID_PREFIX))
        return await load_class(info, id)

    @resolved("Whoever holds the token of this request.", returns=Viewer, needs=NeedsToken())
    @staticmethod
    def viewer(info: Info) -> Asker:
        return info.context.viewer
