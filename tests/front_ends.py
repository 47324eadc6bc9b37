"""Front ends, each with one of the clients from npm, as a test gives them orders and sees what they are told."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from tests import javascript
from tests.deployment import Deployment
from tests.javascript import Event, Script

WATCH = """
subscription($classIds: [ID!]!, $known: [KnownVersion!]) {
  classPerformanceUpdated(classIds: $classIds, known: $known) {
    classId classPerformance { classId version absentCount }
  }
}"""
SOCKETS: dict[str, dict[str, Any]] = {
    "graphql-ws": {"script": "graphql-ws.mjs"},
    "graphql-ws, not lazy": {"script": "graphql-ws.mjs", "lazy": False},
    "urql": {"script": "urql.mjs"},
}
STREAMS: dict[str, dict[str, Any]] = {
    "graphql-sse": {"script": "graphql-sse.mjs"},
    "urql by fetch": {"script": "urql.mjs", "fetched": True},
}
EVERY = {**SOCKETS, **STREAMS}


class FrontEnd:
    """One of the clients, and what it was told of the classes it watches."""

    def __init__(self, name: str, script: Script) -> None:
        self.streams = name in STREAMS
        self.script = script
        self._options = EVERY[name]
        self._classes: dict[str, tuple[str, ...]] = {}

    def start(self, port: int, token: str, **options: Any) -> None:
        self.script.order("start", url=f"http://127.0.0.1:{port}", token=token, **self._options, **options)

    def watch(self, id: str, *class_ids: str) -> None:
        """For the first time, or again: the client says what it knows."""
        self._classes[id] = class_ids
        self.script.order("subscribe", id=id, query=WATCH, variables={"classIds": class_ids})

    async def sees(self, id: str, class_id: str, absences: int) -> None:
        """In the end, and maybe something older before."""

        def shows(event: Event) -> bool:
            record = seen(event)["classPerformance"]
            return (record["classId"], record["absentCount"]) == (class_id, absences)

        await self.script.until("next", shows, id=id)

    async def loses(self, id: str, code: int) -> None:
        """The connection, for a while: a socket's client comes back by itself, a stream is asked for again."""
        if self.streams:
            await self.script.until("complete", id=id)
            self.watch(id, *self._classes[id])
        else:
            await self.script.until("closed", code=code)

    def versions(self, id: str) -> dict[str, list[int]]:
        """By class, all that it was told, in order."""
        told: dict[str, list[int]] = {}
        for event in self.script.events:
            if event["event"] == "next" and event["id"] == id:
                record = seen(event)["classPerformance"]
                told.setdefault(record["classId"], []).append(record["version"])
        return told

    @property
    def connections(self) -> int:
        return self.script.count("connected")


def seen(event: Event) -> Any:
    (value,) = event["data"].values()
    return value


def is_refusal(event: Event) -> bool:
    return event["event"] in ("closed", "error")


def refusal(event: Event) -> Any:
    """The code of the close, the status, or the code of the first error: as the client tells it."""
    if "errors" in event:
        return event["errors"][0]["extensions"]["code"]
    return event.get("code", event.get("status"))


@contextlib.asynccontextmanager
async def front_end(name: str, product: Deployment, token: str = "", **options: Any) -> AsyncIterator[FrontEnd]:
    async with javascript.script(EVERY[name]["script"]) as script:
        front = FrontEnd(name, script)
        front.start(product.server.port, token or product.token(), **options)
        yield front


@contextlib.asynccontextmanager
async def one_of_each(product: Deployment, port: int = 0, lifetime: int = 600) -> AsyncIterator[dict[str, FrontEnd]]:
    """Their tokens are made when all are ready to use them."""
    async with contextlib.AsyncExitStack() as stack:
        fronts = {}
        for name, options in EVERY.items():
            script = await stack.enter_async_context(javascript.script(options["script"]))
            fronts[name] = FrontEnd(name, script)
        for front in fronts.values():
            await front.script.until("ready")
        for front in fronts.values():
            front.start(port or product.server.port, product.token(lifetime))
        yield fronts
