"""Those who watch: over WebSocket and SSE, coming back with what they know, and remembering all they saw."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.soak.clients import Wallet
from tests.soak.evidence import ANSWERED, TOLD, Evidence

PROTOCOL: Any = "graphql-transport-ws"
PATIENCE = 3.0
SILENCE = 14.0  # the server says something on a stream every 12 seconds
AGAIN = 0.3
GIVE_UP = (OSError, WebSocketException, httpx2.HTTPError, TimeoutError, EOFError, ValueError)
TRY_AGAIN = ("UNAVAILABLE",)

Message = dict[str, Any]


@dataclass
class Interest:
    """What somebody watches. `covers`: which classes of all there are that will be in the end. `streams`: by SSE."""

    name: str
    query: str
    variables: dict[str, Any]
    covers: Callable[[str], bool]
    wallet: Wallet
    streams: bool = False
    slow: bool = False
    seen: dict[str, int] = field(default_factory=dict)


class Subscriber:
    def __init__(self, interest: Interest, addresses: Sequence[str], evidence: Evidence, seed: str) -> None:
        self.interest = interest
        self.addresses = addresses
        self.evidence = evidence
        self.choice = random.Random(seed)

    async def run(self, until: asyncio.Event) -> None:
        """Also watches on when the load has ended, but then does not leave any more."""
        while True:
            # Coming back gives everything again: whoever is slow is to be left to what is sent.
            leaves_after = self.choice.expovariate(1 / 30 if self.interest.slow else 1 / 4)
            with contextlib.suppress(*GIVE_UP):
                async with contextlib.aclosing(self._events()) as events:
                    await self._watch(events, leaves_after, until)
            self.evidence.count("subscribers came back")
            await asyncio.sleep(AGAIN * (0.5 + self.choice.random()))

    async def _watch(self, events: AsyncIterator[Message], leaves_after: float, until: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        leaves_at = loop.time() + leaves_after
        async for event in events:
            self._see(event)
            if self.interest.slow and not until.is_set():
                await asyncio.sleep(self.choice.random() * 0.4)
            if loop.time() > leaves_at and not until.is_set():
                return

    def _see(self, payload: Message) -> None:
        if errors := payload.get("errors"):
            codes = [error.get("extensions", {}).get("code") for error in errors]
            if any(code not in TRY_AGAIN for code in codes):
                self.evidence.complain(ANSWERED, f"{self.interest.name} was told {errors}"[:400])
            raise EOFError
        (event,) = payload["data"].values()
        class_id, record = event["classId"], event["classPerformance"]
        if record is None:
            self.evidence.complain(TOLD, f"{self.interest.name} was told that {class_id} is gone, which it never was")
            return
        self.evidence.sightings.see(record, self.interest.name)
        self.evidence.count("events")
        before = self.interest.seen.get(class_id, 0)
        if record["version"] <= before:
            text = f"{self.interest.name} saw version {record['version']} of {class_id} after version {before}"
            self.evidence.complain(TOLD, text)
        self.interest.seen[class_id] = max(before, record["version"])

    def _events(self) -> AsyncGenerator[Message]:
        address = self.choice.choice(self.addresses)
        known = [{"classId": class_id, "version": version} for class_id, version in self.interest.seen.items()]
        variables = {**self.interest.variables, "known": known}
        payload = {"query": self.interest.query, "variables": variables}
        return self._streamed(address, payload) if self.interest.streams else self._socketed(address, payload)

    async def _socketed(self, address: str, payload: Message) -> AsyncGenerator[Message]:
        url = address.replace("http", "ws", 1) + "/graphql"
        options: dict[str, Any] = {"open_timeout": PATIENCE, "close_timeout": 0.5, "ping_interval": 2.0}
        options["max_queue"] = 1 if self.interest.slow else 16
        async with connect(url, subprotocols=[PROTOCOL], ping_timeout=PATIENCE, **options) as socket:
            authorization = {"Authorization": f"Bearer {self.interest.wallet.token()}"}
            await _say(socket, {"type": "connection_init", "payload": authorization})
            async with asyncio.timeout(PATIENCE):
                await self._hear(socket, "connection_ack")
            await _say(socket, {"id": "1", "type": "subscribe", "payload": payload})
            while True:
                message = await self._hear(socket, "next", "error", "complete")
                if message["type"] == "complete":
                    return
                yield {"errors": message["payload"]} if message["type"] == "error" else message["payload"]

    async def _hear(self, socket: ClientConnection, *wanted: str) -> Message:
        while True:
            message: Message = orjson.loads(await socket.recv())
            if message["type"] == "ping":
                await _say(socket, {"type": "pong"})
            elif message["type"] in wanted:
                return message
            elif message["type"] != "pong":
                self.evidence.complain(ANSWERED, f"{self.interest.name} was sent {message}"[:400])

    async def _streamed(self, address: str, payload: Message) -> AsyncGenerator[Message]:
        headers = {"authorization": f"Bearer {self.interest.wallet.token()}", "accept": "text/event-stream"}
        async with (
            httpx2.AsyncClient(timeout=httpx2.Timeout(PATIENCE, read=SILENCE)) as http,
            http.stream("POST", f"{address}/graphql/stream", json=payload, headers=headers) as response,
        ):
            if response.status_code != 200:
                raise EOFError
            name = ""
            async for line in response.aiter_lines():
                if line.startswith("event:"):
                    name = line.removeprefix("event:").strip()
                elif line.startswith("data:") and name == "next":
                    yield orjson.loads(line.removeprefix("data:"))
                elif not line and name == "complete":
                    return


async def _say(socket: ClientConnection, message: Message) -> None:
    await socket.send(orjson.dumps(message).decode())
