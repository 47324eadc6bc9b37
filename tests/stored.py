"""Puts the facts of `independent` into the tables, for the SQL to calculate on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any

import orjson
from sqlalchemy import Connection, text

from app import metrics
from tests.independent import Facts

TYPES = {
    "class_id": 25,  # text
    **{metric.name: 23 if metric.whole else 701 for metric in metrics.METRICS},  # int4, float8
    "explanation": 3802,  # jsonb
    "next_change_at": 1184,  # timestamptz
}


def store(connection: Connection, *facts: Facts) -> None:
    """Classes may share people; a school belongs to one of them."""
    for each in zip(*map(tables_of, facts), strict=True):
        table = each[0][0]
        insert(connection, table, list(dict.fromkeys(chain.from_iterable(rows for _, rows in each))))


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
        ignoring = "ON CONFLICT DO NOTHING" if table == "person" else ""
        connection.execute(
            text(
                f"INSERT INTO {table} SELECT * FROM jsonb_populate_recordset(NULL::{table}, CAST(:rows AS jsonb)) "
                + ignoring
            ),
            {"rows": payload},
        )


def calculate(
    connection: Connection, class_ids: Sequence[str], at: Any, sql: str = metrics.SQL
) -> dict[str, dict[str, Any]]:
    result = connection.execute(text(sql), {"class_ids": list(class_ids), "at": at})
    types = {column[0]: column[1] for column in result.cursor.description}
    assert types == TYPES, f"other columns or types: {types.items() ^ TYPES.items()}"
    rows = [dict(row) for row in result.mappings()]
    assert len(rows) == len({row["class_id"] for row in rows}), "two rows for one class"
    return {row["class_id"]: row for row in rows}
