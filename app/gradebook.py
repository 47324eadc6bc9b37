"""Records facts: the one door to their tables, for mutations and imports alike."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import SQLModel

from app.errors import Problem, Rejected
from app.shelf import KINDS, Shelf, comparing, merging, shelf

__all__ = ["KINDS", "Comparison", "Fault", "Recorded", "Source", "compare", "find_faults", "merge", "record"]

MOST_PROBLEMS = 100
CLOCK_DIFFERENCE = "interval '5 minutes'"
POLICY = ("time_zone", "pass_mark", "feedback_hours", "active_days", "improvement_days", "excused_counts")
REFERENCES = {
    "school_id": "school",
    "class_id": "class",
    "person_id": "person",
    "student_id": "person",
    "category_id": "category",
    "activity_id": "activity",
}
WITHIN_CLASS = ("category", "activity")


@dataclass(slots=True)
class Recorded:
    """`class_ids` are those whose metrics may have changed, sorted; `unchanged` facts were older, equal or repeated."""

    stored: int
    unchanged: int
    class_ids: list[str]


@dataclass(frozen=True, slots=True)
class Source:
    """Where facts wait to be stored: a relation with their columns and `index`, their place in what was handed in."""

    relation: str
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fault:
    """What keeps a fact from being stored: at `index` of what was handed in, in `column`."""

    code: str
    index: int
    column: str
    message: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Facts beside what is stored of their keys: `new`; with another content, `changed` if they are newer and `older`
    if not; or the `same`. `class_ids` are those of the new and the changed, sorted."""

    new: int
    changed: int
    same: int
    older: int
    class_ids: list[str]


async def record(connection: AsyncConnection, kind: str, facts: Sequence[SQLModel]) -> Recorded:
    """Store a batch in the caller's transaction, or raise `Rejected` with a path to each fault and store nothing."""
    if not facts:
        return Recorded(0, 0, [])
    source = _listed(shelf(kind), facts)
    faults, _ = await find_faults(connection, kind, source, most=MOST_PROBLEMS)
    if faults:
        raise Rejected([Problem(fault.code, fault.message, (str(fault.index), fault.column)) for fault in faults])
    stored, class_ids = await merge(connection, kind, source)
    return Recorded(stored, len(facts) - stored, class_ids)


def _listed(here: Shelf, facts: Sequence[SQLModel]) -> Source:
    """Facts without a source time are recorded now, one microsecond after the other: of two the later wins."""
    rows = [fact.model_dump(mode="json") | {"index": index} for index, fact in enumerate(facts)]
    now = "statement_timestamp() + index * interval '1 microsecond'"
    columns = [f"coalesce({c}, {now}) AS {c}" if c in here.times else c for c in here.columns]
    relation = (
        f"(SELECT index, {', '.join(columns)} FROM jsonb_to_recordset(CAST(:facts AS jsonb)) "
        f"AS listed (index bigint, {here.definition}))"
    )
    return Source(relation, {"facts": orjson.dumps(rows).decode()})


async def merge(connection: AsyncConnection, kind: str, source: Source) -> tuple[int, list[str]]:
    """Store facts without faults: how many changed something, and the classes whose metrics that may have changed."""
    before = await _lock_policies(connection, source) if kind == "schools" else {}
    rows = (await connection.execute(text(merging(shelf(kind), source.relation)), source.parameters)).all()
    stored = sum(row.stored for row in rows)
    if kind == "schools":
        after = await _lock_policies(connection, source)
        return stored, await _classes_of(connection, [id for id in after if after[id] != before.get(id)])
    return stored, sorted(row.class_id for row in rows if row.class_id is not None)


async def compare(connection: AsyncConnection, kind: str, source: Source) -> Comparison:
    """What `merge` would do with facts without faults."""
    rows = (await connection.execute(text(comparing(shelf(kind), source.relation)), source.parameters)).all()
    counts = {name: sum(getattr(row, name) for row in rows) for name in ("new", "changed", "same", "older")}
    class_ids = [row.class_id for row in rows if row.class_id is not None and row.new + row.changed]
    return Comparison(**counts, class_ids=sorted(class_ids))


async def _lock_policies(connection: AsyncConnection, source: Source) -> dict[str, tuple[Any, ...]]:
    """Locked, so that the policy seen before is the one replaced."""
    statement = f"""
        SELECT id, {", ".join(POLICY)} FROM school WHERE id IN (SELECT id FROM {source.relation} AS source)
        ORDER BY id FOR NO KEY UPDATE
    """
    rows = await connection.execute(text(statement), source.parameters)
    return {row.id: tuple(row[1:]) for row in rows}


