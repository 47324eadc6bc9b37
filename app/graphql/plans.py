"""Compiled reads: a query that only looks up records and takes plain fields of them needs no executor.

What a plan answers is, to the byte, what the executor would (tests/integration/test_plans.py). Whatever it does not
understand it leaves to the executor, errors included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    ListValueNode,
    OperationDefinitionNode,
    OperationType,
    StringValueNode,
    ValueNode,
    VariableNode,
)

from app.auth import Reach
from app.graphql.permissions import visible
from app.graphql.queries import MOST_IDS
from app.graphql.shapes import Fragments, NotPlain, Shape, fragments_of, key_of, open_fields, shape_of
from app.records import Record

ROOT = "Query"
# The lookups, and the argument that names what is looked up.
LOOKUPS = {"classPerformance": "classId", "classPerformances": "ids"}


@dataclass(frozen=True, slots=True)
class Lookup:
    """One field of the query. `ids` gives, from the variables, the ids that are asked for."""

    key: str
    is_list: bool
    ids: Callable[[Mapping[str, Any]], list[str]]
    shape: Shape


@dataclass(frozen=True, slots=True)
class Plan:
    lookups: tuple[Lookup, ...]

    def ids(self, variables: Mapping[str, Any]) -> list[list[str]]:
        """For each lookup. Raises NotPlain where the executor would complain or coerce."""
        return [lookup.ids(variables) for lookup in self.lookups]

    def answer(
        self, ids: Sequence[Sequence[str]], records: Mapping[str, Record | None], reach: Reach
    ) -> dict[str, Any]:
        """The data: null where there is no such class, or it is out of reach."""
        shown = {class_id: visible(record, reach) for class_id, record in records.items()}
        data: dict[str, Any] = {}
        for lookup, asked in zip(self.lookups, ids, strict=True):
            take = lookup.shape.take
            taken = [take(record) if (record := shown[class_id]) else None for class_id in asked]
            data[lookup.key] = taken if lookup.is_list else taken[0]
        return data


def compile_plan(document: DocumentNode, operation: OperationDefinitionNode) -> Plan | None:
    """None for an operation that is more than lookups of plain fields. The document must be valid."""
    if operation.operation is not OperationType.QUERY or operation.directives:
        return None
    if any(variable.default_value or variable.directives for variable in operation.variable_definitions or ()):
        return None
    fragments = fragments_of(document)
    try:
        lookups = tuple(_lookup(field, fragments) for field in open_fields(operation.selection_set, ROOT, fragments))
    except NotPlain:
        return None
    keys = [lookup.key for lookup in lookups]
    return Plan(lookups) if len(set(keys)) == len(keys) else None


def _lookup(field: FieldNode, fragments: Fragments) -> Lookup:
    argument = LOOKUPS.get(field.name.value)
    if argument is None:
        raise NotPlain
    (given,) = field.arguments or ()
    is_list = argument == "ids"
    shape = shape_of(field.selection_set, fragments)
    return Lookup(key_of(field), is_list, _ids(given.value, is_list), shape)


def _ids(value: ValueNode, is_list: bool) -> Callable[[Mapping[str, Any]], list[str]]:
    if isinstance(value, VariableNode):
        name = value.name.value
        return (
            (lambda variables: _many(variables.get(name))) if is_list else lambda variables: [_one(variables.get(name))]
        )
    nodes = value.values if isinstance(value, ListValueNode) else [value]
    ids = _many([node.value for node in nodes if isinstance(node, StringValueNode)])
    if len(ids) != len(nodes):
        raise NotPlain
    return lambda _: ids


def _one(value: object) -> str:
    if not isinstance(value, str):
        raise NotPlain
    return value


def _many(value: object) -> list[str]:
    if not isinstance(value, list) or len(value) > MOST_IDS:
        raise NotPlain
    return [_one(item) for item in value]
