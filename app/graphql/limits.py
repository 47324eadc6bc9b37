"""What a document may cost: found before it is validated, for validating takes time that grows with its square.

Everything here takes time that grows with the text, or with MOST_SELECTIONS, however fragments and lists multiply.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain
from typing import NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSyntaxError,
    IntValueNode,
    ListValueNode,
    NullValueNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    StringValueNode,
    TokenKind,
    ValueNode,
)

from app.graphql.scalars import parse_instant
from app.history import MOST_VERSIONS
from app.listing import DEFAULT_SIZE, LARGEST_SIZE

MOST_LEVELS = 20
MOST_SELECTIONS = 10_000
MOST_PAIRS = 10_000
LONGEST = {
    TokenKind.INT: (20, "An integer has more than 20 digits."),
    TokenKind.NAME: (100, "A name has more than 100 characters."),
}
BEYOND_COUNTING = 10**9

# What a field costs by itself where that is more than 1: a page is a statement or two, a class or a school is looked
# up, so are changes, and metadata is large.
OWN_COST = {
    "classPerformanceConnection": 2_000,
    "class": 10,
    "performance": 10,
    "school": 10,
    "staleSince": 10,
    "metadata": 20,
}
# Versions that a school year has at the most, by the interval of `history`.
A_YEAR_IN = {"HOUR": MOST_VERSIONS, "DAY": 366, "WEEK": 53, "MONTH": 12}
# A day of 23 hours is the shortest; how many more there may be than whole ones between two instants, is two.
SHORTEST = {
    "HOUR": timedelta(hours=1),
    "DAY": timedelta(hours=23),
    "WEEK": timedelta(days=6, hours=23),
    "MONTH": timedelta(days=27, hours=23),
}


class TooCostly(GraphQLError):
    """The operation asks for too much."""


def refuse_long_words(document: DocumentNode) -> None:
    """Raises GraphQLSyntaxError. Nothing has a long name or takes a long integer, and to tell of one takes long too."""
    token = document.loc.start_token if document.loc else None
    while token and document.loc:
        longest, message = LONGEST.get(token.kind, (None, ""))
        if longest and token.end - token.start > longest:
            raise GraphQLSyntaxError(document.loc.source, token.start, message)
        token = token.next


def refuse_excess(document: DocumentNode, most_fields: int) -> None:
    """Raises TooCostly; GraphQLError for a fragment within itself, which has no end. It need not be valid otherwise."""
    try:
        sizes = Sizes(document)
        selections = sum(sizes.of(node.selection_set).selections for node in sizes.definitions)
        operations = [sizes.of(node.selection_set) for node in sizes.operations]
    except RecursionError:
        raise TooCostly("The document is nested too deeply.") from None
    fields = max((size.fields for size in operations), default=0)
    levels = max((size.levels for size in operations), default=0)
    if fields > most_fields:
        at_least = "at least " if fields == BEYOND_COUNTING else ""
        raise TooCostly(
            f"The operation could be answered with {at_least}{fields:,} fields, counting lists by their length; "
            f"at most {most_fields:,} are allowed."
        )
    if levels > MOST_LEVELS:
        raise TooCostly(f"The operation is nested {levels} levels deep; at most {MOST_LEVELS} are allowed.")
    if selections > MOST_SELECTIONS:
        raise TooCostly(f"With its fragments opened, the document has more than {MOST_SELECTIONS:,} fields.")
    if any(_is_repetitive(node.selection_set, sizes.fragments) for node in sizes.definitions):
        raise TooCostly("The document names the same fields over and over: name each once, or give it an alias.")


class Size(NamedTuple):
    """`fields`: that an answer may have. `selections`: written, fragments opened. `levels`: of fields within fields."""

    fields: int = 0
    selections: int = 0
    levels: int = 0


class Sizes:
    """Each fragment is measured once: fragments that spread fragments can open to more fields than there are atoms."""

    def __init__(self, document: DocumentNode) -> None:
        self.definitions = [
            node for node in document.definitions if isinstance(node, OperationDefinitionNode | FragmentDefinitionNode)
        ]
        self.operations = [node for node in self.definitions if isinstance(node, OperationDefinitionNode)]
        self.fragments = {n.name.value: n for n in self.definitions if isinstance(n, FragmentDefinitionNode)}
        self._known: dict[str, Size | None] = {}

    def of(self, selection_set: SelectionSetNode | None) -> Size:
        fields = selections = levels = 0
        for selection in selection_set.selections if selection_set else ():
            size = self._of_selection(selection)
            fields += size.fields
            selections += size.selections
            levels = max(levels, size.levels)
        return Size(min(fields, BEYOND_COUNTING), min(selections, BEYOND_COUNTING), levels)

    def _of_selection(self, selection: SelectionNode) -> Size:
        if isinstance(selection, FragmentSpreadNode):
            size = self._of_fragment(selection)
            return size._replace(selections=size.selections + 1)
        inside = self.of(getattr(selection, "selection_set", None))
        if not isinstance(selection, FieldNode):
            return inside
        own = OWN_COST.get(selection.name.value, 1)
        return Size(own + _times(selection) * inside.fields, inside.selections + 1, inside.levels + 1)

    def _of_fragment(self, spread: FragmentSpreadNode) -> Size:
        name = spread.name.value
        if name not in self.fragments:
            return Size()
        if name not in self._known:
            self._known[name] = None
            self._known[name] = self.of(self.fragments[name].selection_set)
        size = self._known[name]
        if size is None:
            raise GraphQLError(f"Fragment '{name}' is spread within itself.", spread)
        return size


def _times(field: FieldNode) -> int:
    """How often what is selected of a field may be answered. Of a connection everything counts for each item."""
    count = LISTS.get(field.name.value)
    if count is None:
        return 1
    return count({a.name.value: a.value for a in field.arguments or () if not isinstance(a.value, NullValueNode)})


def _ids(given: Mapping[str, ValueNode]) -> int:
    ids = given.get("ids") or given.get("classIds")
    return len(ids.values) if isinstance(ids, ListValueNode) else LARGEST_SIZE


def _page(given: Mapping[str, ValueNode]) -> int:
    size = given.get("first") or given.get("last")
    if isinstance(size, IntValueNode):
        return min(int(size.value), LARGEST_SIZE) if size.value.isdigit() else 1
    return LARGEST_SIZE if size else DEFAULT_SIZE


def _versions(given: Mapping[str, ValueNode]) -> int:
    """No more than fit between two instants that are written out."""
    interval = getattr(given.get("interval"), "value", "")
    most = A_YEAR_IN.get(interval, MOST_VERSIONS)
    begins, ends = _instant(given.get("from")), _instant(given.get("to"))
    if begins is None or ends is None or interval not in SHORTEST:
        return most
    return min(most, max(0, (ends - begins) // SHORTEST[interval]) + 2)


def _instant(node: ValueNode | None) -> datetime | None:
    try:
        return parse_instant(node.value) if isinstance(node, StringValueNode) else None
    except GraphQLError:
        return None


LISTS: Mapping[str, Callable[[Mapping[str, ValueNode]], int]] = {
    "classPerformances": _ids,
    "classPerformanceConnection": _page,
    "history": _versions,
    # Of a subscription, as if all its classes were answered at once.
    "classPerformanceUpdated": _ids,
    "classPerformancesUpdated": _ids,
}


def _is_repetitive(selection_set: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode]) -> bool:
    """Whether more than MOST_PAIRS of fields, or of fragments, stand together under one name: each is compared."""
    pairs, left = 0, [[selection_set]]
    while left and pairs <= MOST_PAIRS:
        merged: defaultdict[str, list[SelectionSetNode | None]] = defaultdict(list)
        spread: set[str] = set()
        for field in _opened(left.pop(), fragments, spread):
            merged[field.alias.value if field.alias else field.name.value].append(field.selection_set)
        pairs += sum(n * (n - 1) // 2 for n in (len(spread), *map(len, merged.values())))
        left += [inner for group in merged.values() if (inner := [one for one in group if one])]
    return pairs > MOST_PAIRS


def _opened(
    selection_sets: Sequence[SelectionSetNode], fragments: Mapping[str, FragmentDefinitionNode], spread: set[str]
) -> Iterator[FieldNode]:
    """The fields of selections merged into one, with each fragment opened once; `spread` gathers their names."""
    left = list(chain.from_iterable(one.selections for one in selection_sets))
    while left:
        selection = left.pop()
        if isinstance(selection, FieldNode):
            yield selection
        elif not isinstance(selection, FragmentSpreadNode):
            left += selection.selection_set.selections  # type: ignore[attr-defined]
        elif (name := selection.name.value) not in spread:
            spread.add(name)
            left += fragments[name].selection_set.selections if name in fragments else ()
