"""The front door: assembles the service and serves it."""

from __future__ import annotations

import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from app.auth import Doorman
from app.cache import Cache
from app.classes import Classes
from app.database import create_engine
from app.errors import Misconfigured
from app.graphql import endpoint
from app.graphql.context import Services
from app.history import History
from app.listing import Listing
from app.performance import Performance
from app.recording import Recording
from app.reports import Reports
from app.settings import Settings
from app.tokens import require_keys

DRAIN_SECONDS = 10
GRAPHIQL = files("app").joinpath("graphiql.html").read_text()
GRAPHIQL_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)

Welcome = Callable[[], Awaitable[None]]


def create_services(settings: Settings) -> Services:
    """Everything a process shares. Nothing connects before it is used."""
    engine = create_engine(settings)
    cache = Cache(settings)
    performance = Performance(engine, cache)
    return Services(
        settings=settings,
        engine=engine,
        cache=cache,
        doorman=Doorman(settings, engine),
        performance=performance,
        reports=Reports(engine, performance),
        recording=Recording(engine, performance),
        listing=Listing(engine),
        classes=Classes(engine),
        history=History(engine),
    )


async def close(services: Services) -> None:
    await services.cache.close()
    await services.engine.dispose()


@asynccontextmanager
async def services_of(settings: Settings) -> AsyncIterator[Services]:
    services = create_services(settings)
    try:
        yield services
    finally:
        await close(services)


def create_app(settings: Settings) -> Starlette:
    """Refuses to be made without a database and a key to check tokens with."""
    require_keys(settings)
    if not settings.database_url.get_secret_value():
        raise Misconfigured("Set DATABASE_URL to a PostgreSQL database (and REDIS_URL to a Redis, for speed).")
    services = create_services(settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        # What is alive now stays alive: the collector need not walk it again and again.
        gc.collect()
        gc.freeze()
        try:
            yield
        finally:
            await close(services)

    routes = [*endpoint.routes(services), Route("/healthz", healthz)]
    if settings.graphiql:
        routes.append(Route("/graphiql", graphiql))
    return Starlette(routes=routes, lifespan=lifespan)


async def healthz(_: Request) -> Response:
    """Alive. Needs neither database nor Redis."""
    return PlainTextResponse("ok\n")


class Server(uvicorn.Server):
    """Says welcome once it listens."""

    def __init__(self, config: uvicorn.Config, welcome: Welcome | None) -> None:
        super().__init__(config)
        self._welcome = welcome

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._welcome:
            await self._welcome()


async def graphiql(_: Request) -> Response:
    """A page to ask from. It loads nothing from elsewhere and talks to this server alone."""
    headers = {
        "content-security-policy": GRAPHIQL_POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
    return HTMLResponse(GRAPHIQL, headers=headers)


def serve(settings: Settings, welcome: Welcome | None = None) -> None:
    """Serve until SIGINT or SIGTERM; requests under way may finish."""
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    Server(config, welcome).run()


def require_free_port(settings: Settings) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise Misconfigured(
                f"Port {settings.port} on {settings.host} cannot be used ({error.strerror}). "
                f"Choose another: PORT={settings.port + 1} make run"
            ) from None
