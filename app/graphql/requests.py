"""What a client sent over HTTP: read within bounds, and refused where it is not a GraphQL request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.datastructures import Headers
from starlette.requests import Request

from app.graphql.faults import Fault


@dataclass(frozen=True, slots=True)
class Parameters:
    query: str
    operation_name: str | None = None
    variables: dict[str, Any] | None = None


class HttpFault(Exception):
    """A request that is answered with a status of its own."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.fault: Fault = {"message": message, "extensions": {"code": code}}


def malformed(message: str) -> HttpFault:
    return HttpFault(400, "BAD_REQUEST", message)


async def read(request: Request, most: int) -> Parameters:
    """The parameters of a GET from the URL, of a POST from its body of at most so many bytes. Raises HttpFault."""
    if request.method == "GET":
        given = dict(request.query_params)
        content: Any = {**given, **{name: _json(given[name]) for name in ("variables", "extensions") if name in given}}
    else:
        _require_json(request.headers)
        content = _json(await _body(request, most))
    if not isinstance(content, dict):
        raise malformed("A request is a JSON object; batches are not supported.")
    return parameters(content)


def parameters(content: Mapping[str, Any]) -> Parameters:
    """Raises HttpFault."""
    query, name, variables = content.get("query"), content.get("operationName"), content.get("variables")
    if not isinstance(query, str):
        raise malformed("query must be a string.")
    if not (name is None or isinstance(name, str)):
        raise malformed("operationName must be a string.")
    if not (variables is None or isinstance(variables, dict)):
        raise malformed("variables must be an object.")
    if not isinstance(content.get("extensions"), dict | None):
        raise malformed("extensions must be an object.")
    return Parameters(query, name, variables)


def _require_json(headers: Headers) -> None:
    """A form cannot send JSON, so that no other site's page can make a browser post here."""
    media, *parameters = (part.strip().lower() for part in headers.get("content-type", "").split(";"))
    charset = next((part[8:].strip('"') for part in parameters if part.startswith("charset=")), "utf-8")
    if media != "application/json" or charset != "utf-8":
        raise HttpFault(415, "UNSUPPORTED_MEDIA_TYPE", "Send application/json in UTF-8.")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise HttpFault(415, "UNSUPPORTED_MEDIA_TYPE", "Send the body uncompressed.")


async def _body(request: Request, most: int) -> bytes:
    length = request.headers.get("content-length", "")
    body = bytearray()
    too_large = length.isdigit() and int(length[:20]) > most
    if not too_large:
        async for chunk in request.stream():
            body += chunk
            if too_large := len(body) > most:
                break
    if too_large:
        raise HttpFault(413, "PAYLOAD_TOO_LARGE", f"A request may have at most {most:,} bytes.")
    return bytes(body)


def _json(text: str | bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise malformed("This is not JSON in UTF-8.") from None
