"""The schools that the load is about: a few classes that everybody writes to, and more that are soon left alone."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import psycopg

ZONES = ("Europe/London", "UTC", "America/New_York")
SCHOOLS = [f"school-{n}" for n in range(len(ZONES))]
RESTLESS, *CALM = SCHOOLS  # the policy of one changes now and then, which calculates all its classes again
HOT = [f"hot-{n:02}" for n in range(12)]
COLD = [f"cold-{n:03}" for n in range(120)]
CLASSES = [*HOT, *COLD]
SPEED, WINDOW = 6.0, 6.0  # cold classes that are left behind in a second, and that are written to at a time
REPORTED = {*CLASSES[::4]}  # people report values for these; the others are calculated alone
STUDENTS = [f"student-{n}" for n in range(6)]
TEACHER = "teacher"
TAUGHT = [*HOT[1:4], *COLD[:4]]
ACTIVITIES = [f"activity-{n}" for n in range(4)]
CATEGORIES = ("tests", "essays")
LONG_AGO = datetime(2020, 9, 1, tzinfo=UTC)
TODAY = datetime.now(UTC).date()
DAYS = [TODAY - timedelta(days=n) for n in range(1, 11)]

Rows = list[tuple[Any, ...]]


def school_of(class_id: str) -> str:
    kind, _, number = class_id.rpartition("-")
    return RESTLESS if kind == "hot" else CALM[int(number) % len(CALM)]


def pick(choice: Random, elapsed: float, among: Collection[str] = CLASSES) -> str:
    """A hot class, which is written to all the time; or a cold one, which is written to for a second and then left
    alone for a while: what is lost of it, nothing that comes later makes good."""
    while True:
        cold = COLD[int(SPEED * elapsed + choice.random() * WINDOW) % len(COLD)]
        picked = choice.choice(HOT) if choice.random() < 0.4 else cold
        if picked in among:
            return picked


def newcomer(number: int) -> str:
    """A class that the load opens."""
    return f"new-{number}"


def days_ago(days: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - timedelta(days=days)


def rows() -> dict[str, tuple[str, Rows]]:
    """By table, the columns and the rows."""
    people = [*STUDENTS, TEACHER]
    return {
        "school": ("id, title, time_zone", [(s, s, zone) for s, zone in zip(SCHOOLS, ZONES, strict=True)]),
        "person": ("id, school_id", [(person, SCHOOLS[0]) for person in people]),
        "class": ("id, school_id, title, weighted", [(c, school_of(c), c, n % 2 == 0) for n, c in enumerate(CLASSES)]),
        "enrollment": (
            "class_id, id, person_id, role",
            [
                *((c, s, s, "STUDENT") for c in CLASSES for s in STUDENTS),
                *((c, TEACHER, TEACHER, "TEACHER") for c in TAUGHT),
            ],
        ),
        "category": (
            "class_id, id, title, weight",
            [(c, k, k, n + 1) for c in CLASSES for n, k in enumerate(CATEGORIES)],
        ),
        "activity": (
            "class_id, id, category_id, title, max_points, due_at, published_at",
            [
                (c, a, CATEGORIES[n % 2], a, 10 * (n + 1), days_ago(5 + 17 * n), LONG_AGO)
                for c in CLASSES
                for n, a in enumerate(ACTIVITIES)
            ],
        ),
    }


def create(database_url: str, afterwards: str = "") -> None:
    """And execute a statement afterwards."""
    with psycopg.connect(database_url) as connection, connection.cursor() as cursor:
        for table, (columns, values) in rows().items():
            places = ", ".join("%s" for _ in columns.split(","))
            cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})".encode(), values)
        if afterwards:
            cursor.execute(afterwards.encode())
