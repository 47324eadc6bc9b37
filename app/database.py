"""The way to PostgreSQL: one engine per process, one transaction per request or job."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from psycopg import AsyncConnection as Driver
from psycopg import OperationalError
from sqlalchemy import ExceptionContext, event, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.errors import NotReady
from app.settings import Settings

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 3


def create_engine(settings: Settings) -> AsyncEngine:
    """No statement outlives the client that asked for it by more than `database_timeout`."""
    url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql+psycopg")
    timeout = int(settings.database_timeout * 1000)
    engine = create_async_engine(
        url,
        pool_size=settings.database_pool_size,
        max_overflow=0,
        pool_timeout=CONNECT_SECONDS,
        pool_pre_ping=True,
        # What a statement was given may be a grade: it belongs in no error message.
        hide_parameters=True,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "options": f"-c timezone=UTC -c statement_timeout={timeout} -c lock_timeout={timeout}",
            "application_name": "class-performance",
        },
    )
    event.listen(engine.sync_engine, "handle_error", _tell_absence)
    return engine


def _tell_absence(context: ExceptionContext) -> None:
    """A database that is away, stopped, overloaded or out of time is something to try again, not a fault of ours."""
    if isinstance(context.original_exception, OperationalError) and not context.is_pre_ping:
        log.warning("database_is_away", reason=type(context.original_exception).__name__)
        raise NotReady("The database did not answer in time; try again.") from None


@asynccontextmanager
async def transaction(engine: AsyncEngine, *, unhurried: bool = False) -> AsyncIterator[AsyncConnection]:
    """READ COMMITTED; commits at the end of the block. `unhurried` work, such as an import, has no timeout."""
    async with engine.begin() as connection:
        if unhurried:
            await connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        yield connection


async def driver(connection: AsyncConnection) -> Driver:
    """The psycopg connection beneath, for COPY, in the same transaction."""
    raw = await connection.get_raw_connection()
    found = raw.driver_connection
    assert isinstance(found, Driver)
    return found
