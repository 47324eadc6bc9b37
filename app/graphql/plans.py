"""Compiled reads: a query that only looks up records and takes plain fields of them needs no executor.

What a plan answers is, to the byte, what the executor would (tests/integration/test_plans.py). Whatever it does not
understand it leaves to the executor, errors included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    ListValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
    StringValueNode,
    ValueNode,
    VariableNode,
)

from app.auth import Reach
from app.columns import RECORD_ID_PREFIX
from app.graphql.permissions import visible
from app.graphql.queries import MOST_IDS
from app.graphql.scalars import write_instant
from app.metrics import METRICS
from app.records import Record

ROOT, RECORD = "Query", "ClassPerformance"
# The lookups, and the argument that names what is looked up.
LOOKUPS = {"classPerformance": "classId", "classPerformances": "ids"}

PLAIN = {
    **{metric.graphql_name: metric.name for metric in METRICS},
    **{"classId": "class_id", "version": "version"},
}
WRITTEN: Mapping[str, Callable[[Record], Any]] = {
    "__typename": lambda record: RECORD,
    "id": lambda record: RECORD_ID_PREFIX + record.class_id,
    "pinnedMetrics": lambda record: [name.upper() for name in record.pinned_metrics],
    "lastUpdated": lambda record: write_instant(record.last_updated),
    "createdAt": lambda record: write_instant(record.created_at),
    "updatedAt": lambda record: write_instant(record.updated_at),
    "metadata": lambda record: {"explanation": record.explanation, "custom": record.custom},
}


class NotPlain(Exception):
    """This is for the executor."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What is taken of a record, by response key in the order of the query. `attributes` has something for every key;
    what must be written first is written over it."""

    keys: tuple[str, ...]
    attributes: Callable[[Record], tuple[Any, ...]]
    written: tuple[tuple[str, Callable[[Record], Any]], ...]

    def take(self, record: Record) -> dict[str, Any]:
        taken = dict(zip(self.keys, self.attributes(record), strict=False))
        for key, write in self.written:
            taken[key] = write(record)
        return taken


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
    fragments = {
        definition.name.value: definition
        for definition in document.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }
    try:
        lookups = tuple(_lookup(field, fragments) for field in _fields(operation.selection_set, ROOT, fragments))
    except NotPlain:
        return None
    keys = [lookup.key for lookup in lookups]
    return Plan(lookups) if len(set(keys)) == len(keys) else None


def _fields(
    selection_set: SelectionSetNode | None, parent: str, fragments: Mapping[str, FragmentDefinitionNode]
) -> Iterator[FieldNode]:
    """The fields of a selection, with its fragments opened."""
    for selection in selection_set.selections if selection_set else ():
        if selection.directives:
            raise NotPlain
        if isinstance(selection, FieldNode):
            yield selection
            continue
        fragment = _fragment(selection, fragments)
        if fragment.directives or (fragment.type_condition and fragment.type_condition.name.value != parent):
            raise NotPlain
        yield from _fields(fragment.selection_set, parent, fragments)


def _fragment(
    selection: SelectionNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> InlineFragmentNode | FragmentDefinitionNode:
    if isinstance(selection, FragmentSpreadNode):
        return fragments[selection.name.value]
    assert isinstance(selection, InlineFragmentNode)
    return selection


def _key(field: FieldNode) -> str:
    return field.alias.value if field.alias else field.name.value


def _lookup(field: FieldNode, fragments: Mapping[str, FragmentDefinitionNode]) -> Lookup:
    argument = LOOKUPS.get(field.name.value)
    if argument is None:
        raise NotPlain
    (given,) = field.arguments or ()
    is_list = argument == "ids"
    shape = _shape(_fields(field.selection_set, RECORD, fragments))
    return Lookup(_key(field), is_list, _ids(given.value, is_list), shape)


def _shape(fields: Iterator[FieldNode]) -> Shape:
    named = {_key(field): field.name.value for field in fields}
    if not named.keys() or not set(named.values()) <= PLAIN.keys() | WRITTEN.keys():
        raise NotPlain
    # One attribute more than there are keys: of a single one attrgetter makes no tuple.
    attributes = [PLAIN.get(name, "class_id") for name in named.values()]
    written = tuple((key, WRITTEN[name]) for key, name in named.items() if name in WRITTEN)
    return Shape(tuple(named), attrgetter(*attributes, "class_id"), written)


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
