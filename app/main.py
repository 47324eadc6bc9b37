"""The front door: assembles the service and serves it."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from importlib.resources import files

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from app import monitoring
from app.auth import Doorman
from app.cache import Cache
from app.classes import Classes
from app.database import create_engine
from app.errors import Misconfigured
from app.events import Publications, Wake
from app.graphql import endpoint
from app.graphql.context import Services
from app.history import History
from app.listing import Listing
from app.performance import Performance
from app.recording import Recording
from app.reports import Reports
from app.server import Server, Welcome, configure
from app.settings import Settings
from app.tokens import require_keys
from app.views import Views
from app.watching import Hub
from app.worker import working

GRAPHIQL = files("app").joinpath("graphiql.html").read_text()
GRAPHIQL_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def create_services(settings: Settings) -> Services:
    """Everything a process shares. Nothing connects before it is used."""
    engine = create_engine(settings)
    cache = Cache(settings)
    performance = Performance(engine, cache, Wake(cache))
    doorman = Doorman(settings, engine)
    hub = Hub(settings, engine, cache, performance, Publications(settings))
    return Services(
        settings=settings,
        engine=engine,
        cache=cache,
        doorman=doorman,
        performance=performance,
        reports=Reports(engine, performance),
        recording=Recording(engine, performance),
        listing=Listing(engine),
        classes=Classes(engine),
        history=History(engine),
        hub=hub,
        views=Views(doorman, hub),
        draining=asyncio.Event(),
    )


async def close(services: Services) -> None:
    await services.hub.close()
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
        services.hub.start()
        try:
            async with working(settings) if settings.worker_inside else nullcontext():
                yield
        finally:
            await close(services)

    routes = [*endpoint.routes(services), *monitoring.routes(settings, services.engine)]
    if settings.graphiql:
        routes.append(Route("/graphiql", graphiql))
    app = Starlette(routes=routes, lifespan=lifespan)
    app.state.draining = services.draining
    return app


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
    app = create_app(settings)
    Server(configure(app, settings), welcome, app.state.draining).run()


def require_free_port(settings: Settings) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise Misconfigured(
                f"Port {settings.port} on {settings.host} cannot be used ({error.strerror}). "
                f"Choose another, such as PORT={settings.port + 1}."
            ) from None
