"""Orders of classes, and opaque places in them: what a cursor says, and whether to believe it."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any

import orjson

from app.errors import InvalidCursor
from app.ids import is_storable
from app.metrics import INT_MAX, METRICS

VERSION = 1
LONGEST = 8_192
CLASS_ID, TITLE, LAST_UPDATED = "class_id", "title", "last_updated"
WHOLE = {metric.name: metric.whole for metric in METRICS}

Value = str | int | float | datetime | None


@dataclass(frozen=True, slots=True)
class Order:
    """By a column of the record or TITLE; nulls last in both directions, ties by class id."""

    field: str = CLASS_ID
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a class stands in an order: by its value, then by its id."""

    value: Value
    class_id: str


def encode(order: Order, place: Place) -> str:
    value = place.value.isoformat() if isinstance(place.value, datetime) else place.value
    content = [VERSION, order.field, order.descending, value, place.class_id]
    return base64.urlsafe_b64encode(orjson.dumps(content)).rstrip(b"=").decode()


def decode(order: Order, cursor: str) -> Place:
    """Raises InvalidCursor for anything that `encode` did not give in this order."""
    try:
        version, field, descending, value, class_id = _open(cursor)
        if (type(version), version) != (int, VERSION) or (field, descending) != (order.field, order.descending):
            raise InvalidCursor
        if not (isinstance(class_id, str) and is_storable(class_id)):
            raise InvalidCursor
        return Place(_value(order.field, value), class_id)
    except (ValueError, TypeError):
        raise InvalidCursor from None


def _open(cursor: str) -> Any:
    if len(cursor) > LONGEST:
        raise InvalidCursor
    try:
        return orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except binascii.Error:
        raise InvalidCursor from None


def _value(field: str, value: Any) -> Value:
    """Of the type of its column, and within what PostgreSQL can compare it with."""
    if field == CLASS_ID and value is None:
        return None
    if field == TITLE and isinstance(value, str) and "\0" not in value:
        return value
    if field == LAST_UPDATED and isinstance(value, str):
        instant = datetime.fromisoformat(value)
        if instant.tzinfo is not None:
            return instant
    if field in WHOLE and not WHOLE[field] and (value is None or type(value) in (int, float)):
        return None if value is None else _finite(value)
    if field in WHOLE and WHOLE[field] and type(value) is int and -INT_MAX - 1 <= value <= INT_MAX:
        return int(value)
    raise InvalidCursor


def _finite(value: float) -> float:
    if not isfinite(value):
        raise InvalidCursor
    return float(value)
