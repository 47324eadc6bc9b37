"""Clients of both kinds, that say and hear what is on the wire."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from typing import Any

import httpx2
import websockets
from websockets.asyncio.client import ClientConnection

PATIENCE = 20.0  # a busy machine; nothing here depends on being quick
QUIET = 0.3

WATCH = """subscription ($ids: [ID!]!, $known: [KnownVersion!]) {
  classPerformanceUpdated(classIds: $ids, known: $known) { classId classPerformance { version } } }"""
FOLLOW = """subscription ($school: ID, $known: [KnownVersion!], $snapshot: Boolean! = true) {
  classPerformancesUpdated(schoolId: $school, known: $known, snapshot: $snapshot) {
    classId classPerformance { version } } }"""

METADATA = " ".join(f"m{n}: metadata" for n in range(200))
LARGE = f"""subscription {{
  classPerformanceUpdated(classIds: ["n1"]) {{ classPerformance {{ version {METADATA} }} classId }} }}"""

Seen = tuple[str, int | None]
"""A class, and the version that was given of it."""


class Wire:
    """One WebSocket."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self._ids = itertools.count(1)

    async def say(self, *messages: Any) -> None:
        for message in messages:
            await self.connection.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def hear(self) -> Any:
        async with asyncio.timeout(PATIENCE):
            return json.loads(await self.connection.recv(decode=True))

    async def init(self, token: str | None) -> None:
        payload = {} if token is None else {"payload": {"Authorization": f"Bearer {token}"}}
        await self.say({"type": "connection_init", **payload})

    async def start(self, query: str, variables: Any = None, **more: Any) -> str:
        """The id it has."""
        id_ = str(next(self._ids))
        payload = {"query": query, "variables": variables, **more}
        await self.say({"id": id_, "type": "subscribe", "payload": payload})
        return id_

    async def watch(self, *ids: str, **known: int) -> str:
        return await self.start(WATCH, {"ids": ids, "known": versions(known)})

    async def follow(self, known: dict[str, int] | None = None, **variables: Any) -> str:
        return await self.start(FOLLOW, {"known": versions(known), **variables})

    async def stop(self, id_: str) -> None:
        await self.say({"id": id_, "type": "complete"})

    async def next(self, id_: str | None = None) -> Any:
        """The data of the next message, which is an event."""
        message = await self.hear()
        assert message["type"] == "next", message
        assert id_ in (None, message["id"])
        assert "errors" not in message["payload"], message
        return message["payload"]["data"]

    async def see(self) -> Seen:
        return seen(await self.next())

    async def see_many(self, count: int) -> dict[str, int | None]:
        return dict([await self.see() for _ in range(count)])

    async def see_only(self, *expected: Seen) -> None:
        """These, in any order, and then nothing."""
        found = [await self.see() for _ in expected]
        assert sorted(found, key=str) == sorted(expected, key=str)
        await self.see_nothing()

    async def see_nothing(self) -> None:
        with contextlib.suppress(TimeoutError):
            message = await asyncio.wait_for(self.connection.recv(decode=True), QUIET)
            raise AssertionError(message)

    async def closed(self) -> tuple[int, str]:
        """The code and reason with which the server closes, whatever comes before."""
        with contextlib.suppress(websockets.ConnectionClosed):
            async with asyncio.timeout(PATIENCE):
                while True:
                    await self.connection.recv()
        assert self.connection.close_code is not None
        return self.connection.close_code, self.connection.close_reason or ""


class Stream:
    """One response of events."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def block(self) -> list[str]:
        """The lines up to an empty one."""
        lines: list[str] = []
        async with asyncio.timeout(PATIENCE):
            async for line in self._lines:
                if not line:
                    return lines
                lines.append(line)
        return lines

    async def event(self) -> tuple[str, Any]:
        """The next that is no comment: its kind and its data."""
        while (lines := await self.block()) and lines[0].startswith(":"):
            pass
        if not lines:
            return "end", None
        kind, data = (line.partition(":")[2].strip() for line in lines)
        return kind, json.loads(data) if data else None

    async def see(self) -> Seen:
        kind, payload = await self.event()
        assert kind == "next", (kind, payload)
        return seen(payload["data"])


def versions(known: dict[str, int] | None) -> list[dict[str, Any]] | None:
    return [{"classId": class_id, "version": version} for class_id, version in known.items()] if known else None


def seen(data: Any) -> Seen:
    """Of an event."""
    (event,) = data.values()
    record = event["classPerformance"]
    return event["classId"], record and record["version"]
