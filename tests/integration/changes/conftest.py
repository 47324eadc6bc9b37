"""Three classes, two schools and a row in every table of facts, for a program that knows only SQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

Sql = psycopg.Connection[Any]

# a and b belong to the school north, c to south. Only a and b have facts, one of each kind.
SCHOOL = """
INSERT INTO school (id, title, time_zone) VALUES ('north', 'North', 'UTC'), ('south', 'South', 'UTC');
INSERT INTO person (id, school_id) VALUES ('ada', 'north'), ('ben', 'north');
INSERT INTO class (id, school_id, title) VALUES ('a', 'north', 'A'), ('b', 'north', 'B'), ('c', 'south', 'C');
INSERT INTO category (class_id, id, title) SELECT id, 'k', 'K' FROM class;
INSERT INTO activity (class_id, id, title, max_points, published_at) SELECT id, 't', 'T', 10, '2026-01-01Z' FROM class;
INSERT INTO enrollment (class_id, id, person_id, role)
VALUES ('a', 'e', 'ada', 'STUDENT'), ('b', 'e', 'ada', 'STUDENT');
INSERT INTO category (class_id, id, title) VALUES ('a', 'x', 'X'), ('b', 'x', 'X');
INSERT INTO activity (class_id, id, title, max_points) VALUES ('a', 'x', 'X', 1), ('b', 'x', 'X', 1);
INSERT INTO submission (class_id, activity_id, student_id, attempt) VALUES ('a', 't', 'ada', 1), ('b', 't', 'ada', 1);
INSERT INTO excusal (class_id, activity_id, student_id) VALUES ('a', 't', 'ben'), ('b', 't', 'ben');
INSERT INTO attendance (class_id, student_id, session_date, status)
VALUES ('a', 'ada', '2026-03-02', 'PRESENT'), ('b', 'ada', '2026-03-02', 'PRESENT');
INSERT INTO points_award (class_id, id, student_id, points, awarded_at)
VALUES ('a', 'p', 'ada', 1, '2026-03-02Z'), ('b', 'p', 'ada', 1, '2026-03-02Z');
"""


@pytest.fixture
def sql(database_url: str) -> Iterator[Sql]:
    """Everything is stored, and nothing of it is marked any more."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(SCHOOL)
        connection.execute("DELETE FROM class_change")
        yield connection


def taken(sql: Sql, table: str = "class_change") -> list[tuple[Any, ...]]:
    """What is marked, sorted, to be marked no more."""
    columns = "class_id, school_id" if table == "class_change" else "class_id"
    return sorted(sql.execute(f"DELETE FROM {table} RETURNING {columns}".encode()).fetchall(), key=repr)


def classes(*class_ids: str) -> list[tuple[Any, ...]]:
    return [(class_id, None) for class_id in class_ids]


EVERY_CLASS = [(None, None)]
