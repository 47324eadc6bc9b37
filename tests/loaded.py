"""The facts of a class as they are in the tables, for the independent calculation; and whether its record says so."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.expectation import Expectation
from tests.independent import (
    Activity,
    Attendance,
    Category,
    Class,
    Enrollment,
    Excusal,
    Facts,
    PointsAward,
    School,
    Submission,
)

LISTS = {
    "enrollments": ("enrollment", Enrollment),
    "categories": ("category", Category),
    "activities": ("activity", Activity),
    "submissions": ("submission", Submission),
    "excusals": ("excusal", Excusal),
    "attendance": ("attendance", Attendance),
    "points_awards": ("points_award", PointsAward),
}


def load(connection: psycopg.Connection[Any], class_id: str) -> Facts:
    (klass,) = _rows(connection, "class", Class, "id = %s", class_id)
    (school,) = _rows(connection, "school", School, "id = %s", klass.school_id)
    facts = {name: _rows(connection, table, kind, "class_id = %s", class_id) for name, (table, kind) in LISTS.items()}
    return Facts(school, klass, **facts)


def _rows(connection: psycopg.Connection[Any], table: str, kind: type[Any], condition: str, value: str) -> list[Any]:
    columns = ", ".join(field.name for field in fields(kind))
    found = connection.execute(f"SELECT {columns} FROM {table} WHERE {condition}".encode(), [value])
    return [kind(*row) for row in found]


def differences(connection: psycopg.Connection[Any], class_id: str, at: datetime) -> dict[str, Any]:
    """What the independent calculation gives at an instant, and what the record has instead, by name."""
    wanted = Expectation.of(load(connection, class_id), at)
    with connection.cursor(row_factory=dict_row) as cursor:
        record = cursor.execute("SELECT * FROM class_performance WHERE class_id = %s", [class_id]).fetchone()
    return wanted.differences(record) if record else {"record": (class_id, None)}