async def _classes_of(connection: AsyncConnection, school_ids: Sequence[str]) -> list[str]:
    statement = text("SELECT id FROM class WHERE school_id = ANY(:school_ids)")
    return sorted((await connection.scalars(statement, {"school_ids": list(school_ids)})).all())


async def find_faults(
    connection: AsyncConnection,
    kind: str,
    source: Source,
    *,
    most: int,
    staged: Mapping[str, str] | None = None,
    unsure: Collection[str] = (),
) -> tuple[list[Fault], int]:
    """The first faults, and how many there are in all.

    `staged`: relations whose rows will be stored before these, by table. `unsure`: tables of which nobody can say what
    they will hold, so that references to them are not looked at.
    """
    parts = _searches(kind, source.relation, staged or {}, unsure)
    statement = f"""
        SELECT code, index, "column", value, count(*) OVER () AS total FROM ({" UNION ALL ".join(parts)}) AS fault
        ORDER BY index, "column" LIMIT {most}
    """
    rows = (await connection.execute(text(statement), source.parameters)).all()
    faults = [Fault(code, index, column, _message(code, value)) for code, index, column, value, _ in rows]
    return faults, rows[0].total if rows else 0


def _searches(kind: str, relation: str, staged: Mapping[str, str], unsure: Collection[str]) -> list[str]:
    here = shelf(kind)
    parts = [_in_future(time, relation) for time in here.times]
    for column, target in REFERENCES.items():
        if column in here.columns and target not in unsure:
            parts.append(_missing(column, target, relation, staged))
    if kind == "schools":
        parts.append(_unknown_zone(relation))
    if kind == "classes":
        parts.append(_moved(relation))
    return parts


def _in_future(time: str, relation: str) -> str:
    return f"""
        SELECT 'RECORDED_IN_FUTURE' AS code, index, '{time}' AS "column", {time}::text AS value
        FROM {relation} AS source WHERE {time} > clock_timestamp() + {CLOCK_DIFFERENCE}
    """


def _missing(column: str, target: str, relation: str, staged: Mapping[str, str]) -> str:
    """Where the class itself is missing, that alone is said."""
    conditions = _absent(target, f"id = source.{column}" + _in_its_class(target), staged)
    if target in WITHIN_CLASS:
        absent_class = _absent("class", "id = source.class_id", staged)
        conditions += f" AND NOT ({absent_class})"
    return f"""
        SELECT '{target.upper()}_NOT_FOUND', index, '{column}', source.{column}
        FROM {relation} AS source WHERE source.{column} IS NOT NULL AND {conditions}
    """


def _in_its_class(target: str) -> str:
    return " AND class_id = source.class_id" if target in WITHIN_CLASS else ""


def _absent(target: str, match: str, staged: Mapping[str, str]) -> str:
    places = [f'"{target}"', *([staged[target]] if target in staged else [])]
    return " AND ".join(f"NOT EXISTS (SELECT FROM {place} WHERE {match})" for place in places)


def _unknown_zone(relation: str) -> str:
    """The database has a list of its own, which may be older than Python's."""
    return f"""
        SELECT 'TIME_ZONE_NOT_FOUND', index, 'time_zone', source.time_zone
        FROM {relation} AS source WHERE source.time_zone NOT IN (SELECT name FROM pg_timezone_names)
    """


def _moved(relation: str) -> str:
    """Two facts that put one new class into two schools are at fault like one that moves a class."""
    return f"""
        SELECT 'SCHOOL_IS_FIXED', source.index, 'school_id', coalesce(class.school_id, other.school_id)
        FROM {relation} AS source
        LEFT JOIN class ON class.id = source.id
        LEFT JOIN (SELECT id, min(school_id) AS school_id FROM {relation} AS listed GROUP BY id) AS other
            ON other.id = source.id
        WHERE source.school_id <> coalesce(class.school_id, other.school_id)
    """


def _message(code: str, value: str) -> str:
    if code == "RECORDED_IN_FUTURE":
        return f"{value} is in the future: a source time is when the fact was recorded."
    if code == "SCHOOL_IS_FIXED":
        return f"The class belongs to school {value!r}, and a class stays in its school."
    thing = code.removesuffix("_NOT_FOUND").lower()
    return f"There is no {thing.replace('_', ' ')} {value!r}" + (" in this class." if thing in WITHIN_CLASS else ".")
