"""GraphQL over WebSocket, as graphql-transport-ws has it (docs/decisions/0015-our-own-protocols.md)."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, suppress

from starlette.types import Receive, Scope, Send

from app.auth import Viewer
from app.errors import TooMany, Unauthenticated
from app.graphql import messages
from app.graphql.admission import Quotas, admit
from app.graphql.context import Services
from app.graphql.documents import Operation, Refused
from app.graphql.execution import Execution
from app.graphql.faults import Fault, explain, report
from app.graphql.messages import ACK, SUBPROTOCOL, Closing, Message, malformed
from app.graphql.operations import Operations
from app.graphql.outlet import Gone, Outlet
from app.graphql.requests import HttpFault, Parameters, parameters
from app.observability import SOCKETS, SUBSCRIPTIONS

INIT_SECONDS = 10.0


class WebSockets:
    def __init__(self, services: Services, execution: Execution, quotas: Quotas) -> None:
        self._services = services
        self._execution = execution
        self._quotas = quotas

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # that somebody wants to connect
        outlet = Outlet(send)
        offered = SUBPROTOCOL in scope["subprotocols"]
        with suppress(Gone):
            await outlet.send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if offered else None})
            if not offered:
                await _close(outlet, Closing(4406, f"Speak {SUBPROTOCOL}."))
                return
            with SOCKETS.track_inprogress():
                await Conversation(self._services, self._execution, self._quotas, receive, outlet).hold()


class Conversation:
    """With one client. One task listens and never waits for an operation; each operation is a task of its own."""

    def __init__(
        self, services: Services, execution: Execution, quotas: Quotas, receive: Receive, outlet: Outlet
    ) -> None:
        self._doorman = services.doorman
        self._execution = execution
        self._quotas = quotas
        self._receive = receive
        self._outlet = outlet
        self._operations = Operations(services.settings.max_operations_per_connection)
        self._viewer: Viewer | None = None
        # What it means when the time is over.
        self._late: Closing | None = Closing(4408, "Connection initialisation timeout")
        self._time = asyncio.timeout(INIT_SECONDS)

    async def hold(self) -> None:
        try:
            closing = await self._listen()
            self._operations.cancel_all()
            if closing:
                await _close(self._outlet, closing)
        finally:
            self._operations.cancel_all()
            await self._operations.wait()
            if self._viewer:
                self._quotas.connections.give_back(self._viewer)

    async def _listen(self) -> Closing | None:
        """How it is to be closed, if somebody is still there."""
        try:
            async with self._time:
                while True:
                    await self._heed(messages.read(await self._hear()))
                    # Many may have come at once: others want their turn too.
                    await asyncio.sleep(0)
        except Closing as closing:
            return closing
        except Gone:
            return None
        except TimeoutError:
            return self._late
        except Exception as error:
            report(error)
            return Closing(4500, "Internal server error")

    async def _hear(self) -> str:
        event = await self._receive()
        if event["type"] == "websocket.disconnect":
            raise Gone
        text: str | None = event.get("text")
        if text is None:
            raise malformed("Send text, not bytes.")
        return text

    async def _heed(self, message: Message) -> None:
        match message.kind:
            case "connection_init":
                await self._welcome(message)
            case "subscribe":
                await self._subscribe(message)
            case "complete":
                self._operations.cancel(message.id)
            case "ping":
                await self._say(messages.pong(message.payload))

    async def _welcome(self, message: Message) -> None:
        if self._viewer:
            raise Closing(4429, "Too many initialisation requests")
        try:
            viewer = await admit(self._doorman, _authorization(message))
            self._quotas.connections.take(viewer)
        except Unauthenticated as error:
            raise Closing(4403, str(error)) from None
        except TooMany as error:
            raise Closing(1013, str(error)) from None
        self._viewer = viewer
        self._late = Closing(4403, "The token has expired.")
        self._time.reschedule(asyncio.get_running_loop().time() + viewer.expires_at.timestamp() - time.time())
        await self._say(ACK)

    async def _subscribe(self, message: Message) -> None:
        if self._viewer is None:
            raise Closing(4401, "Unauthorized")
        if message.id in self._operations:
            raise Closing(4409, f"Subscriber for {message.id} already exists")
        try:
            given = parameters(message.payload or {})
        except HttpFault as fault:
            raise malformed(str(fault)) from None
        try:
            self._start(message.id, given, self._viewer)
        except Refused as refused:
            await self._say(messages.error(message.id, refused.result.body["errors"]))
        except TooMany as error:
            await self._say(messages.error(message.id, [explain(error)]))

    def _start(self, id_: str, given: Parameters, viewer: Viewer) -> None:
        self._operations.require_room()
        operation = self._execution.prepare(given.query, given.operation_name)
        if operation.kind != "subscription":
            self._operations.start(id_, self._perform(id_, operation, given, viewer), lambda: None)
            return
        self._quotas.subscriptions.take(viewer)
        SUBSCRIPTIONS.inc()

        def ended() -> None:
            self._quotas.subscriptions.give_back(viewer)
            SUBSCRIPTIONS.dec()

        self._operations.start(id_, self._perform(id_, operation, given, viewer), ended)

    async def _perform(self, id_: str, operation: Operation, given: Parameters, viewer: Viewer) -> None:
        try:
            last = await self._tell(id_, operation, given, viewer)
            if self._operations.conclude(id_):
                await self._say(last)
        except Gone:
            self._give_up()

    async def _tell(self, id_: str, operation: Operation, given: Parameters, viewer: Viewer) -> str:
        """Everything but the last message, which is given back."""
        faults: list[Fault]
        try:
            if operation.kind == "subscription":
                await self._tell_events(id_, operation, given, viewer)
                return messages.complete(id_)
            result = await self._execution.execute(operation, given.variables, viewer)
            if not result.refused:
                await self._say(messages.next_(messages.beginning(id_), result.to_json()))
                return messages.complete(id_)
            faults = result.body["errors"]
        except Refused as refused:
            faults = refused.result.body["errors"]
        except Gone:
            raise
        except Exception as error:
            faults = [explain(error)]
        return messages.error(id_, faults)

    async def _tell_events(self, id_: str, operation: Operation, given: Parameters, viewer: Viewer) -> None:
        beginning = messages.beginning(id_)
        async with aclosing(await self._execution.subscribe(operation, given.variables, viewer)) as payloads:
            async for payload in payloads:
                await self._say(messages.next_(beginning, payload))

    async def _say(self, text: str) -> None:
        await self._outlet.send({"type": "websocket.send", "text": text})

    def _give_up(self) -> None:
        """Whoever listens may be waiting for a client who neither reads nor writes."""
        self._late = None
        with suppress(RuntimeError):  # it is over already
            self._time.reschedule(asyncio.get_running_loop().time())


async def _close(outlet: Outlet, closing: Closing) -> None:
    await outlet.end({"type": "websocket.close", "code": closing.code, "reason": closing.reason})


def _authorization(message: Message) -> str:
    """Browsers cannot set a header, and clients differ in how they write this one."""
    for name, value in (message.payload or {}).items():
        if name.lower() == "authorization" and isinstance(value, str):
            return value
    return ""
