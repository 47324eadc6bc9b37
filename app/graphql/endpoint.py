"""GraphQL over HTTP, as its draft has it. `routes(services)` gives what an application mounts."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from app.auth import Viewer
from app.errors import ClassPerformanceError, Unauthenticated
from app.graphql.context import Services
from app.graphql.execution import Execution, Refused, Result
from app.graphql.faults import MASK, report
from app.graphql.negotiation import GRAPHQL, JSON, negotiate
from app.graphql.requests import HttpFault, read

PATH = "/graphql"


def routes(services: Services) -> list[BaseRoute]:
    return [Route(PATH, Endpoint(services))]


class Endpoint:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._execution = Execution(services)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        media = negotiate(", ".join(request.headers.getlist("accept")))
        try:
            response = await self._respond(request, media)
        except HttpFault as fault:
            response = _write({"errors": [fault.fault]}, media or JSON, fault.status, fault.headers)
        except ClientDisconnect:
            return
        except Exception as error:
            extensions = {"code": ClassPerformanceError.code, "requestId": report(error)}
            response = _write({"errors": [{"message": MASK, "extensions": extensions}]}, media or JSON, 500)
        await response(scope, receive, send)

    async def _respond(self, request: Request, media: str | None) -> Response:
        if request.method not in ("GET", "POST"):
            raise HttpFault(405, "METHOD_NOT_ALLOWED", "Use POST, or GET for queries.", {"allow": "GET, POST"})
        if media is None:
            raise HttpFault(406, "NOT_ACCEPTABLE", f"Accept {GRAPHQL} or {JSON}.")
        viewer = await self._identify(request)
        result = await self._execute(request, viewer)
        return _write(result.body, media, 400 if result.refused and media == GRAPHQL else 200)

    async def _identify(self, request: Request) -> Viewer:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else ""
        try:
            if not given:
                raise Unauthenticated
            return await self._services.doorman.identify(given)
        except Unauthenticated as error:
            challenge = "Bearer" + (' error="invalid_token"' if given else "")
            raise HttpFault(401, error.code, str(error), {"www-authenticate": challenge}) from None

    async def _execute(self, request: Request, viewer: Viewer) -> Result:
        parameters = await read(request, self._services.settings.max_body_bytes)
        try:
            operation = self._execution.prepare(parameters.query, parameters.operation_name)
        except Refused as refused:
            return refused.result
        if request.method == "GET" and operation.kind != "query":
            raise HttpFault(405, "METHOD_NOT_ALLOWED", "Use POST: GET is for queries.", {"allow": "POST"})
        if operation.kind == "subscription":
            raise HttpFault(400, "BAD_REQUEST", "Subscribe over WebSocket or SSE.")
        return await self._execution.execute(operation, parameters.variables, viewer)


def _write(body: dict[str, Any], media: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """What a viewer may see is theirs alone: nothing between us may keep it."""
    headers = {"content-type": f"{media}; charset=utf-8", "cache-control": "no-store", **(headers or {})}
    return Response(orjson.dumps(body), status, headers)
