"""The fields of Subscription: each checks what it is asked, and opens a view of classes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Annotated

import strawberry
from strawberry import ID, Parent

from app.auth import Action
from app.errors import BadInput
from app.graphql.context import Info
from app.graphql.fields import argument, described, resolved, streamed
from app.graphql.permissions import Needs, visible
from app.graphql.queries import MOST_IDS
from app.graphql.types import ClassPerformance
from app.records import Record
from app.watching import Update

MOST_KNOWN = 10_000


@strawberry.input(description="A version of a class's record that the client has.")
class KnownVersion:
    class_id: ID = described("The class's id.")
    version: int = described("The version of its record.")


@strawberry.type(description="The newest of a class.")
class ClassPerformanceEvent:
    class_id: ID = described("The class's id.")

    @resolved(
        "Its metrics; null if there is no such class any more, or it is not yours.",
        returns=ClassPerformance | None,
    )
    @staticmethod
    async def class_performance(root: Parent[Update], info: Info) -> Record | None:
        return visible(root.record, await info.context.reach(Action.READ)) if root.record else None


@strawberry.type(
    description="What can be followed. Of each class the versions increase and may skip; the newest always arrives."
)
class Subscription:
    @streamed(
        "The metrics of classes: first as they are, then whenever they change.",
        returns=ClassPerformanceEvent,
        needs=Needs(Action.READ),
    )
    @staticmethod
    async def class_performance_updated(
        info: Info,
        class_ids: Annotated[list[ID], argument(f"Ids of classes, at most {MOST_IDS}.")],
        known: Annotated[
            list[KnownVersion] | None, argument("What the client has: of these classes only what is newer is sent.")
        ] = None,
    ) -> AsyncGenerator[Update, None]:
        if not 1 <= len(class_ids) <= MOST_IDS:
            raise BadInput(f"classIds may hold 1 to {MOST_IDS} ids; these are {len(class_ids)}.")
        views = info.context.services.views
        return views.watch(info.context.viewer, class_ids, _versions(known, MOST_IDS))

    @streamed(
        "The metrics of all classes that are yours, whichever they are at the time: for a dashboard that shows many.",
        returns=ClassPerformanceEvent,
        needs=Needs(Action.READ),
    )
    @staticmethod
    async def class_performances_updated(
        info: Info,
        school_id: Annotated[ID | None, argument("Only classes of this school.")] = None,
        known: Annotated[
            list[KnownVersion] | None, argument("What the client has: of these classes only what is newer is sent.")
        ] = None,
        snapshot: Annotated[
            bool,
            argument(
                "Send every class first. Otherwise only what is newer than `known`, and what changes from now on."
            ),
        ] = True,
    ) -> AsyncGenerator[Update, None]:
        views = info.context.services.views
        return views.follow(info.context.viewer, school_id, _versions(known, MOST_KNOWN), snapshot=snapshot)


def _versions(known: Sequence[KnownVersion] | None, most: int) -> dict[str, int]:
    if known and len(known) > most:
        raise BadInput(f"known may hold at most {most:,} versions; these are {len(known):,}.")
    return {each.class_id: each.version for each in known or ()}
