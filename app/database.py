"""The way to PostgreSQL: one engine per process, one transaction per request or job."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from psycopg import AsyncConnection as Driver
from psycopg import OperationalError
from psycopg.errors import IdleInTransactionSessionTimeout, LockNotAvailable, QueryCanceled
from sqlalchemy import URL, ExceptionContext, event, make_url, text
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.errors import Misconfigured, NotReady, OutOfTime
from app.settings import Settings

log = structlog.get_logger(__name__)

LIMITS = text(
    "SELECT set_config('statement_timeout', :busy, true), "
    "set_config('idle_in_transaction_session_timeout', :idle, true)"
)

CONNECT_SECONDS = 3
IDLE_SECONDS = 10
"""In a transaction: whoever was stopped or cut off in the middle of one keeps what it has locked from the others."""
KEEPALIVES = "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
"""By the server, so that who vanishes in the middle of long work does not keep what it has locked."""
GRACE_SECONDS = 1.0
"""The server says itself that a statement took too long, if it can say anything."""


class PatientDriver(Driver[Any]):
    """Hangs up on a server silent for `patience` seconds: it may be stopped, and its own timeouts with it."""

    patience: float | None = None

    async def wait(self, *arguments: Any, **options: Any) -> Any:
        if self.patience is None:
            return await super().wait(*arguments, **options)
        timer = asyncio.get_running_loop().call_later(self.patience, self._hang_up)
        try:
            return await super().wait(*arguments, **options)
        finally:
            timer.cancel()

    def _hang_up(self) -> None:
        """Whoever waits finds the connection lost."""
        with socket.socket(fileno=os.dup(self.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)


def read_url(database_url: str) -> URL:
    """Raises Misconfigured, which repeats nothing of the URL: it may hold a password anywhere."""
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.get_backend_name() not in ("postgresql", "postgres"):
        raise Misconfigured("DATABASE_URL is not of the form postgresql://user:password@host:port/database.")
    return url.set(drivername="postgresql+psycopg")


def create_engine(settings: Settings) -> AsyncEngine:
    """No statement outlives the client that asked for it by more than `database_timeout`."""
    timeout = int(settings.database_timeout * 1000)

    async def connect(*arguments: Any, **options: Any) -> PatientDriver:
        connection = await PatientDriver.connect(*arguments, **options)
        connection.patience = settings.database_timeout + GRACE_SECONDS
        return connection

    engine = create_async_engine(
        read_url(settings.database_url.get_secret_value()),
        pool_size=settings.database_pool_size,
        max_overflow=0,
        pool_timeout=CONNECT_SECONDS,
        pool_pre_ping=True,
        # What a statement was given may be a grade: it belongs in no error message.
        hide_parameters=True,
        connect_args={
            "async_creator_fn": connect,
            "connect_timeout": CONNECT_SECONDS,
            "options": f"-c timezone=UTC -c statement_timeout={timeout} -c lock_timeout={timeout} "
            f"-c idle_in_transaction_session_timeout={IDLE_SECONDS * 1000} {KEEPALIVES}",
            "application_name": "class-performance",
        },
    )
    event.listen(engine.sync_engine, "handle_error", _tell_absence)
    return engine


def _tell_absence(context: ExceptionContext) -> None:
    """A database that is away, stopped, overloaded or out of time is something to try again, not a fault of ours."""
    if isinstance(context.original_exception, LockNotAvailable | QueryCanceled):
        raise OutOfTime("The database did not answer in time; try again.") from None
    absent = isinstance(context.original_exception, OperationalError | IdleInTransactionSessionTimeout)
    if absent and not context.is_pre_ping:
        log.warning("database_is_away", reason=type(context.original_exception).__name__)
        raise NotReady("The database did not answer in time; try again.") from None


@asynccontextmanager
async def transaction(
    engine: AsyncEngine, *, unhurried: bool = False, seconds: float | None = None
) -> AsyncIterator[AsyncConnection]:
    """READ COMMITTED; commits at the end of the block. A statement may take as long as any of the engine, or `seconds`.
    `unhurried` work, such as an import, has no timeout."""
    own = unhurried or seconds is not None
    async with engine.connect() as connection, _limited(connection, seconds) if own else connection.begin():
        yield connection


@asynccontextmanager
async def _limited(connection: AsyncConnection, seconds: float | None) -> AsyncIterator[None]:
    """A transaction with a timeout of its own, or none, on either side, its commit included."""
    beneath = await driver(connection)
    patience, beneath.patience = beneath.patience, None if seconds is None else seconds + GRACE_SECONDS
    try:
        async with connection.begin():
            busy, idle = (0, 0) if seconds is None else (seconds, IDLE_SECONDS)
            await connection.execute(LIMITS, {"busy": f"{round(busy * 1000)}ms", "idle": f"{idle}s"})
            yield
    finally:
        beneath.patience = patience


async def driver(connection: AsyncConnection) -> PatientDriver:
    """The psycopg connection beneath, for COPY, in the same transaction."""
    raw = await connection.get_raw_connection()
    found = raw.driver_connection
    assert isinstance(found, PatientDriver)
    return found
