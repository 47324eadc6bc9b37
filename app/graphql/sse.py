"""GraphQL over server-sent events, as graphql-sse has it with a connection for each operation.

https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import orjson
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.auth import Viewer
from app.errors import TooMany, Unauthenticated
from app.graphql.admission import Quotas, admit_request
from app.graphql.context import Services
from app.graphql.documents import Operation, Refused
from app.graphql.execution import Execution
from app.graphql.faults import Fault, explain, fault
from app.graphql.negotiation import JSON, accepts
from app.graphql.outlet import Gone, Outlet
from app.graphql.requests import HttpFault, Parameters, read
from app.graphql.responses import answer, refuse
from app.observability import STREAMS, SUBSCRIPTIONS

EVENTS = "text/event-stream"
KEEP_ALIVE_SECONDS = 12.0
UNREAD_SECONDS = 10.0
"""After which the system has given up a connection whose client does not read."""

START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", f"{EVENTS}; charset=utf-8".encode()),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),
    ],
}
COMMENT = {"type": "http.response.body", "body": b":\n\n", "more_body": True}
# There is nothing after the colon, not even a blank: some clients would read it as data.
COMPLETE = {"type": "http.response.body", "body": b"event: complete\ndata:\n\n", "more_body": True}
END = {"type": "http.response.body", "body": b"", "more_body": False}


class EventStreams:
    def __init__(self, services: Services, execution: Execution, quotas: Quotas) -> None:
        self._services = services
        self._execution = execution
        self._quotas = quotas

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await answer(self._open(Request(scope, receive)), JSON, scope, receive, send)

    async def _open(self, request: Request) -> ASGIApp:
        """Raises HttpFault for what is no request. What is wrong with an operation is told as an event: that is all
        that the clients of browsers are shown."""
        if request.method not in ("GET", "POST"):
            raise HttpFault(405, "METHOD_NOT_ALLOWED", "Use POST or GET.", {"allow": "GET, POST"})
        if not accepts(", ".join(request.headers.getlist("accept")), EVENTS):
            raise HttpFault(406, "NOT_ACCEPTABLE", f"Accept {EVENTS}.")
        viewer = await admit_request(self._services.doorman, request)
        given = await read(request, self._services.settings.max_body_bytes)
        try:
            operation = self._execution.prepare(given.query, given.operation_name)
        except Refused as refused:
            return Stream(_refusal(refused), viewer)
        if request.method == "GET" and operation.kind == "mutation":
            raise HttpFault(405, "METHOD_NOT_ALLOWED", "Use POST: GET changes nothing.", {"allow": "POST"})
        payloads = self._payloads(operation, given, viewer)
        if operation.kind != "subscription":
            return Stream(payloads, viewer)
        return self._counted(Stream(payloads, viewer, self._services.draining), viewer)

    def _counted(self, stream: Stream, viewer: Viewer) -> ASGIApp:
        async def call(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                self._quotas.subscriptions.take(viewer)
            except TooMany as error:
                await refuse(HttpFault(429, error.code, str(error)), JSON)(scope, receive, send)
                return
            try:
                with SUBSCRIPTIONS.track_inprogress():
                    await stream(scope, receive, send)
            finally:
                self._quotas.subscriptions.give_back(viewer)

        return call

    async def _payloads(self, operation: Operation, given: Parameters, viewer: Viewer) -> AsyncGenerator[bytes, None]:
        try:
            if operation.kind != "subscription":
                yield (await self._execution.execute(operation, given.variables, viewer)).to_json()
                return
            async with aclosing(await self._execution.subscribe(operation, given.variables, viewer)) as payloads:
                async for payload in payloads:
                    yield payload
        except Refused as refused:
            yield refused.result.to_json()
        except Exception as error:
            yield _errors(explain(error))


class Stream:
    """The response to one operation: payloads until they end, the client leaves, the token expires or the server is
    about to stop."""

    def __init__(
        self, payloads: AsyncGenerator[bytes, None], viewer: Viewer, draining: asyncio.Event | None = None
    ) -> None:
        """Without `draining`, the server waits until it has ended."""
        self._payloads = payloads
        self._viewer = viewer
        self._draining = draining or asyncio.Event()

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        outlet = Outlet(send)
        left = asyncio.create_task(_leave(receive))
        try:
            with STREAMS.track_inprogress(), suppress(Gone):
                last = await self._tell(outlet, left)
                await outlet.end(*last, COMPLETE, END)
            if outlet.gone:
                await asyncio.wait([left], timeout=UNREAD_SECONDS)
        finally:
            left.cancel()

    async def _tell(self, outlet: Outlet, left: asyncio.Task[None]) -> list[Message]:
        """Everything but the last words, which are given back. Raises Gone."""
        await outlet.send(START)
        await outlet.send(COMMENT)
        ends = [
            asyncio.create_task(work)
            for work in (self._tell_payloads(outlet), _keep_alive(outlet), self._draining.wait())
        ]
        seconds = max(0.0, self._viewer.expires_at.timestamp() - time.time())
        try:
            done, _ = await asyncio.wait([*ends, left], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in ends:
                task.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
        if left in done or outlet.gone:
            raise Gone
        return [] if done else [_event(_errors(fault(Unauthenticated("The token has expired."))))]

    async def _tell_payloads(self, outlet: Outlet) -> None:
        async with aclosing(self._payloads) as payloads:
            async for payload in payloads:
                await outlet.send(_event(payload))


async def _keep_alive(outlet: Outlet) -> None:
    """So that nobody between takes the silence for the end."""
    while True:
        await asyncio.sleep(KEEP_ALIVE_SECONDS)
        await outlet.send(COMMENT)


async def _leave(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _refusal(refused: Refused) -> AsyncGenerator[bytes, None]:
    yield refused.result.to_json()


def _errors(*faults: Fault) -> bytes:
    return orjson.dumps({"errors": faults})


def _event(payload: bytes) -> Message:
    return _body(b"event: next\ndata: %b\n\n" % payload)


def _body(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}
