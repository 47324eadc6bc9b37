"""Fills a database with a demonstration district, at any size, in a stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.coursework import Coursework
from app.database import driver, transaction
from app.district import Classroom, Plan, Values, class_id, schools_of, student_id, teacher_id
from app.gradebook import record
from app.shelf import ATTEMPTS, shelf

__all__ = ["Plan", "Seeded", "seed"]

PAIRS = 30_000  # of students and activities, in a chunk of classes
PEOPLE = text(
    "INSERT INTO person (id, school_id, recorded_at) "
    "SELECT id, :school, :recorded_at FROM unnest(CAST(:ids AS text[])) AS id ON CONFLICT (id) DO NOTHING"
)

ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtext('class-performance seed'))")

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Seeded:
    """Classes: `made` now, and `kept` as they were because they were there already, of whatever plan."""

    made: int
    kept: int


async def seed(engine: AsyncEngine, plan: Plan, progress: Progress = lambda classes, facts: None) -> Seeded:
    """Store the facts of the classes that are not there yet.

    Each chunk of classes is a transaction, so a run that was stopped goes on where it was. `progress` is told how many
    classes are done and how many facts have been stored.
    """
    async with transaction(engine, unhurried=True) as connection:
        await _store_people(connection, plan)
    made = facts = 0
    chunk = max(1, PAIRS // (plan.students * plan.activities))
    for first in range(1, plan.classes + 1, chunk):
        numbers = range(first, min(first + chunk, plan.classes + 1))
        async with transaction(engine, unhurried=True) as connection:
            await connection.execute(ONE_AT_A_TIME)
            missing = await _missing(connection, numbers)
            facts += await _store_classes(connection, [Classroom(plan, number) for number in missing])
        made += len(missing)
        progress(numbers[-1], facts)
    return Seeded(made, plan.classes - made)


async def _store_people(connection: AsyncConnection, plan: Plan) -> None:
    schools = schools_of(plan)
    await record(connection, "schools", schools)
    for number, school in enumerate(schools):
        students = [student_id(number, n) for n in range(plan.students_of_school)]
        teachers = [teacher_id(number, n) for n in range(plan.teachers_of_school)]
        values = {"school": school.id, "recorded_at": school.recorded_at, "ids": students + teachers}
        await connection.execute(PEOPLE, values)


async def _missing(connection: AsyncConnection, numbers: Sequence[int]) -> list[int]:
    ids = {class_id(number): number for number in numbers}
    found = await connection.scalars(text("SELECT id FROM class WHERE id = ANY(:ids)"), {"ids": list(ids)})
    return sorted(set(numbers) - {ids[id] for id in found})


async def _store_classes(connection: AsyncConnection, rooms: Sequence[Classroom]) -> int:
    works = [Coursework(room) for room in rooms]
    count = await _copy(connection, "classes", [row for room in rooms for row in room.classes()])
    count += await _copy(connection, "enrollments", [row for room in rooms for row in room.enrollments()])
    count += await _copy(connection, "categories", [row for room in rooms for row in room.categories()])
    count += await _copy(connection, "activities", [row for work in works for row in work.activities()])
    count += await _copy(connection, ATTEMPTS, [row for work in works for row in work.attempts()])
    count += await _copy(connection, "excusals", [row for work in works for row in work.excusals()])
    count += await _copy(connection, "attendance", [row for room in rooms for row in room.attendance()])
    count += await _copy(connection, "points_awards", [row for room in rooms for row in room.points_awards()])
    return count


async def _copy(connection: AsyncConnection, kind: str, rows: Sequence[Values]) -> int:
    here = shelf(kind)
    psycopg = await driver(connection)
    statement = f'COPY "{here.table.name}" ({", ".join(here.columns)}) FROM STDIN (FORMAT binary)'
    async with psycopg.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        copy.set_types(here.types)
        for row in rows:
            await copy.write_row(row)
    return len(rows)
