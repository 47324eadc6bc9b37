"""Takes facts from a viewer: checked, within reach, stored in one transaction, or not at all. Metrics follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlmodel import SQLModel

from app import changes, gradebook
from app.auth import Reach
from app.calendar import start_of_day
from app.classes import Place, get_places, get_schools_of_people
from app.columns import EARLIEST, LATEST
from app.database import transaction
from app.errors import Problem, Rejected
from app.gradebook import Recorded
from app.performance import Performance, recalculate_many

MOST_ITEMS = 5_000
MOST_PROBLEMS = 100
DUE_ON = "due_on"

# Whose id is free is first come, first served: of two schools that record one new id, the later must see the earlier's.
CLAIMED = ("people", "classes")
CLAIM = text("SELECT pg_advisory_xact_lock(hashtext('class-performance ' || :kind))")

Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Recording:
    engine: AsyncEngine
    performance: Performance

    async def record(self, reach: Reach, kind: str, items: Sequence[Item]) -> Recorded:
        """Raises Rejected with every problem found, each with the path (index, column)."""
        if not 1 <= len(items) <= MOST_ITEMS:
            raise Rejected([Problem("INVALID_VALUE", f"Give 1 to {MOST_ITEMS:,} items; these are {len(items):,}.")])
        async with transaction(self.engine) as connection:
            if kind in CLAIMED:
                await connection.execute(CLAIM, {"kind": kind})
            facts = await _check(connection, reach, kind, items)
            recorded = await gradebook.record(connection, kind, facts)
        await self.performance.wake()
        return recorded

    async def recalculate(self, class_ids: Sequence[str]) -> None:
        async with transaction(self.engine) as connection:
            changed = await recalculate_many(connection, class_ids)
        await self.performance.publish(changed)

    async def request_recalculation(self, class_ids: Sequence[str]) -> None:
        """By a worker, soon."""
        async with transaction(self.engine) as connection:
            await changes.mark(connection, class_ids)
        await self.performance.wake()


async def _check(connection: AsyncConnection, reach: Reach, kind: str, items: Sequence[Item]) -> list[SQLModel]:
    places = await get_places(connection, _named(items, "id" if kind == "classes" else "class_id"))
    if kind != "classes":
        # Nothing that is said of an item may depend on a class that the viewer may not know.
        places = {class_id: place for class_id, place in places.items() if reach.covers(class_id, place.school_id)}
    homes = await get_schools_of_people(connection, _named(items, "id")) if kind == "people" else {}
    facts: list[SQLModel] = []
    problems: list[Problem] = []
    for index, item in enumerate(items):
        found = [*_out_of_reach(reach, kind, item, places, homes)]
        try:
            facts.append(gradebook.KINDS[kind].model_validate(_with_due_at(item, places)))
        except ValidationError as error:
            found += _invalid(error)
        except Rejected as rejected:
            found += rejected.problems
        problems += [Problem(p.code, p.message, (str(index), *p.path)) for p in found]
        if len(problems) >= MOST_PROBLEMS:
            break
    if problems:
        raise Rejected(problems[:MOST_PROBLEMS])
    return facts


def _named(items: Sequence[Item], column: str) -> list[str]:
    return sorted({item[column] for item in items if column in item})


def _out_of_reach(
    reach: Reach, kind: str, item: Item, places: Mapping[str, Place], homes: Mapping[str, str]
) -> Iterable[Problem]:
    """What the viewer may not touch does not exist for them, and is not found in the words the gradebook would use."""
    if reach.everything:
        return
    school_column = "id" if kind == "schools" else "school_id"
    if school_column in item and not reach.covers_school(item[school_column]):
        yield _not_found("school", item, school_column)
    elif kind == "people" and not reach.covers_school(homes.get(item["id"], item["school_id"])):
        yield _not_found("person", item, "id")
    elif kind == "classes" and item["id"] in places and not reach.covers(item["id"], places[item["id"]].school_id):
        yield _not_found("class", item, "id")
    if "class_id" in item and item["class_id"] not in places:
        yield _not_found("class", item, "class_id")


def _not_found(thing: str, item: Item, column: str) -> Problem:
    return Problem(f"{thing.upper()}_NOT_FOUND", f"There is no {thing} {item[column]!r}.", (column,))


def _invalid(error: ValidationError) -> Iterable[Problem]:
    for found in error.errors(include_url=False, include_context=False, include_input=False):
        path = tuple(part for part in found["loc"] if isinstance(part, str))
        yield Problem("INVALID_VALUE", found["msg"].removeprefix("Value error, "), path[:1])


def _with_due_at(item: Item, places: Mapping[str, Place]) -> dict[str, Any]:
    """Due on a day is due at its end, which is the first instant of the next day at the school."""
    fact = dict(item)
    day: date | None = fact.pop(DUE_ON, None)
    place = places.get(item.get("class_id", ""))
    if day is None or place is None:
        return fact
    if fact.get("due_at") is not None:
        raise Rejected([Problem("INVALID_VALUE", "Give dueAt or dueOn, not both.", (DUE_ON,))])
    return {**fact, "due_at": _end_of(day, place.time_zone)}


def _end_of(day: date, time_zone: str) -> datetime:
    if not EARLIEST.date() <= day < LATEST.date() - timedelta(days=1):
        raise Rejected([Problem("INVALID_VALUE", "Must lie in the years 1900 to 2199.", (DUE_ON,))])
    return start_of_day(day + timedelta(days=1), ZoneInfo(time_zone))
