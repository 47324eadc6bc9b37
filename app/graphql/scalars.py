"""DateTime, Date and JSON: what they accept, and how they are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from math import isfinite
from typing import Any, NewType

import strawberry
from graphql import GraphQLError, ValueNode
from graphql.language import (
    BooleanValueNode,
    FloatValueNode,
    IntValueNode,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    StringValueNode,
    VariableNode,
)
from strawberry.types.scalar import ScalarDefinition

JSON = NewType("JSON", object)

DEEPEST_JSON = 32
LARGEST_INTEGER = 2**63 - 1
INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def parse_instant(value: object) -> datetime:
    if isinstance(value, str) and len(value) <= 35 and INSTANT.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper())
        except ValueError:
            pass
    raise GraphQLError("DateTime must be ISO 8601 with an offset, such as 2026-03-01T08:30:00Z.")


def write_instant(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_day(value: object) -> date:
    if isinstance(value, str) and DAY.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise GraphQLError("Date must be ISO 8601, such as 2026-03-01.")


def parse_json(value: object) -> object:
    """What JSON holds and PostgreSQL can store: no infinity, no integer beyond 64 bits, not nested without end."""
    level = [value]
    for _ in range(DEEPEST_JSON):
        level = [inner for item in level for inner in _inside(item)]
        if not level:
            return value
    raise GraphQLError(f"JSON must not be nested more than {DEEPEST_JSON} deep.")


def _inside(item: object) -> list[Any]:
    if isinstance(item, dict):
        return [*item.keys(), *item.values()]
    if isinstance(item, list):
        return item
    if isinstance(item, float) and not isfinite(item):
        raise GraphQLError("JSON must not hold an infinite number.")
    if isinstance(item, int) and abs(item) > LARGEST_INTEGER:
        raise GraphQLError("JSON must not hold an integer of more than 64 bits.")
    if isinstance(item, str) and "\0" in item:
        raise GraphQLError("JSON must not hold a NUL character.")
    return []


def parse_json_literal(node: ValueNode, variables: Mapping[str, Any] | None = None) -> object:
    return parse_json(_literal(node, variables or {}))


def _literal(node: ValueNode, variables: Mapping[str, Any]) -> object:
    match node:
        case StringValueNode() | BooleanValueNode():
            return node.value
        case IntValueNode():
            return int(node.value) if len(node.value) <= 20 else LARGEST_INTEGER + 1
        case FloatValueNode():
            return float(node.value)
        case ListValueNode():
            return [_literal(item, variables) for item in node.values]
        case ObjectValueNode():
            return {field.name.value: _literal(field.value, variables) for field in node.fields}
        case VariableNode():
            return variables.get(node.name.value)
        case NullValueNode():
            return None
    raise GraphQLError("JSON cannot hold an enum value.", node)


def _as_it_is(value: Any) -> Any:
    return value


SCALARS: Mapping[object, ScalarDefinition] = {
    datetime: strawberry.scalar(
        name="DateTime",
        description="An instant, ISO 8601 with an offset; written in UTC to the millisecond: 2026-03-01T08:30:00.000Z.",
        specified_by_url="https://scalars.graphql.org/andimarek/date-time.html",
        serialize=write_instant,
        parse_value=parse_instant,
    ),
    date: strawberry.scalar(
        name="Date",
        description="A calendar date, ISO 8601: 2026-03-01.",
        specified_by_url="https://scalars.graphql.org/andimarek/local-date.html",
        serialize=date.isoformat,
        parse_value=parse_day,
    ),
    JSON: strawberry.scalar(
        name="JSON",
        description=f"Any JSON value, at most {DEEPEST_JSON} levels deep.",
        specified_by_url="https://datatracker.ietf.org/doc/html/rfc8259",
        serialize=_as_it_is,
        parse_value=parse_json,
        parse_literal=parse_json_literal,
    ),
}
