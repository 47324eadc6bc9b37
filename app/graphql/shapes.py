"""What a plain selection takes of a record, without the executor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    SelectionNode,
    SelectionSetNode,
)

from app.columns import RECORD_ID_PREFIX
from app.graphql.scalars import write_instant
from app.metrics import METRICS
from app.records import Record

RECORD = "ClassPerformance"

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


Fragments = Mapping[str, FragmentDefinitionNode]


def fragments_of(document: DocumentNode) -> Fragments:
    return {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}


def open_fields(selection_set: SelectionSetNode | None, parent: str, fragments: Fragments) -> Iterator[FieldNode]:
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
        yield from open_fields(fragment.selection_set, parent, fragments)


def _fragment(selection: SelectionNode, fragments: Fragments) -> InlineFragmentNode | FragmentDefinitionNode:
    if isinstance(selection, FragmentSpreadNode):
        return fragments[selection.name.value]
    assert isinstance(selection, InlineFragmentNode)
    return selection


def key_of(field: FieldNode) -> str:
    return field.alias.value if field.alias else field.name.value


def shape_of(selection_set: SelectionSetNode | None, fragments: Fragments) -> Shape:
    """Of a selection of a record. Raises NotPlain."""
    named = {key_of(field): field.name.value for field in open_fields(selection_set, RECORD, fragments)}
    if not named.keys() or not set(named.values()) <= PLAIN.keys() | WRITTEN.keys():
        raise NotPlain
    # One attribute more than there are keys: of a single one attrgetter makes no tuple.
    attributes = [PLAIN.get(name, "class_id") for name in named.values()]
    written = tuple((key, WRITTEN[name]) for key, name in named.items() if name in WRITTEN)
    return Shape(tuple(named), attrgetter(*attributes, "class_id"), written)
