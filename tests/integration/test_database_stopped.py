"""A PostgreSQL that says nothing: nobody waits for ever, and all is well when it goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from app import migrate
from app.database import create_engine, transaction
from app.devservices import embedded
from app.errors import NotReady
from app.graphql.execution import LAST_SECONDS
from app.settings import Settings
from tests.conftest import SECRET
from tests.serving import Client, serving

PATIENCE = 0.5
SOON = PATIENCE + LAST_SECONDS + 1.5
PLANNED = '{ classPerformance(classId: "a") { version } }'
EXECUTED = '{ class(id: "a") { title } }'


@dataclass(frozen=True)
class Server:
    pid: int
    settings: Settings

    def pause(self) -> None:
        """It and its children, which are sessions of their own."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.pid)], capture_output=True, text=True)
        for pid in listed.stdout.split():
            os.kill(int(pid), number)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Of this test's own, with nothing in it but the tables."""
    with embedded(tmp_path / "servers", fsync=False) as services:
        migrate.upgrade(services.database_url)
        url, secret = SecretStr(services.database_url), SecretStr(SECRET)
        server = Server(services.postgres_pid, Settings(database_url=url, database_timeout=PATIENCE, jwt_secret=secret))
        try:
            yield server
        finally:
            server.resume()


@pytest.fixture
async def stopped(server: Server) -> AsyncIterator[Client]:
    """An API with open connections to a server that then stops."""
    async with serving(server.settings) as api:
        await asyncio.gather(*(api.ask(EXECUTED) for _ in range(3)))
        server.pause()
        yield api
        server.resume()


async def timed(api: Client, query: str, *, token: str | None = None) -> tuple[Any, float]:
    begun = time.monotonic()
    return (await api.send(query, token=token)).json(), time.monotonic() - begun


async def test_whatever_is_asked_is_unavailable_soon_and_answered_again_later(stopped: Client, server: Server) -> None:
    teacher = stopped.token("teacher", "tina")
    asked = await asyncio.gather(
        timed(stopped, PLANNED),
        timed(stopped, PLANNED, token=teacher),
        timed(stopped, EXECUTED),
        timed(stopped, "{ classPerformanceConnection { totalCount nodes { version } } }"),
        timed(stopped, 'mutation { recalculateMetrics(input: {classIds: ["a"]}) { __typename } }'),
    )
    for body, seconds in asked:
        assert [error["extensions"]["code"] for error in body["errors"]] == ["UNAVAILABLE"]
        assert seconds < SOON
    server.resume()
    assert await stopped.ask(PLANNED) == {"classPerformance": None}
    assert await stopped.ask(PLANNED, token=teacher) == {"classPerformance": None}


async def test_a_statement_under_way_is_given_up_and_its_connection_with_it(server: Server) -> None:
    engine = create_engine(server.settings)
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            server.pause()
            begun = time.monotonic()
            with pytest.raises(NotReady):
                await connection.execute(text("SELECT 2"))
            assert time.monotonic() - begun < PATIENCE + 2
        server.resume()
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT 3")) == 3
    finally:
        await engine.dispose()


async def test_unhurried_work_may_take_its_time(server: Server) -> None:
    engine = create_engine(server.settings)
    try:
        async with transaction(engine, unhurried=True) as connection:
            await connection.execute(text("CREATE TABLE kept AS SELECT pg_sleep(2) IS NULL AS yes"))
        async with transaction(engine) as connection:
            assert await connection.scalar(text("SELECT count(*) FROM kept")) == 1
            with pytest.raises(NotReady):
                await connection.execute(text("SELECT pg_sleep(2)"))
    finally:
        await engine.dispose()


async def test_an_operation_as_a_whole_has_an_end(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: Any) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr("app.graphql.execution.LAST_SECONDS", 0.2 - api.settings.database_timeout)
    for place, query in (
        ("app.performance.Performance.get_many", PLANNED),
        ("app.classes.Classes.get_many", EXECUTED),
        ("app.listing.Listing.get_page", "{ classPerformanceConnection { nodes { version } } }"),
    ):
        monkeypatch.setattr(place, never)
        body, seconds = await timed(api, query)
        assert body == {
            "data": None,
            "errors": [{"message": "This took too long; try again.", "extensions": {"code": "UNAVAILABLE"}}],
        }
        assert seconds < 2
