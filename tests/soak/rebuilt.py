"""Is every record what a calculation from the facts gives, by the SQL and by the independent calculation?"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database import create_engine
from app.metrics import METRIC_NAMES
from app.performance import calculate_many
from app.settings import Settings
from tests import independent
from tests.independent import Facts
from tests.soak.evidence import REBUILT, Violation

SAMPLE = 6  # classes calculated independently, each in a moment
LISTS = {
    "enrollments": ("enrollment", independent.Enrollment),
    "categories": ("category", independent.Category),
    "activities": ("activity", independent.Activity),
    "submissions": ("submission", independent.Submission),
    "excusals": ("excusal", independent.Excusal),
    "attendance": ("attendance", independent.Attendance),
    "points_awards": ("points_award", independent.PointsAward),
}

Rows = dict[str, dict[str, Any]]


async def violations(settings: Settings, choice: random.Random) -> list[Violation]:
    """All at one instant, and of one state of the database."""
    engine = create_engine(settings)
    try:
        async with engine.connect() as raw:
            connection = await raw.execution_options(isolation_level="REPEATABLE READ")
            async with connection.begin():
                return await _compare(connection, choice)
    finally:
        await engine.dispose()


async def _compare(connection: AsyncConnection, choice: random.Random) -> list[Violation]:
    at = await connection.scalar(text("SELECT clock_timestamp()"))
    records = {row["class_id"]: dict(row) for row in await _rows(connection, "SELECT * FROM class_performance")}
    calculated = await calculate_many(connection, sorted(records), at)
    found = [*_differences(records, calculated, "a full rebuild")]
    for class_id in choice.sample(sorted(records), min(SAMPLE, len(records))):
        numbers = independent.calculate(await facts_of(connection, class_id), at)
        found += _differences({class_id: records[class_id]}, {class_id: numbers}, "the independent calculation")
    return found


def _differences(records: Rows, calculated: Rows, who: str) -> Iterator[Violation]:
    if missing := calculated.keys() - records.keys():
        yield Violation(REBUILT, f"there is no record of {sorted(missing)}")
    for class_id, record in records.items():
        wanted = {name: value for name, value in calculated[class_id].items() if _is_calculated(name, record)}
        if wrong := {name: (record[name], value) for name, value in wanted.items() if record[name] != value}:
            text = f"{class_id} version {record['version']}, of {record['last_updated']}: (stored, {who}) {wrong}"
            yield Violation(REBUILT, text)


def _is_calculated(name: str, record: dict[str, Any]) -> bool:
    if name in METRIC_NAMES:
        return name not in record["pinned_metrics"]
    return name == "explanation"


async def facts_of(connection: AsyncConnection, class_id: str) -> Facts:
    """All that is stored about a class."""
    (klass,) = await _rows(connection, "SELECT * FROM class WHERE id = :id", id=class_id)
    (school,) = await _rows(connection, "SELECT * FROM school WHERE id = :id", id=klass["school_id"])
    lists = {
        name: [
            made(**row) for row in await _rows(connection, f"SELECT * FROM {table} WHERE class_id = :id", id=class_id)
        ]
        for name, (table, made) in LISTS.items()
    }
    return Facts(independent.School(**school), independent.Class(**klass), **lists)


async def _rows(connection: AsyncConnection, statement: str, **parameters: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in (await connection.execute(text(statement), parameters)).mappings()]
