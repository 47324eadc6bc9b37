"""A folder of CSV files to import, and what became of it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.shelf import TABLES

MONDAY = datetime(2024, 9, 2, 8, tzinfo=UTC)
FOLDER = {
    "schools.csv": "id,title,time_zone\nschool,Our School,Atlantic/Azores\n",
    "people.csv": "id,school_id\nann,school\nben,school\ntom,school\n",
    "classes.csv": "id,school_id,title,begins,ends,weighted\nalgebra,school,Algebra,2024-09-01,2025-06-30,yes\n",
    "enrollments.csv": "class_id,id,person_id,role\n"
    "algebra,1,ann,STUDENT\nalgebra,2,ben,STUDENT\nalgebra,3,tom,TEACHER\n",
    "categories.csv": "class_id,id,title,weight\nalgebra,tests,Tests,40\n",
    "activities.csv": "class_id,id,category_id,title,max_points,due_at,published_at\n"
    "algebra,quiz,tests,Quiz,10,2024-10-26,2024-09-02T08:00:00Z\n"
    "algebra,essay,,Essay,20,,2024-09-02\n",
    "submissions.csv": "class_id,activity_id,student_id,submitted_at,score,graded_at,graded_automatically,feedback\n"
    "algebra,quiz,ann,2024-10-01T10:00:00+02:00,7.50,2024-10-02T08:00:00Z,TRUE,Well done\n"
    "algebra,quiz,ben,2024-10-01T11:00:00Z,,,,\n",
    "excusals.csv": "class_id,activity_id,student_id\nalgebra,essay,ben\n",
    "attendance.csv": "class_id,student_id,session_date,status\n"
    "algebra,ann,2024-09-02,PRESENT\nalgebra,ben,2024-09-02,LATE\n",
    "points_awards.csv": "class_id,id,student_id,points,awarded_at\nalgebra,p1,ann,5,2024-09-03T08:00:00Z\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FOLDER.items():
        put(tmp_path, name, content)
    return tmp_path


def put(folder: Path, name: str, content: str | bytes) -> None:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.utime(path, (MONDAY.timestamp(), MONDAY.timestamp()))


def edit(folder: Path, name: str, old: str, new: str) -> None:
    assert old in FOLDER[name]
    put(folder, name, FOLDER[name].replace(old, new))


async def rows(engine: AsyncEngine, statement: str) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(statement))]


async def dump(engine: AsyncEngine) -> dict[str, list[tuple[Any, ...]]]:
    """Everything, and which transaction wrote it."""
    tables = dict.fromkeys(str(table.__tablename__) for table in TABLES.values())
    return {table: await rows(engine, f'SELECT xmin::text, t::text FROM "{table}" t ORDER BY 2') for table in tables}
