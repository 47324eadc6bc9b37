"""Puts the facts of `independent` into the tables, for the SQL to calculate on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import orjson
from sqlalchemy import Connection, text

from app import metrics
from tests.independent import Facts


def store(connection: Connection, facts: Facts) -> None:
    for table, rows in tables_of(facts):
        insert(connection, table, rows)


def tables_of(facts: Facts) -> Iterable[tuple[str, list[Any]]]:
    yield "school", [facts.school]
    yield "person", list(facts.persons)
    yield "class", [facts.klass]
    yield "enrollment", list(facts.enrollments)
    yield "category", list(facts.categories)
    yield "activity", list(facts.activities)
    yield "submission", list(facts.submissions)
    yield "excusal", list(facts.excusals)
    yield "attendance", list(facts.attendance)
    yield "points_award", list(facts.points_awards)


def insert(connection: Connection, table: str, rows: list[Any]) -> None:
    if rows:
        payload = orjson.dumps([asdict(row) for row in rows], default=str).decode()
        connection.execute(
            text(f"INSERT INTO {table} SELECT * FROM jsonb_populate_recordset(NULL::{table}, CAST(:rows AS jsonb))"),
            {"rows": payload},
        )


def calculate(connection: Connection, class_ids: list[str], at: Any) -> dict[str, dict[str, Any]]:
    rows = connection.execute(text(metrics.SQL), {"class_ids": class_ids, "at": at}).mappings()
    return {row["class_id"]: dict(row) for row in rows}
