"""A small school to try things on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.cache import Cache
from app.database import transaction
from app.performance import Performance, recalculate_many
from app.reports import Reports
from app.settings import Settings
from tests.csv_folder import folder
from tests.serving import api, services, world

__all__ = ["api", "folder", "services", "world"]

# Algebra: Ada was graded 8 of 10 and is present, Ben has nothing. Biology is empty.
SCHOOL = """
    INSERT INTO school (id, title, time_zone) VALUES ('north', 'North', 'UTC');
    INSERT INTO person (id, school_id) VALUES ('ada', 'north'), ('ben', 'north');
    INSERT INTO class (id, school_id, title) VALUES ('algebra', 'north', 'Algebra'), ('biology', 'north', 'Biology');
    INSERT INTO enrollment (class_id, id, person_id, role)
    VALUES ('algebra', '1', 'ada', 'STUDENT'), ('algebra', '2', 'ben', 'STUDENT');
    INSERT INTO activity (class_id, id, title, max_points, published_at)
    VALUES ('algebra', 'essay', 'Essay', 10, '2026-01-01Z');
    INSERT INTO submission (class_id, activity_id, student_id, attempt, score, graded_at)
    VALUES ('algebra', 'essay', 'ada', 1, 8, '2026-01-02Z');
    INSERT INTO attendance (class_id, student_id, session_date, status)
    VALUES ('algebra', 'ada', '2026-01-05', 'PRESENT')
"""


@pytest.fixture
async def cache(settings: Settings, redis: Redis) -> AsyncIterator[Cache]:
    cache = Cache(settings)
    yield cache
    await cache.close()


@pytest.fixture
def performance(engine: AsyncEngine, cache: Cache) -> Performance:
    return Performance(engine, cache)


@pytest.fixture
def reports(engine: AsyncEngine, performance: Performance) -> Reports:
    return Reports(engine, performance)


@pytest.fixture
async def school(engine: AsyncEngine) -> None:
    """Both classes calculated once."""
    async with transaction(engine) as connection:
        for statement in SCHOOL.split(";"):
            await connection.execute(text(statement))
        await recalculate_many(connection, ["algebra", "biology"])
