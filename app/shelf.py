"""Where each kind of fact is kept, and how one fact replaces another.

A fact replaces what is stored of its key if its source time is newer or, at the same source time, its content greater
(column by column, null least): so the same facts give the same tables, in whatever order they come and however often.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from sqlalchemy import Numeric, Table
from sqlalchemy.dialects import postgresql
from sqlmodel import SQLModel

from app import facts
from app.columns import EARLIEST

SOURCE_TIMES = ("recorded_at", "grade_recorded_at")
ATTEMPTS = "attempts"


class AttemptFact(facts.SubmissionFact, facts.GradeFact):
    """Both halves of a submission, from a source that knows them at once."""


# In an order in which references come first.
KINDS: dict[str, type[SQLModel]] = {
    "schools": facts.SchoolFact,
    "people": facts.PersonFact,
    "classes": facts.ClassFact,
    "enrollments": facts.EnrollmentFact,
    "categories": facts.CategoryFact,
    "activities": facts.ActivityFact,
    "submissions": facts.SubmissionFact,
    "grades": facts.GradeFact,
    "excusals": facts.ExcusalFact,
    "attendance": facts.AttendanceFact,
    "points_awards": facts.PointsAwardFact,
}
TABLES: dict[str, type[SQLModel]] = {
    "schools": facts.School,
    "people": facts.Person,
    "classes": facts.Class,
    "enrollments": facts.Enrollment,
    "categories": facts.Category,
    "activities": facts.Activity,
    "submissions": facts.Submission,
    "grades": facts.Submission,
    "excusals": facts.Excusal,
    "attendance": facts.Attendance,
    "points_awards": facts.PointsAward,
    ATTEMPTS: facts.Submission,
}


@dataclass(frozen=True, slots=True)
class Half:
    """Columns that one source time speaks of. A submission has two such halves, everything else one."""

    time: str
    content: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.content, self.time)


@dataclass(frozen=True, slots=True)
class Shelf:
    """The columns of a table that one kind of fact fills."""

    fact: type[SQLModel]
    table: Table
    key: tuple[str, ...]
    halves: tuple[Half, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.key, *(column for half in self.halves for column in half.columns))

    @property
    def times(self) -> tuple[str, ...]:
        return tuple(half.time for half in self.halves)

    @property
    def class_column(self) -> str | None:
        return "id" if self.table.name == "class" else "class_id" if "class_id" in self.key else None

    @property
    def types(self) -> list[str]:
        dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
        return [self.table.c[column].type.compile(dialect=dialect).lower() for column in self.columns]

    @property
    def definition(self) -> str:
        """The columns with their types, as a temporary table or a record set declares them."""
        return ", ".join(f"{column} {type_}" for column, type_ in zip(self.columns, self.types, strict=True))


@cache
def shelf(kind: str) -> Shelf:
    table: Table = TABLES[kind].__table__  # type: ignore[attr-defined]
    key = tuple(table.primary_key.columns.keys())
    kinds = ("submissions", "grades") if kind == ATTEMPTS else (kind,)
    halves = tuple(_half(KINDS[name], key) for name in kinds)
    return Shelf(AttemptFact if kind == ATTEMPTS else KINDS[kind], table, key, halves)


def _half(fact: type[SQLModel], key: tuple[str, ...]) -> Half:
    names = [name for name in fact.model_fields if name not in key]
    time = next(name for name in names if name in SOURCE_TIMES)
    return Half(time, tuple(name for name in names if name != time))


def merging(here: Shelf, relation: str) -> str:
    """The statement that stores facts from a relation, and gives how many by class.

    Rows are written in the order of their keys, so that two writers never wait for each other in a circle. What would
    change nothing is not written at all: an upsert that updates nothing locks its row even so.
    """
    key = ", ".join(here.key)
    # A half that is absent so far has the earliest source time, so that anything replaces it.
    absent = [time for time in SOURCE_TIMES if time in here.table.c and time not in here.times]
    class_id = f"kept.{here.class_column}" if here.class_column else "NULL::text"
    return f"""
        WITH incoming AS MATERIALIZED (
            SELECT {_newest(here, relation)}
        ), stored AS (
            INSERT INTO "{here.table.name}" AS kept ({", ".join((*here.columns, *absent))})
            SELECT {", ".join((*here.columns, *(f"timestamptz '{EARLIEST.isoformat()}'" for _ in absent)))}
            FROM incoming
            WHERE NOT EXISTS (
                SELECT FROM "{here.table.name}" AS kept WHERE {_same(here)} AND NOT ({_any_newer(here, "incoming")})
            )
            ORDER BY {key}
            ON CONFLICT ({key}) DO UPDATE SET {_replacement(here)} WHERE {_any_newer(here, "excluded")}
            RETURNING {class_id} AS class_id
        )
        SELECT class_id, count(*) AS stored FROM stored GROUP BY class_id
    """


def comparing(here: Shelf, relation: str) -> str:
    """The statement that says, by class, how many facts of a relation are new, changed, the same or older."""
    class_id = f"incoming.{here.class_column}" if here.class_column else "NULL::text"
    match = " AND ".join(f"kept.{column} = incoming.{column}" for column in here.key)
    return f"""
        WITH incoming AS MATERIALIZED (
            SELECT {_newest(here, relation)}
        ), compared AS (
            SELECT {class_id} AS class_id, kept.{here.key[0]} IS NULL AS new,
                   {_any(here, "{newer} AND {differs}")} AS changed,
                   {_any(here, "NOT {newer} AND {differs}")} AS older
            FROM incoming LEFT JOIN "{here.table.name}" AS kept ON {match}
        )
        SELECT class_id, count(*) FILTER (WHERE new) AS new, count(*) FILTER (WHERE NOT new AND changed) AS changed,
               count(*) FILTER (WHERE NOT new AND NOT changed AND older) AS older,
               count(*) FILTER (WHERE NOT new AND NOT changed AND NOT older) AS same
        FROM compared GROUP BY class_id
    """


def _any(here: Shelf, condition: str) -> str:
    """Whether it holds for a half."""
    return " OR ".join(
        condition.format(newer=f"({_newer(here, half, 'incoming')})", differs=f"({_differs(half)})")
        for half in here.halves
    )


def _differs(half: Half) -> str:
    incoming, kept = (", ".join(f"{row}.{column}" for column in half.content) for row in ("incoming", "kept"))
    return f"ROW({incoming}) IS DISTINCT FROM ROW({kept})"


def _newest(here: Shelf, relation: str) -> str:
    """Of each key the newest, half by half."""
    key = ", ".join(here.key)
    halves = []
    for half in here.halves:
        columns = ", ".join(_canonical(here, column) for column in (*here.key, *half.columns))
        order = ", ".join((key, *(f"{column} DESC NULLS LAST" for column in (half.time, *half.content))))
        halves.append(
            f"(SELECT DISTINCT ON ({key}) {columns} FROM {relation} AS source ORDER BY {order}) AS {half.time}_half"
        )
    return f"{', '.join(here.columns)} FROM {halves[0]}" + "".join(f" JOIN {half} USING ({key})" for half in halves[1:])


def _canonical(here: Shelf, column: str) -> str:
    """1.50 is 1.5: equal numbers are to be stored alike, whichever came first."""
    return f"trim_scale({column}) AS {column}" if isinstance(here.table.c[column].type, Numeric) else column


def _same(here: Shelf) -> str:
    return " AND ".join(f"kept.{column} = incoming.{column}" for column in here.key)


def _any_newer(here: Shelf, row: str) -> str:
    return " OR ".join(_newer(here, half, row) for half in here.halves)


def _newer(here: Shelf, half: Half, row: str) -> str:
    return f"{_comparable(here, half, row)} > {_comparable(here, half, 'kept')}"


def _comparable(here: Shelf, half: Half, row: str) -> str:
    """A record compares nulls as greatest; so whether there is a value comes first."""
    nullable = [column for column in half.content if here.table.c[column].nullable]
    values = [f"{row}.{c} IS NOT NULL, {row}.{c}" if c in nullable else f"{row}.{c}" for c in half.content]
    return f"ROW({', '.join((f'{row}.{half.time}', *values))})::record"


def _replacement(here: Shelf) -> str:
    if len(here.halves) == 1:
        return ", ".join(f"{column} = excluded.{column}" for column in here.halves[0].columns)
    return ", ".join(
        f"{column} = CASE WHEN {_newer(here, half, 'excluded')} THEN excluded.{column} ELSE kept.{column} END"
        for half in here.halves
        for column in half.columns
    )
