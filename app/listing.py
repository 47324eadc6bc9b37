"""Pages of classes: filtered, in any order, by keyset.

A page begins where a class stands in the order, not at a count: a class whose value stays the same is seen exactly
once, whatever changes around it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Float,
    Select,
    Table,
    Text,
    and_,
    any_,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncEngine

from app.auth import Reach
from app.columns import ClassStatus, Role
from app.cursors import CLASS_ID, TITLE, Order, Place, decode, encode
from app.errors import BadInput
from app.facts import Class, Enrollment
from app.ids import is_storable
from app.records import OF_CLASS, OWN, Record
from app.tables import ClassPerformance

DEFAULT_SIZE = 50
LARGEST_SIZE = 100

PERFORMANCE: Table = ClassPerformance.__table__  # type: ignore[attr-defined]
CLASS: Table = Class.__table__  # type: ignore[attr-defined]
ENROLLMENT: Table = Enrollment.__table__  # type: ignore[attr-defined]
JOINED = PERFORMANCE.join(CLASS, CLASS.c.id == PERFORMANCE.c.class_id)

Condition = ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds are inclusive; a null metric is within none."""

    at_least: float | None = None
    at_most: float | None = None
    is_null: bool | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """What is None does not filter; an empty list lets nothing pass. `teacher_id`: who teaches the class now."""

    school_ids: Sequence[str] | None = None
    class_ids: Sequence[str] | None = None
    statuses: Sequence[ClassStatus] | None = None
    teacher_id: str | None = None
    metrics: Mapping[str, Range] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of the list: the first or the last so many, after or before a cursor."""

    first: int | None = None
    after: str | None = None
    last: int | None = None
    before: str | None = None

    @property
    def forward(self) -> bool:
        return self.last is None

    @property
    def size(self) -> int:
        if self.first is not None and self.last is not None:
            raise BadInput("Give first or last, not both.")
        name, size = ("first", self.first) if self.forward else ("last", self.last)
        size = DEFAULT_SIZE if size is None else size
        if not 0 <= size <= LARGEST_SIZE:
            raise BadInput(f"{name} must lie between 0 and {LARGEST_SIZE}.")
        return size


@dataclass(frozen=True, slots=True)
class Item:
    record: Record
    cursor: str


@dataclass(frozen=True, slots=True)
class Page:
    items: list[Item]
    has_next: bool
    has_previous: bool


@dataclass(frozen=True, slots=True)
class Listing:
    engine: AsyncEngine

    async def get_page(self, reach: Reach, filter_: Filter, order: Order, window: Window) -> Page:
        """One statement. Raises BadInput and InvalidCursor."""
        size = window.size
        statement = _page(conditions(reach, filter_), order, window, size)
        async with self.engine.connect() as connection:
            rows = (await connection.execute(statement)).mappings().all()
        items = [_item(order, row) for row in rows if row[CLASS_ID] is not None]
        more = len(items) > size
        items = items[:size] if window.forward else items[:size][::-1]
        has_next = (more and window.forward) or rows[0]["later"]
        has_previous = (more and not window.forward) or rows[0]["earlier"]
        return Page(items, has_next, has_previous)

    async def count(self, reach: Reach, filter_: Filter) -> int:
        statement = select(func.count()).select_from(JOINED).where(*conditions(reach, filter_))
        async with self.engine.connect() as connection:
            return (await connection.execute(statement)).scalar_one()


def _item(order: Order, row: Mapping[str, Any]) -> Item:
    values = {name: row[name] for name in (*OWN, *OF_CLASS)}
    place = Place(None if order.field == CLASS_ID else row[order.field], row[CLASS_ID])
    return Item(Record.from_row(values), encode(order, place))


def _page(conditions: list[Condition], order: Order, window: Window, size: int) -> Select[Any]:
    """The page, one class more to know whether there are more, and whether there are any outside the cursors."""
    after = None if window.after is None else decode(order, window.after)
    before = None if window.before is None else decode(order, window.before)
    page = (
        select(*(PERFORMANCE.c[name] for name in OWN), *(CLASS.c[name] for name in (*OF_CLASS, TITLE)))
        .select_from(JOINED)
        .where(*conditions)
        .order_by(*_ordering(order, _columns(order), forward=window.forward))
        .limit(size + 1)
    )
    if after:
        page = page.where(_beyond(order, after, forward=True))
    if before:
        page = page.where(_beyond(order, before, forward=False))
    outside = select(
        _any(conditions, order, after, forward=False).label("earlier"),
        _any(conditions, order, before, forward=True).label("later"),
    ).subquery()
    found = page.subquery()
    columns = found.c[order.field], found.c[CLASS_ID]
    ordering = _ordering(order, columns, forward=window.forward)
    return select(found, outside).select_from(outside.outerjoin(found, true())).order_by(*ordering)


def _columns(order: Order) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    return (CLASS if order.field == TITLE else PERFORMANCE).c[order.field], PERFORMANCE.c[CLASS_ID]


def _ordering(
    order: Order, columns: tuple[ColumnElement[Any], ColumnElement[Any]], *, forward: bool
) -> list[ColumnElement[Any]]:
    value, class_id = columns
    upward = forward != order.descending
    by_value = value.asc() if upward else value.desc()
    if order.field == CLASS_ID:
        return [by_value]
    by_value = by_value.nulls_last() if forward else by_value.nulls_first()
    return [by_value, class_id.asc() if forward else class_id.desc()]


def _beyond(order: Order, place: Place, *, forward: bool) -> Condition:
    """Stands after the place, or, not forward, before it."""
    column, class_id = _columns(order)
    if order.field == CLASS_ID:
        return class_id > place.class_id if forward != order.descending else class_id < place.class_id
    beside = class_id > place.class_id if forward else class_id < place.class_id
    if place.value is None:
        return and_(column.is_(None), beside) if forward else or_(column.is_not(None), beside)
    farther = column > place.value if forward != order.descending else column < place.value
    found = or_(farther, and_(column == place.value, beside))
    return or_(found, column.is_(None)) if forward else found


def _any(conditions: list[Condition], order: Order, place: Place | None, *, forward: bool) -> ColumnElement[bool]:
    """Whether a class stands at the place or beyond it."""
    if place is None:
        return false()
    column, class_id = _columns(order)
    there = class_id == place.class_id
    if order.field != CLASS_ID:
        there = and_(there, column.is_not_distinct_from(place.value))
    found = or_(_beyond(order, place, forward=forward), there)
    return exists(select(PERFORMANCE.c[CLASS_ID]).select_from(JOINED).where(*conditions, found))


def conditions(reach: Reach, filter_: Filter) -> list[Condition]:
    """What a class of `JOINED` must fulfil."""
    school_id, class_id = CLASS.c.school_id, PERFORMANCE.c[CLASS_ID]
    found = [] if reach.everything else [or_(_in(school_id, reach.schools), _in(class_id, reach.classes))]
    if filter_.school_ids is not None:
        found.append(_in(school_id, filter_.school_ids))
    if filter_.class_ids is not None:
        found.append(_in(class_id, filter_.class_ids))
    if filter_.statuses is not None:
        found.append(_in(CLASS.c.status, filter_.statuses))
    if filter_.teacher_id is not None:
        found.append(_taught_by(filter_.teacher_id))
    for name, range_ in filter_.metrics.items():
        found += _within(PERFORMANCE.c[name], range_)
    return found


def _in(column: ColumnElement[Any], ids: Sequence[str] | frozenset[str]) -> Condition:
    return column == any_(literal([str(id_) for id_ in ids if is_storable(id_)], ARRAY(Text)))


def _taught_by(person_id: str) -> Condition:
    if not is_storable(person_id):
        return false()
    begins, ends, now = ENROLLMENT.c.begins, ENROLLMENT.c.ends, func.statement_timestamp()
    taught = select(ENROLLMENT.c.class_id).where(
        ENROLLMENT.c.person_id == person_id,
        ENROLLMENT.c.role == Role.TEACHER.value,
        or_(begins.is_(None), begins <= now),
        or_(ends.is_(None), ends > now),
    )
    return PERFORMANCE.c[CLASS_ID].in_(taught)


def _within(column: ColumnElement[Any], range_: Range) -> list[Condition]:
    """Compared as floating point: a bound need not fit the column."""
    conditions = []
    if range_.at_least is not None:
        conditions.append(column >= literal(range_.at_least, Float))
    if range_.at_most is not None:
        conditions.append(column <= literal(range_.at_most, Float))
    if range_.is_null is not None:
        conditions.append(column.is_(None) if range_.is_null else column.is_not(None))
    return conditions
