"""Answers over HTTP, whatever goes wrong."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.graphql.faults import mask
from app.graphql.requests import HttpFault


def write(body: dict[str, Any], media: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """What a viewer may see is theirs alone: nothing between us may keep it."""
    headers = {"content-type": f"{media}; charset=utf-8", "cache-control": "no-store", **(headers or {})}
    return Response(orjson.dumps(body), status, headers)


def refuse(fault: HttpFault, media: str) -> Response:
    return write({"errors": [fault.fault]}, media, fault.status, fault.headers)


async def answer(made: Awaitable[ASGIApp], media: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Send what is made, or why it could not be. `media` is of the faults."""
    try:
        response = await made
    except HttpFault as fault:
        response = refuse(fault, media)
    except ClientDisconnect:
        return
    except Exception as error:
        response = write({"errors": [mask(error)]}, media, 500)
    await response(scope, receive, send)
