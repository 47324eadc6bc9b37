"""What can be exported: records as they are, and every version they had. Columns are called as in the API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, Text, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncEngine

from app.auth import EVERYTHING
from app.database import transaction
from app.listing import CLASS, JOINED, PERFORMANCE, Filter, conditions
from app.metrics import METRICS
from app.tables import ClassPerformanceHistory

HISTORY: Table = ClassPerformanceHistory.__table__  # type: ignore[attr-defined]
CHUNK = 1_000

Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Column:
    """`kind`: text, whole, number, instant, words (a list of text) or json (as text)."""

    name: str
    kind: str
    source: ColumnElement[Any]


def _metrics(table: Table) -> list[Column]:
    return [Column(m.graphql_name, "whole" if m.whole else "number", table.c[m.name]) for m in METRICS]


def _names(table: Table) -> ColumnElement[Any]:
    """Metrics have their names as values of the API's enum."""
    return cast(func.upper(cast(table.c.pinned_metrics, Text)), ARRAY(Text))


_ID = Column("classId", "text", CLASS.c.id)
_SCHOOL = Column("schoolId", "text", CLASS.c.school_id)

RECORDS = (
    _ID,
    _SCHOOL,
    Column("title", "text", CLASS.c.title),
    Column("status", "text", CLASS.c.status),
    Column("version", "whole", PERFORMANCE.c.version),
    *_metrics(PERFORMANCE),
    Column("pinnedMetrics", "words", _names(PERFORMANCE)),
    Column("explanation", "json", cast(PERFORMANCE.c.explanation, Text)),
    Column("custom", "json", cast(PERFORMANCE.c.custom, Text)),
    Column("lastUpdated", "instant", PERFORMANCE.c.last_updated),
    Column("createdAt", "instant", PERFORMANCE.c.created_at),
    Column("updatedAt", "instant", PERFORMANCE.c.updated_at),
)
# Who reported a value is not told: see the role table of the API.
VERSIONS = (
    _ID,
    _SCHOOL,
    Column("version", "whole", HISTORY.c.version),
    Column("at", "instant", HISTORY.c.at),
    Column("cause", "text", func.upper(HISTORY.c.cause)),
    *_metrics(HISTORY),
    Column("pinnedMetrics", "words", _names(HISTORY)),
)


@dataclass(frozen=True, slots=True)
class Export:
    """Columns, and the statement that gives their rows."""

    columns: tuple[Column, ...]
    statement: Select[Any]

    async def rows(self, engine: AsyncEngine) -> AsyncIterator[Rows]:
        """In chunks, as they were at one moment, however long it takes."""
        async with transaction(engine, unhurried=True) as connection:
            result = await connection.stream(self.statement, execution_options={"yield_per": CHUNK})
            async for chunk in result.partitions():
                yield chunk


def records(filter_: Filter) -> Export:
    """In the order of classes' ids."""
    statement = _select(RECORDS).select_from(JOINED).where(*conditions(EVERYTHING, filter_)).order_by(CLASS.c.id)
    return Export(RECORDS, statement)


def history(filter_: Filter, begins: datetime | None = None, ends: datetime | None = None) -> Export:
    """Of the classes whose records pass the filter now: the versions from `begins` until just before `ends`."""
    statement = (
        _select(VERSIONS)
        .select_from(HISTORY.join(JOINED, PERFORMANCE.c.class_id == HISTORY.c.class_id))
        .where(*conditions(EVERYTHING, filter_))
        .order_by(HISTORY.c.class_id, HISTORY.c.version)
    )
    if begins is not None:
        statement = statement.where(HISTORY.c.at >= begins)
    if ends is not None:
        statement = statement.where(HISTORY.c.at < ends)
    return Export(VERSIONS, statement)


def _select(columns: Sequence[Column]) -> Select[Any]:
    return select(*(column.source.label(column.name) for column in columns))
