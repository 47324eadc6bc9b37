"""A service on real servers, its GraphQL over ASGI, and a small world to ask about."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from app import changes, gradebook
from app.auth import ViewerRole, mint
from app.cache import Cache
from app.database import create_engine, transaction
from app.graphql.context import Services
from app.main import create_app, services_of
from app.performance import recalculate_changed, recalculate_many
from app.settings import Settings

SCOPES = ("metrics:read", "metrics:write", "facts:write")
LONG_AGO = datetime(2020, 9, 1, tzinfo=UTC)


class Client:
    """Asks GraphQL as one viewer."""

    def __init__(self, http: httpx2.AsyncClient, settings: Settings) -> None:
        self.http = http
        self.settings = settings

    def token(self, role: str = "admin", subject: str = "somebody", **claims: Any) -> str:
        return mint(self.settings, subject, ViewerRole(role), **claims)

    async def send(self, query: str, variables: Any = None, *, token: str | None = None, **headers: str) -> Any:
        """The response, whatever it is."""
        token = self.token() if token is None else token
        authorization = {"authorization": f"Bearer {token}"} if token else {}
        body = {"query": query, "variables": variables}
        return await self.http.post("/graphql", json=body, headers={**authorization, **headers})

    async def ask(self, query: str, variables: Any = None, *, token: str | None = None) -> Any:
        """The data; there must be no errors."""
        response = (await self.send(query, variables, token=token)).json()
        assert "errors" not in response, response
        return response["data"]

    async def errors(self, query: str, variables: Any = None, *, token: str | None = None) -> list[Any]:
        found: list[Any] = (await self.send(query, variables, token=token)).json()["errors"]
        return found


async def settle(settings: Settings) -> None:
    """What a worker does, until nothing is left to do."""
    engine, cache = create_engine(settings), Cache(settings)
    try:
        while True:
            async with transaction(engine) as connection:
                opened = await changes.open_scopes(connection)
            async with transaction(engine) as connection:
                drained = await recalculate_changed(connection)
            await cache.put_many(drained.changed)
            if not opened and not drained.class_ids:
                return
    finally:
        await cache.close()
        await engine.dispose()


@pytest.fixture
async def services(settings: Settings, redis: Redis) -> AsyncIterator[Services]:
    async with services_of(settings) as services:
        yield services


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Client]:
    app = create_app(settings)
    transport = httpx2.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://test") as http,
    ):
        yield Client(http, settings)


@pytest.fixture
async def api(settings: Settings, redis: Redis) -> AsyncIterator[Client]:
    async with serving(settings) as client:
        yield client


async def store(engine: AsyncEngine, **facts: Sequence[dict[str, Any]]) -> None:
    """Record facts by kind, and calculate the classes they touch."""
    async with transaction(engine) as connection:
        touched: set[str] = set()
        for kind, rows in facts.items():
            recorded = await gradebook.record(connection, kind, [gradebook.KINDS[kind].model_validate(r) for r in rows])
            touched |= set(recorded.class_ids)
        await recalculate_many(connection, sorted(touched))


@pytest.fixture
async def world(engine: AsyncEngine) -> AsyncEngine:
    """School north with classes n1 and n2, school south with s1. tina teaches n1, tom s1; sam and sue learn in n1."""
    schools, people = ("north", "south"), ("tina", "tom", "sam", "sue")
    classes = {"n1": "north", "n2": "north", "s1": "south"}
    teaches = {"n1": "tina", "s1": "tom"}
    await store(
        engine,
        schools=[{"id": s, "title": s.title(), "time_zone": "Europe/London", "recorded_at": LONG_AGO} for s in schools],
        people=[{"id": p, "school_id": "north", "recorded_at": LONG_AGO} for p in people],
        classes=[{"id": c, "school_id": s, "title": f"Class {c}", "recorded_at": LONG_AGO} for c, s in classes.items()],
        enrollments=[
            *(
                {"class_id": c, "id": f"e-{p}", "person_id": p, "role": "TEACHER", "recorded_at": LONG_AGO}
                for c, p in teaches.items()
            ),
            *(
                {"class_id": "n1", "id": f"e-{p}", "person_id": p, "role": "STUDENT", "recorded_at": LONG_AGO}
                for p in ("sam", "sue")
            ),
        ],
    )
    return engine


@contextmanager
def statements() -> Iterator[list[str]]:
    """Every statement that any engine executes meanwhile, but for those of opening and checking connections."""
    from sqlalchemy import Engine

    seen: list[str] = []

    def see(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", see)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", see)


class Commands:
    """Counts what Redis was told, by command."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def calls(self, name: str) -> int:
        stats = await self._redis.info("commandstats")
        return int(stats.get(f"cmdstat_{name}", {}).get("calls", 0))
