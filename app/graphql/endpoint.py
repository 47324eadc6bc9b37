"""GraphQL over HTTP, as its draft has it; WebSocket and SSE beside it. `routes` are for an application to mount."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from app.auth import Viewer
from app.graphql.admission import Quotas, admit_request
from app.graphql.context import Services
from app.graphql.documents import Refused, Result
from app.graphql.execution import Execution
from app.graphql.negotiation import GRAPHQL, JSON, negotiate
from app.graphql.requests import HttpFault, read
from app.graphql.responses import answer, write
from app.graphql.sse import EventStreams
from app.graphql.websocket import WebSockets

PATH = "/graphql"
# A path of its own: otherwise clients that merely accept events would be given their queries' answers as events.
STREAM_PATH = "/graphql/stream"


def routes(services: Services) -> list[BaseRoute]:
    execution, quotas = Execution(services), Quotas(services.settings)
    return [
        Route(PATH, Endpoint(services, execution)),
        WebSocketRoute(PATH, WebSockets(services, execution, quotas)),
        Route(STREAM_PATH, EventStreams(services, execution, quotas)),
    ]


class Endpoint:
    def __init__(self, services: Services, execution: Execution) -> None:
        self._services = services
        self._execution = execution

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        media = negotiate(", ".join(request.headers.getlist("accept")))
        await answer(self._respond(request, media), media or JSON, scope, receive, send)

    async def _respond(self, request: Request, media: str | None) -> Response:
        if request.method not in ("GET", "POST"):
            raise HttpFault(405, "METHOD_NOT_ALLOWED", "Use POST, or GET for queries.", {"allow": "GET, POST"})
        if media is None:
            raise HttpFault(406, "NOT_ACCEPTABLE", f"Accept {GRAPHQL} or {JSON}.")
        viewer = await admit_request(self._services.doorman, request)
        result = await self._execute(request, viewer)
        return write(result.body, media, 400 if result.refused and media == GRAPHQL else 200)

    async def _execute(self, request: Request, viewer: Viewer) -> Result:
        parameters = await read(request, self._services.settings.max_body_bytes)
        try:
            operation = self._execution.prepare(parameters.query, parameters.operation_name)
        except Refused as refused:
            return refused.result
        if request.method == "GET" and operation.kind != "query":
            raise HttpFault(405, "METHOD_NOT_ALLOWED", "Use POST: GET is for queries.", {"allow": "POST"})
        if operation.kind == "subscription":
            raise HttpFault(400, "BAD_REQUEST", f"Subscribe over WebSocket here, or over SSE at {STREAM_PATH}.")
        return await self._execution.execute(operation, parameters.variables, viewer)
