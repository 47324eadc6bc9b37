"""What an operation may cost, found before it is executed, in time that grows with its text alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
)


def count_fields(document: DocumentNode) -> int:
    """The fields of its largest operation with every fragment opened wherever it is spread. The document must be valid.

    Each fragment is counted once: fragments that spread fragments can open to more fields than there are atoms.
    """
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}

    @cache
    def of_fragment(name: str) -> int:
        return _count(fragments[name].selection_set, of_fragment)

    operations = (node for node in document.definitions if isinstance(node, OperationDefinitionNode))
    return max((_count(node.selection_set, of_fragment) for node in operations), default=0)


def _count(selection_set: SelectionSetNode | None, of_fragment: Callable[[str], int]) -> int:
    return sum(_count_one(selection, of_fragment) for selection in selection_set.selections) if selection_set else 0


def _count_one(selection: SelectionNode, of_fragment: Callable[[str], int]) -> int:
    if isinstance(selection, FragmentSpreadNode):
        return of_fragment(selection.name.value)
    inside: SelectionSetNode | None = getattr(selection, "selection_set", None)
    return isinstance(selection, FieldNode) + _count(inside, of_fragment)
