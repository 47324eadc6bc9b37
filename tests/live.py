"""A server that really listens, in this process or in one of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import httpx2
import websockets
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app import devservices
from app.auth import ViewerRole, mint
from app.cache import Cache
from app.database import create_engine, transaction
from app.graphql.messages import SUBPROTOCOL
from app.main import create_app
from app.relay import Relay
from app.server import Server, configure
from app.settings import Settings
from tests.wires import LARGE, PATIENCE, Stream, Wire
from tests.working import measured, until

HEARS = "classperf_redis_subscribed"


@dataclass(frozen=True)
class Live:
    settings: Settings
    port: int
    stop: Callable[[], None]
    engine: AsyncEngine
    relay: Relay

    def token(self, role: str = "admin", subject: str = "somebody", **claims: Any) -> str:
        return mint(self.settings, subject, ViewerRole(role), **claims)

    @asynccontextmanager
    async def dial(self, subprotocols: Any = (SUBPROTOCOL,), **options: Any) -> AsyncIterator[Wire]:
        """A socket on which nothing was said yet."""
        url = f"ws://127.0.0.1:{self.port}/graphql"
        async with websockets.connect(
            url, subprotocols=subprotocols, compression=None, close_timeout=1, **options
        ) as connection:
            yield Wire(connection)

    @asynccontextmanager
    async def socket(self, token: str | None = None, **options: Any) -> AsyncIterator[Wire]:
        """One that is acknowledged."""
        async with self.dial(**options) as wire:
            await wire.init(self.token() if token is None else token)
            assert await wire.hear() == {"type": "connection_ack"}
            yield wire

    @asynccontextmanager
    async def stream(
        self, query: str, variables: Any = None, *, token: str | None = None, method: str = "POST", **headers: str
    ) -> AsyncIterator[Stream]:
        given = {"authorization": f"Bearer {self.token() if token is None else token}", "accept": "text/event-stream"}
        how = (
            {"json": {"query": query, "variables": variables}}
            if method == "POST"
            else {"params": {"query": query, "variables": json.dumps(variables)}}
        )
        async with (
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE) as http,
            http.stream(method, "/graphql/stream", headers={**given, **headers}, **how) as response,
        ):
            yield Stream(response)

    async def execute(self, statement: str, **parameters: Any) -> None:
        async with transaction(self.engine) as connection:
            await connection.execute(text(statement), parameters)

    async def change(self, *class_ids: str, times: int = 1) -> None:
        """As a program would that knows only SQL; and what a worker does about it."""
        for _ in range(times):
            async with transaction(self.engine) as connection:
                await connection.execute(
                    text("UPDATE class_performance SET highest_grade = version WHERE class_id = ANY(:ids)"),
                    {"ids": list(class_ids)},
                )
            await self.tell()

    async def measured(self) -> str:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE) as http:
            return (await http.get("/metrics")).text

    async def until(self, line: str) -> None:
        """It is among what is measured."""
        async with asyncio.timeout(PATIENCE):
            while True:
                with contextlib.suppress(httpx2.TransportError):
                    if line in (await self.measured()).splitlines():
                        return
                await asyncio.sleep(0.05)

    async def tell(self) -> None:
        while await self.relay.run_once():
            pass


@asynccontextmanager
async def telling(settings: Settings) -> AsyncIterator[tuple[AsyncEngine, Relay]]:
    """Everything from before was told."""
    engine, cache = create_engine(settings), Cache(settings, patience=5.0)
    try:
        relay = Relay(engine, cache)
        while await relay.run_once():
            pass
        yield engine, relay
    finally:
        await cache.close()
        await engine.dispose()


@asynccontextmanager
async def live(settings: Settings) -> AsyncIterator[Live]:
    """In this process, once it hears what is published."""
    app = create_app(settings)
    server = Server(configure(app, settings.model_copy(update={"port": 0})), None, app.state.draining)

    def stop() -> None:
        server.should_exit = True

    async with telling(settings) as (engine, relay), asyncio.TaskGroup() as group:
        group.create_task(server.serve())
        try:
            await until(lambda: _hears(server))
            (listener,) = server.servers[0].sockets
            yield Live(settings, listener.getsockname()[1], stop, engine, relay)
        finally:
            stop()


async def _hears(server: Server) -> bool:
    return server.started and bool(measured(HEARS, channel="publications"))


@asynccontextmanager
async def live_apart(settings: Settings, log: Path) -> AsyncIterator[tuple[Live, Popen[bytes]]]:
    """In a process of its own, as an operator starts it."""
    port = devservices._free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields},
        "PORT": str(port),
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "JWT_SECRET": settings.jwt_secret.get_secret_value() if settings.jwt_secret else "",
        "ENVIRONMENT": "development",
    }
    program = Path(sys.executable).with_name("classperf")
    async with telling(settings) as (engine, relay):
        with log.open("wb") as output:
            process = Popen([program, "serve"], env=environment, stdout=output, stderr=output)  # noqa: ASYNC220
        try:
            house = Live(settings, port, process.terminate, engine, relay)
            await house.until(HEARS + '{channel="publications"} 1.0')
            yield house, process
        finally:
            process.terminate()
            process.wait(PATIENCE)


@asynccontextmanager
async def not_reading(house: Live) -> AsyncIterator[Wire]:
    """Somebody who asks for large events of n1, and takes little more than the first until told to."""
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
        line.connect(("127.0.0.1", house.port))
        line.setblocking(False)
        async with house.socket(sock=line, max_queue=1, ping_interval=None) as wire:
            await wire.start(LARGE)
            assert await wire.see() == ("n1", 1)
            yield wire
