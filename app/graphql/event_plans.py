"""Compiled events: what a subscription sends of a record is made once for all who ask for the same.

To the byte, it is what the executor would make (tests/integration/live/test_event_plans.py). Where the events begin,
arguments and permissions included, is the executor's in any case.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from graphql import DocumentNode, FieldNode, OperationDefinitionNode, OperationType

from app.graphql.shapes import Fragments, NotPlain, fragments_of, key_of, open_fields, shape_of
from app.records import Record
from app.watching import Update

ROOT, EVENT = "Subscription", "ClassPerformanceEvent"
MOST_BYTES = 16_000_000
MOST_MADE = 5_000  # each holds its record, some 5 kB


@dataclass(frozen=True, slots=True, eq=False)
class EventPlan:
    """`key`: of the one field of the subscription. `parts`: of the event, by response key in the order of the query."""

    key: str
    parts: tuple[tuple[str, Callable[[Update], Any]], ...]

    def answer(self, update: Update) -> dict[str, Any]:
        return {self.key: {key: part(update) for key, part in self.parts}}


class Payloads:
    """What was made last for each plan and class: bounded by number, and by about MOST_BYTES in all."""

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[EventPlan, str], tuple[Record | None, bytes]] = OrderedDict()
        self._bytes = 0

    def make(self, plan: EventPlan, update: Update) -> bytes:
        """One record of a publication comes to everybody as one object: looking whether it is that costs nothing."""
        key = plan, update.class_id
        made = self._made.get(key)
        if made is not None and made[0] is update.record:
            return made[1]
        payload = orjson.dumps({"data": plan.answer(update)})
        self._keep(key, update.record, payload)
        return payload

    def _keep(self, key: tuple[EventPlan, str], record: Record | None, payload: bytes) -> None:
        self._forget(self._made.pop(key, None))
        self._made[key] = record, payload
        self._bytes += len(payload)
        while self._bytes > MOST_BYTES or len(self._made) > MOST_MADE:
            self._forget(self._made.popitem(last=False)[1])

    def _forget(self, made: tuple[Record | None, bytes] | None) -> None:
        self._bytes -= len(made[1]) if made else 0


def compile_event_plan(document: DocumentNode, operation: OperationDefinitionNode) -> EventPlan | None:
    """None for a subscription to more than plain fields of records. The document must be valid."""
    if operation.operation is not OperationType.SUBSCRIPTION or operation.directives:
        return None
    fragments = fragments_of(document)
    try:
        fields = list(open_fields(operation.selection_set, ROOT, fragments))
        return _plan(fields[0], fragments) if len(fields) == 1 else None
    except NotPlain:
        return None


def _plan(root: FieldNode, fragments: Fragments) -> EventPlan:
    fields = list(open_fields(root.selection_set, EVENT, fragments))
    parts = {key_of(field): _part(field, fragments) for field in fields}
    if len(parts) != len(fields):
        raise NotPlain
    return EventPlan(key_of(root), tuple(parts.items()))


def _part(field: FieldNode, fragments: Fragments) -> Callable[[Update], Any]:
    match field.name.value:
        case "classId":
            return lambda update: update.class_id
        case "__typename":
            return lambda _: EVENT
        case "classPerformance":
            take = shape_of(field.selection_set, fragments).take
            return lambda update: take(update.record) if update.record else None
    raise NotPlain
