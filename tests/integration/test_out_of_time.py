"""A database that is there and took too long is another thing than one that is away: less at once may do."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.errors import NotReady, OutOfTime

pytestmark = pytest.mark.usefixtures("school")


@pytest.mark.parametrize(
    ("setting", "statement"),
    [
        ("statement_timeout = '50ms'", "SELECT pg_sleep(5)"),
        ("lock_timeout = '50ms'", "SELECT FROM class FOR UPDATE"),
    ],
)
async def test_a_statement_that_took_too_long_is_told_apart(
    engine: AsyncEngine, database_url: str, setting: str, statement: str
) -> None:
    with psycopg.connect(database_url) as holder:
        holder.execute("SELECT FROM class FOR UPDATE")
        async with engine.connect() as connection:
            await connection.execute(text(f"SET LOCAL {setting}"))
            with pytest.raises(OutOfTime):
                await connection.execute(text(statement))
            await connection.rollback()


async def test_a_connection_that_was_lost_is_not_out_of_time(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        with pytest.raises(NotReady) as lost:
            await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        assert not isinstance(lost.value, OutOfTime)
