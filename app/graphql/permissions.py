"""The doorman's desk: no field of Query, Mutation or Subscription without a permission."""

from __future__ import annotations

from typing import Any

from strawberry.extensions import FieldExtension
from strawberry.extensions.field_extension import AsyncExtensionResolver, SyncExtensionResolver

from app.auth import Action, Reach
from app.records import Record


def visible(record: Record | None, reach: Reach) -> Record | None:
    """None also for a class out of reach, so that it looks as if it did not exist."""
    return record if record and reach.covers(record.class_id, record.school_id) else None


class Needs(FieldExtension):
    """Refuses those who may never do this. Which classes they may do it to, the resolver asks `context.reach`."""

    def __init__(self, action: Action) -> None:
        self.action = action

    async def resolve_async(self, next_: AsyncExtensionResolver, source: Any, info: Any, **kwargs: Any) -> Any:
        await info.context.reach(self.action)
        return await next_(source, info, **kwargs)


class NeedsToken(FieldExtension):
    """For whoever holds a valid token: nobody else comes this far."""

    def resolve(self, next_: SyncExtensionResolver, source: Any, info: Any, **kwargs: Any) -> Any:
        return next_(source, info, **kwargs)
