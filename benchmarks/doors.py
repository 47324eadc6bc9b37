"""How a fact gets in: by SQL, by the API, or into a bare table that says so itself."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, Self

import orjson
import psycopg

from app.auth import ViewerRole, mint
from app.settings import Settings
from benchmarks.client import HOST, Wrong, post

CHANNEL = "bare"
BARE_TABLE = "CREATE TABLE bare (class_id text, id text PRIMARY KEY, student_id text, points int, at timestamptz)"
BARE = """
    WITH stored AS (
        INSERT INTO bare SELECT %(class_id)s, %(id)s, %(student_id)s, 1, clock_timestamp() RETURNING class_id
    ) SELECT pg_notify('bare', class_id) FROM stored
"""
AWARD = """
    INSERT INTO points_award (class_id, id, student_id, points, awarded_at, recorded_at)
    VALUES (%(class_id)s, %(id)s, %(student_id)s, 1, clock_timestamp(), clock_timestamp())
"""
MUTATION = """
    mutation Award($item: PointsAwardInput!) {
        awardPoints(input: {items: [$item]}) { ... on RecordFactsSuccess { stored } }
    }
"""


@dataclass(frozen=True, slots=True)
class Award:
    """A fact by which the `totalPoints` of its class rises by one: so a record tells how many of them are in it."""

    id: str
    class_id: str
    student_id: str


class Door(Protocol):
    async def hand_in(self, award: Award) -> None:
        """Returns when the fact is committed."""


class SqlDoor:
    """A program that knows only SQL: every fact a statement, and a transaction, of its own."""

    def __init__(self, connection: psycopg.AsyncConnection, statement: str) -> None:
        self._connection, self._statement = connection, statement.encode()

    @classmethod
    async def open(cls, stack: AsyncExitStack, database_url: str, statement: str = AWARD) -> Self:
        connection = await psycopg.AsyncConnection.connect(database_url, autocommit=True)
        return cls(await stack.enter_async_context(connection), statement)

    async def hand_in(self, award: Award) -> None:
        values = {"class_id": award.class_id, "id": award.id, "student_id": award.student_id}
        await self._connection.execute(self._statement, values)


class ApiDoor:
    """A client of the API: every fact a mutation of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> None:
        self._reader, self._writer, self._token = reader, writer, token

    @classmethod
    async def open(cls, stack: AsyncExitStack, settings: Settings, port: int) -> Self:
        reader, writer = await asyncio.open_connection(HOST, port)
        stack.callback(writer.close)
        return cls(reader, writer, mint(settings, "benchmark", ViewerRole.ADMIN))

    async def hand_in(self, award: Award) -> None:
        item = {"id": award.id, "classId": award.class_id, "studentId": award.student_id, "points": 1}
        item["awardedAt"] = datetime.now(UTC).isoformat()
        body = orjson.dumps({"query": MUTATION, "variables": {"item": item}})
        self._writer.write(post("/graphql", body, authorization=f"Bearer {self._token}"))
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        answer = await self._reader.readexactly(int(length))
        if b'"stored":1' not in answer:
            raise Wrong(answer[:500])
