"""Reads classes and schools by id, and where a class belongs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.facts import ClassFact, SchoolFact
from app.ids import is_storable

CLASSES = text("SELECT id, school_id, title, status, begins, ends, weighted FROM class WHERE id = ANY(:ids)")
SCHOOLS = text(
    "SELECT id, title, time_zone, pass_mark::float8, feedback_hours, active_days, improvement_days, excused_counts "
    "FROM school WHERE id = ANY(:ids)"
)
PLACES = text(
    "SELECT c.id, c.school_id, s.time_zone FROM class c JOIN school s ON s.id = c.school_id WHERE c.id = ANY(:ids)"
)
SCHOOLS_OF_PEOPLE = text("SELECT id, school_id FROM person WHERE id = ANY(:ids)")


class Place(NamedTuple):
    school_id: str
    time_zone: str


@dataclass(frozen=True, slots=True)
class Classes:
    engine: AsyncEngine

    async def get_many(self, ids: Sequence[str]) -> list[ClassFact | None]:
        """In the order asked; None where there is no such class."""
        rows = await self._rows(CLASSES, ids)
        return [ClassFact.model_construct(**rows[id_]) if id_ in rows else None for id_ in ids]

    async def get_schools(self, ids: Sequence[str]) -> list[SchoolFact | None]:
        """In the order asked; None where there is no such school."""
        rows = await self._rows(SCHOOLS, ids)
        return [SchoolFact.model_construct(**rows[id_]) if id_ in rows else None for id_ in ids]

    async def _rows(self, statement: Any, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        async with self.engine.connect() as connection:
            found = await connection.execute(statement, {"ids": list(filter(is_storable, ids))})
            return {row["id"]: dict(row) for row in found.mappings()}


async def get_places(connection: AsyncConnection, class_ids: Sequence[str]) -> dict[str, Place]:
    """Of the classes that exist."""
    rows = await connection.execute(PLACES, {"ids": list(filter(is_storable, class_ids))})
    return {row.id: Place(row.school_id, row.time_zone) for row in rows}


async def get_schools_of_people(connection: AsyncConnection, person_ids: Sequence[str]) -> dict[str, str]:
    """Of the people who exist."""
    rows = await connection.execute(SCHOOLS_OF_PEOPLE, {"ids": list(filter(is_storable, person_ids))})
    return {row.id: row.school_id for row in rows}
