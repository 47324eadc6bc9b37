"""What whoever runs this wants to know of a process: is it alive, and how is it doing."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from hmac import compare_digest

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from app import changes
from app.errors import NotReady
from app.observability import CHANGES, CHANGES_AGE, DATABASE_UP, FAILING, OUTBOX, OUTBOX_AGE
from app.settings import Settings

log = structlog.get_logger(__name__)

PATIENCE = 2.0
"""Seconds for the database to say what waits; the rest is told without it."""


def routes(settings: Settings, engine: AsyncEngine) -> list[BaseRoute]:
    """/metrics is for those who have the token. In production there is none without."""
    found: list[BaseRoute] = [Route("/healthz", _healthz)]
    if settings.metrics_token or settings.environment == "development":
        token = settings.metrics_token.get_secret_value() if settings.metrics_token else ""
        found.append(Route("/metrics", _Metrics(engine, token).show))
    return found


async def _healthz(_: Request) -> Response:
    """Alive. Needs neither database nor Redis."""
    return PlainTextResponse("ok\n")


class _Metrics:
    def __init__(self, engine: AsyncEngine, token: str) -> None:
        self._engine = engine
        self._expected = f"Bearer {token}".encode() if token else b""

    async def show(self, request: Request) -> Response:
        given = request.headers.get("authorization", "").encode()
        if self._expected and not compare_digest(given, self._expected):
            return PlainTextResponse("A token is needed.\n", 401, {"www-authenticate": "Bearer"})
        await _measure(self._engine)
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _measure(engine: AsyncEngine) -> None:
    backlog = await _backlog(engine)
    DATABASE_UP.set(backlog is not None)
    CHANGES.set(backlog.changes if backlog else math.nan)
    CHANGES_AGE.set(_age(backlog.oldest_change) if backlog else math.nan)
    OUTBOX.set(backlog.records if backlog else math.nan)
    OUTBOX_AGE.set(_age(backlog.oldest_record) if backlog else math.nan)
    FAILING.set(backlog.failures if backlog else math.nan)


async def _backlog(engine: AsyncEngine) -> changes.Backlog | None:
    try:
        async with asyncio.timeout(PATIENCE), engine.connect() as connection:
            return await changes.backlog(connection)
    except (NotReady, SQLAlchemyError, OSError, TimeoutError):
        return None


def _age(since: datetime | None) -> float:
    return max(0.0, (datetime.now(UTC) - since).total_seconds()) if since else 0.0


@asynccontextmanager
async def listening(settings: Settings, engine: AsyncEngine) -> AsyncIterator[None]:
    """Serves these routes alone, on `worker_port`. A port that is taken keeps no worker from its work."""
    listener = _listener(settings)
    if listener is None:
        yield
        return
    app = Starlette(routes=routes(settings, engine))
    config = uvicorn.Config(app, lifespan="off", access_log=False, log_level="warning", server_header=False)
    server = _Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield
    finally:
        server.should_exit = server.force_exit = True
        await serving


def _listener(settings: Settings) -> socket.socket | None:
    if not settings.worker_port:
        return None
    try:
        return socket.create_server((settings.host, settings.worker_port))
    except OSError as error:
        log.warning("no_metrics", port=settings.worker_port, reason=error.strerror)
        return None


class _Server(uvicorn.Server):
    """Leaves the signals to whoever runs it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
